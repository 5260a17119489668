"""A registry served on loopback by a loop in a thread, and a client that speaks plain HTTP to it."""

import asyncio
import contextlib
import hashlib
import http.client
import json
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from corten.oci.descriptor import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from corten.oci.digest import Digest
from corten.serve.registry.app import Config, serve
from corten.serve.registry.hooks import Hooks
from corten.serve.registry.registry import Registry, open_registry
from corten.serve.registry.shelves import Terms
from corten.serve.registry.source import Source
from corten.serve.registry.storage.folder import FolderStorage

PATIENCE = 30.0  # seconds until a test that hangs fails

_Result = TypeVar("_Result")


class Answer(NamedTuple):
    """A whole response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """Return the decoded body."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Return the code of the first error; empty if there is none."""
        errors = self.json().get("errors", []) if self.body else []
        return errors[0]["code"] if errors else ""


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def descriptor(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    """Describe *data*."""
    return {"mediaType": media_type, "digest": Digest.of(data), "size": len(data), **more}


def manifest(config: bytes, /, *layers: bytes, **more: Any) -> bytes:
    """Make an OCI manifest."""
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, OCI_CONFIG),
        "layers": [descriptor(layer, OCI_LAYER) for layer in layers],
    }
    return json.dumps(body | more).encode()


def index(*manifests: bytes, **more: Any) -> bytes:
    """Make an OCI index of image manifests."""
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [descriptor(each, OCI_MANIFEST) for each in manifests],
    }
    return json.dumps(body | more).encode()


class Client:
    """One client with one connection; not for many threads."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Make one request."""
        self._connection.request(method, path, body, dict(headers or {}))
        response = self._connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def push_blob(self, repository: str, data: bytes) -> Digest:
        """Push a blob in one request."""
        digest = Digest.of(data)
        answer = self.call("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", data)
        assert answer.status == 201, answer.body
        return digest

    def put_manifest(
        self, repository: str, reference: str, raw: bytes, media_type: str = "", **headers: str
    ) -> Answer:
        """Put a manifest; the media type is what it says of itself."""
        kind = media_type or json.loads(raw)["mediaType"]
        return self.call(
            "PUT", f"/v2/{repository}/manifests/{reference}", raw, {"Content-Type": kind, **headers}
        )

    def push_image(self, repository: str, tag: str, *layers: bytes, **more: Any) -> bytes:
        """Push a whole image of *layers*; return its manifest."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "tag": tag}).encode()
        for blob in (config, *layers):
            self.push_blob(repository, blob)
        raw = manifest(config, *layers, **more)
        reference = tag or Digest.of(raw)
        answer = self.put_manifest(repository, reference, raw)
        assert answer.status == 201, answer.body
        return raw

    def begin(self, repository: str) -> str:
        """Open an upload; return its location."""
        answer = self.call("POST", f"/v2/{repository}/blobs/uploads/")
        assert answer.status == 202, answer.body
        return answer.headers["Location"]

    def get_manifest(self, repository: str, reference: str) -> Answer:
        """Get a manifest."""
        return self.call("GET", f"/v2/{repository}/manifests/{reference}")

    def get_blob(self, repository: str, digest: str, **headers: str) -> Answer:
        """Get a blob."""
        return self.call("GET", f"/v2/{repository}/blobs/{digest}", None, headers)


class Live(Client):
    """A registry that is being served, seen by its first client."""

    def __init__(self, port: int, loop: asyncio.AbstractEventLoop, registry: Registry, folder: Path) -> None:
        super().__init__(port)
        self.port, self.loop, self.registry, self.folder = port, loop, registry, folder

    def do(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run *work* in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        """Lend a client with a connection of its own."""
        with contextlib.closing(Client(self.port)) as client:
            yield client

    def blobs(self) -> dict[str, int]:
        """Return what files of blobs the storage holds, with their sizes."""
        found: dict[str, int] = {}
        for folder, _, names in os.walk(self.folder / "blobs"):
            found |= {name: os.stat(Path(folder, name)).st_size for name in names}
        return found


@contextlib.contextmanager
def opened(
    folder: Path, terms: Terms | None = None, clock: Callable[[], float] | None = None
) -> Iterator[Registry]:
    """Open a registry with all of it in *folder*."""
    more = {} if clock is None else {"clock": clock}
    with contextlib.closing(FolderStorage(folder)) as storage:
        registry = open_registry(storage, folder / "registry.db", terms or Terms(), **more)
        with contextlib.closing(registry):
            yield registry


@contextlib.contextmanager
def served(
    folder: Path,
    terms: Terms | None = None,
    clock: Callable[[], float] | None = None,
    config: Config | None = None,
    hooks: Hooks | None = None,
    source: Source | None = None,
) -> Iterator[Live]:
    """Serve a registry with all of it in *folder* until the block ends."""
    ready: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = []
    up = threading.Event()

    async def live() -> None:
        stop = asyncio.Event()
        serving = await serve(
            config or Config(port=0), source or registry.pulls, None if source else registry, hooks or Hooks()
        )
        ready.append((serving.port, asyncio.get_running_loop(), stop))
        up.set()
        await stop.wait()
        await serving.close()

    with opened(folder, terms, clock) as registry:
        thread = threading.Thread(target=asyncio.run, args=(live(),))
        thread.start()
        assert up.wait(PATIENCE)
        port, loop, stop = ready[0]
        try:
            with contextlib.closing(Live(port, loop, registry, folder)) as client:
                yield client
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(PATIENCE)
            assert not thread.is_alive()


def digest512(data: bytes) -> Digest:
    """Return the sha512 digest of *data*."""
    return Digest(f"sha512:{hashlib.sha512(data).hexdigest()}")
