"""Bucket: the few things that a registry asks of an S3-compatible object store.

A thin cover of the obstore library: failures become kinds of ours, an object
that is not there is None instead of an error, and many small objects are read
side by side. What the settings leave out obstore takes from where all programs
take it: the ``AWS_*`` variables, or the role of the machine.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from corten.errors import OutOfSpace, Unavailable

_FULL = (" 507 ", "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull")
_AT_ONCE = 16  # small objects that are read side by side
_BATCH = 256  # objects that are read before they are passed on
_PATIENCE = timedelta(seconds=60)
_RETRIES = 5


class Object(NamedTuple):
    """An object that is there; *changed* in seconds since the epoch."""

    name: str
    size: int
    changed: float


class BucketSettings(NamedTuple):
    """Where the objects are.

    Attributes:
        bucket: Name of the bucket.
        endpoint: URL of the service; empty for Amazon's.
        region: Name of the region.
        access_key: Name of the key; empty to take it from where all programs take it.
        secret_key: Its secret.
        prefix: Folder in the bucket that everything goes below.
        virtual_host: The bucket is a part of the host's name, as at Amazon, rather than of the path.
    """

    bucket: str
    endpoint: str = ""
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = ""
    prefix: str = ""
    virtual_host: bool = False

    def __repr__(self) -> str:
        return f"BucketSettings({self.bucket!r}, {self.endpoint!r}, {self.prefix!r})"


class Bucket:
    """Objects by name; usable from any thread."""

    def __init__(self, settings: BucketSettings) -> None:
        self.name = settings.bucket
        self._where = settings.endpoint or "Amazon S3"
        self._store = _open(settings)

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes | None:
        """Return an object, or its bytes from *start* to before *end*; None if there is none."""
        with self._explained():
            try:
                if end is None:
                    return obstore.get(self._store, name).bytes().to_bytes()
                return obstore.get_range(self._store, name, start=start, end=end).to_bytes()
            except (FileNotFoundError, NotFoundError):
                return None

    def put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Write or replace an object, all of it at once; durable on return."""
        with self._explained():
            obstore.put(self._store, name, bytes(data), use_multipart=False)

    def delete(self, names: Sequence[str]) -> None:
        """Remove objects; absent ones are fine."""
        with self._explained():
            for name in names:  # one by one: not every service knows the removal of many
                try:
                    obstore.delete(self._store, name)
                except (FileNotFoundError, NotFoundError):
                    continue

    def walk(self, folder: str) -> Iterator[Object]:
        """Yield the objects below *folder*, sorted by name within a listing."""
        with self._explained():
            for batch in obstore.list(self._store, folder):
                for found in batch:
                    yield Object(found["path"], found["size"], found["last_modified"].timestamp())

    def walk_contents(self, folder: str) -> Iterator[tuple[str, bytes]]:
        """Yield the objects below *folder* with what is in them; for small ones."""
        names: list[str] = []
        with ThreadPoolExecutor(_AT_ONCE, "s3-walk") as pool:
            for found in self.walk(folder):
                names.append(found.name)
                if len(names) == _BATCH:
                    yield from self._contents(pool, names)
                    names = []
            yield from self._contents(pool, names)

    def _contents(self, pool: ThreadPoolExecutor, names: list[str]) -> Iterator[tuple[str, bytes]]:
        for name, data in zip(names, pool.map(self.get, names), strict=True):
            if data is not None:  # else it went meanwhile
                yield name, data

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the library's failures into kinds of ours, in one line."""
        try:
            yield
        except BaseError as failure:
            reason = str(failure).strip().partition("\n")[0][:300]
            if any(mark in str(failure) for mark in _FULL):
                raise OutOfSpace(f"the bucket {self.name} at {self._where} is full: {reason}") from None
            raise Unavailable(f"the bucket {self.name} at {self._where} cannot be used: {reason}") from None


def _open(settings: BucketSettings) -> S3Store:
    """Return the library's view of the bucket; nothing is asked of the service yet."""
    texts = {
        "endpoint": settings.endpoint,
        "access_key_id": settings.access_key,
        "secret_access_key": settings.secret_key,
        "region": settings.region,
    }
    given: dict[str, str | bool] = {name: text for name, text in texts.items() if text}
    return S3Store(
        settings.bucket,
        prefix=settings.prefix or None,
        config={**given, "virtual_hosted_style_request": settings.virtual_host},  # type: ignore[arg-type]  # keys by name
        client_options={"allow_http": settings.endpoint.startswith("http://"), "timeout": _PATIENCE},
        retry_config={"max_retries": _RETRIES, "retry_timeout": _PATIENCE},
    )
