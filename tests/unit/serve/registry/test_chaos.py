"""Sixteen clients push, pull, delete and mount while garbage is always being collected.

It goes on for CORTEN_SOAK_SECONDS. Layers and repositories are everybody's,
manifests and tags each client's own, so that a client knows what it must find.
"""

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from corten.oci.descriptor import OCI_MANIFEST
from corten.oci.digest import Digest
from corten.serve.registry.collect import Report
from corten.serve.registry.shelves import Terms
from tests.unit.serve.registry.live import Client, Live, descriptor, index, manifest, served

CLIENTS = 16
SECONDS = float(os.environ.get("CORTEN_SOAK_SECONDS", "4"))
GRACE = 1.0  # seconds; a push that takes longer may lose what it was promised
LAYERS = [random.Random(n).randbytes(2000 + 997 * n) for n in range(12)]  # few, so that clients meet
REPOSITORIES = ("shared/a", "shared/b")


class OwnClock:
    """The real time, which the test can put forward."""

    ahead = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return time.time() + self.ahead


class Worker:
    """One client, with what it must find: by repository and tag the manifests, the outermost first."""

    def __init__(self, live: Live, number: int, until: float) -> None:
        self.live, self.number, self.until = live, number, until
        self.random = random.Random(number)
        self.images: dict[tuple[str, str], tuple[bytes, ...]] = {}
        self.pushed = self.late = 0

    def run(self) -> None:
        """Do one thing after another until the time is up."""
        steps = (self.push, self.push, self.pull, self.remove_tag, self.remove_image, self.remove_blob)
        with self.live.client() as client:
            while time.monotonic() < self.until:
                self.random.choice(steps)(client)

    def push(self, client: Client) -> None:
        """Push an image, perhaps with an index over it and a referrer to it."""
        self.pushed += 1
        repository, tag = self.random.choice(REPOSITORIES), f"t{self.number}-{self.random.randrange(4)}"
        layers = self.random.sample(LAYERS, 3)
        config = f'{{"architecture": "amd64", "os": "linux", "by": "{self.number}/{self.pushed}"}}'.encode()
        began = time.monotonic()
        for blob in (config, *layers):
            self.provide(client, repository, blob)
        raw = manifest(config, *layers)
        multi = self.random.random() < 0.3
        if not self.put(client, repository, Digest.of(raw) if multi else tag, raw, began):
            return
        self.images[repository, tag] = (raw,)
        if multi:
            parent = index(raw)
            del self.images[repository, tag]
            assert self.put(client, repository, tag, parent, time.monotonic())
            self.images[repository, tag] = (parent, raw)
        if self.random.random() < 0.3:
            began = time.monotonic()
            self.provide(client, repository, b"{}")
            signature = manifest(b"{}", subject=descriptor(raw, OCI_MANIFEST))
            if self.put(client, repository, Digest.of(signature), signature, began):
                found = client.call("GET", f"/v2/{repository}/referrers/{Digest.of(raw)}").json()["manifests"]
                assert Digest.of(signature) in {each["digest"] for each in found}

    def put(self, client: Client, repository: str, reference: str, raw: bytes, began: float) -> bool:
        """Put a manifest; it may fail only if the client was slower than the grace period."""
        answer = client.put_manifest(repository, reference, raw)
        if answer.status == 201:
            return True
        assert answer.code == "MANIFEST_BLOB_UNKNOWN", answer.body
        assert time.monotonic() - began > GRACE, f"lost within the grace period: {answer.body!r}"
        self.late += 1
        return False

    def provide(self, client: Client, repository: str, data: bytes) -> None:
        """Make a repository hold a blob as clients do: ask, mount, send."""
        digest = Digest.of(data)
        if client.call("HEAD", f"/v2/{repository}/blobs/{digest}").status == 200:
            return
        other = REPOSITORIES[1 - REPOSITORIES.index(repository)]
        answer = client.call("POST", f"/v2/{repository}/blobs/uploads/?mount={digest}&from={other}")
        if answer.status == 201:
            return
        assert answer.status == 202, answer.body
        location, half = answer.headers["Location"], len(data) // 2
        assert client.call("PATCH", location, data[:half]).status == 202
        answer = client.call("PUT", f"{location}?digest={digest}", data[half:])
        assert answer.status == 201, answer.body

    def pull(self, client: Client) -> None:
        """Pull one of its images: all of it is there."""
        if self.images:
            self.check(client, *self.random.choice(list(self.images)))

    def check(self, client: Client, repository: str, tag: str) -> None:
        """Pull what a tag points to, with all that belongs to it."""
        manifests = self.images[repository, tag]
        assert client.get_manifest(repository, tag).body == manifests[0]
        for raw in manifests:
            answer = client.get_manifest(repository, Digest.of(raw))
            assert answer.body == raw
        body = answer.json()
        for wanted in (body["config"], *body["layers"]):
            blob = client.get_blob(repository, wanted["digest"])
            assert (blob.status, Digest.of(blob.body)) == (200, wanted["digest"])

    def remove_tag(self, client: Client) -> None:
        """Delete a tag; its manifest stays."""
        if self.images:
            repository, tag = self.random.choice(list(self.images))
            del self.images[repository, tag]
            assert client.call("DELETE", f"/v2/{repository}/manifests/{tag}").status == 202

    def remove_image(self, client: Client) -> None:
        """Delete manifests by their digests, the outermost first."""
        if self.images:
            repository, tag = self.random.choice(list(self.images))
            for raw in self.images.pop((repository, tag)):
                answer = client.call("DELETE", f"/v2/{repository}/manifests/{Digest.of(raw)}")
                assert answer.status == 202, answer.body

    def remove_blob(self, client: Client) -> None:
        """Delete a layer that anybody may be about to use."""
        repository, digest = self.random.choice(REPOSITORIES), Digest.of(self.random.choice(LAYERS))
        answer = client.call("DELETE", f"/v2/{repository}/blobs/{digest}")
        assert answer.status in {202, 404, 405}, answer.body


def collect_until(live: Live, done: threading.Event) -> int:
    """Collect garbage without a pause; return the bytes freed."""
    freed = 0
    while not done.is_set():
        freed += live.registry.collector.run().size
    return freed


@pytest.mark.slow
@pytest.mark.timeout(120 + 3 * SECONDS)
def test_nothing_is_lost_while_garbage_is_collected(tmp_path: Path) -> None:
    """No blob unknown, no lost tag, and in the end the dry run, the run and the disk agree to the byte."""
    clock, done = OwnClock(), threading.Event()
    terms = Terms(grace=GRACE, untagged=True)
    with served(tmp_path / "r", terms, clock) as live, ThreadPoolExecutor(CLIENTS + 1) as pool:
        workers = [Worker(live, number, time.monotonic() + SECONDS) for number in range(CLIENTS)]
        collector = pool.submit(collect_until, live, done)
        try:
            for run in [pool.submit(worker.run) for worker in workers]:
                run.result()
        finally:
            done.set()
        assert collector.result() > 0
        assert sum(worker.pushed for worker in workers) > 3 * sum(worker.late for worker in workers)

        clock.ahead = 1e6
        settle(live)
        for worker in workers:
            for repository, tag in worker.images:
                worker.check(live, repository, tag)
        for worker in workers:
            while worker.images:
                worker.remove_tag(live)
        clock.ahead = 2e6
        settle(live)
        assert live.blobs() == {}


def settle(live: Live) -> None:
    """Collect once more: the dry run says exactly what goes, and then nothing is left to collect."""
    plan, before = live.registry.collector.plan(), sum(live.blobs().values())
    assert live.registry.collector.run() == plan
    assert before - sum(live.blobs().values()) == plan.size
    assert live.registry.collector.plan() == Report()
