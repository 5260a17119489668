"""The server is killed at any moment: what it acknowledged is there, the rest can be resumed or is gone."""

import contextlib
import http.client
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from corten.oci.digest import Digest
from tests.unit.serve.registry.live import PATIENCE, Client, manifest, opened

ROOT = Path(__file__).parents[4]
ROUNDS = 6
PUSHERS = 4
CHUNK = 150_000


@contextlib.contextmanager
def process(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Run a server; kill it when the block ends, if nobody did before."""
    command = [sys.executable, "-m", "tests.unit.serve.registry.killed_server", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        try:
            output: IO[str] | None = server.stdout
            assert output is not None
            yield server, int(output.readline())
        finally:
            server.kill()


class Pusher:
    """A client that pushes images in chunks until the server dies, and knows what was acknowledged."""

    def __init__(self, number: int) -> None:
        self.random = random.Random(number)
        self.number = number
        self.tags: dict[str, bytes] = {}
        self.blobs: set[str] = set()
        self.under_way: tuple[str, bytes, int] | None = None  # location, all its bytes, bytes acknowledged

    def run(self, port: int) -> None:
        """Push until the connection breaks."""
        broken = contextlib.suppress(ConnectionError, http.client.HTTPException, TimeoutError)
        with contextlib.closing(Client(port)) as client, broken:
            while True:
                self.push(client)

    def push(self, client: Client) -> None:
        """Push an image: a layer in chunks, a small configuration, a manifest under a new tag."""
        layer = self.random.randbytes(self.random.randrange(3 * CHUNK))
        config = b'{"architecture": "amd64", "os": "linux"}'
        self.upload(client, layer)
        client.push_blob("a", config)
        raw, tag = manifest(config, layer), f"t{self.number}-{len(self.tags)}"
        assert client.put_manifest("a", tag, raw).status == 201
        self.tags[tag] = raw

    def upload(self, client: Client, data: bytes, location: str = "", start: int = 0) -> None:
        """Send *data* from *start* on in chunks."""
        location = location or client.begin("a")
        self.under_way = (location, data, start)
        while start < len(data):
            piece = data[start : start + CHUNK]
            answer = client.call(
                "PATCH", location, piece, {"Content-Range": f"{start}-{start + len(piece) - 1}"}
            )
            assert answer.status == 202, answer.body
            start += len(piece)
            self.under_way = (location, data, start)
        answer = client.call("PUT", f"{location}?digest={Digest.of(data)}")
        assert answer.status == 201, answer.body
        self.under_way = None
        self.blobs.add(Digest.of(data))

    def resume(self, client: Client) -> None:
        """Go on with the upload that was cut: nothing acknowledged is missing, or it is finished."""
        if self.under_way is None:
            return
        location, data, acknowledged = self.under_way
        self.under_way = None
        answer = client.call("GET", location)
        if answer.status == 404:  # the last PUT was on its way
            assert acknowledged == len(data)
            return
        size = int(answer.headers["Range"].removeprefix("0-")) + 1 if acknowledged else 0
        assert size >= acknowledged
        size = 0 if size == 1 else size  # one byte and none look alike: begin where both are right
        if acknowledged:
            self.upload(client, data, location, size)

    def check(self, client: Client) -> None:
        """Find all that was acknowledged."""
        for tag, raw in self.tags.items():
            assert client.get_manifest("a", tag).body == raw, tag
        for digest in self.blobs:
            assert client.call("HEAD", f"/v2/a/blobs/{digest}").status == 200, digest


@pytest.mark.slow
def test_a_killed_server_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """Kill -9 at random moments: tags, manifests and blobs are there, uploads go on where they were."""
    folder, moment = tmp_path / "r", random.Random(os.urandom(8))
    pushers = [Pusher(number) for number in range(PUSHERS)]
    for _ in range(ROUNDS):
        with process(folder) as (server, port):
            with contextlib.closing(Client(port)) as client:
                for pusher in pushers:
                    pusher.check(client)
                    pusher.resume(client)
            threads = [threading.Thread(target=pusher.run, args=(port,)) for pusher in pushers]
            for thread in threads:
                thread.start()
            kill_at(server, time.monotonic() + moment.uniform(0.02, 0.5))
            for thread in threads:
                thread.join(PATIENCE)
    for file in folder.glob("registry.db*"):  # and the notes say the same as the records
        file.unlink()
    with process(folder) as (_, port), contextlib.closing(Client(port)) as client:
        for pusher in pushers:
            pusher.check(client)
    assert sum(len(pusher.tags) for pusher in pushers) > 0
    with opened(folder) as registry:
        plan = registry.collector.plan()
        assert registry.collector.run() == plan


def kill_at(server: "subprocess.Popen[str]", moment: float) -> None:
    """Kill a process at a time."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(max(moment - time.monotonic(), 0))
    server.kill()
    server.wait(PATIENCE)
