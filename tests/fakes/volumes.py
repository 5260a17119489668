"""Volumes in memory: records, and the content as files by path."""

import asyncio
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from msgspec.structs import replace

from corten.engine.records.container import Container
from corten.engine.records.volume import Volume
from corten.errors import Conflict, InvalidInput, NotFound

CREATED = "2026-01-01T00:00:00.123456789Z"
Files = dict[str, bytes]


@dataclass(frozen=True)
class Kept:
    """A snapshot."""

    name: str
    created: str
    files: Files

    @property
    def size(self) -> int:
        """Its bytes."""
        return sum(map(len, self.files.values()))


@dataclass(frozen=True)
class Thrown:
    """A volume in the trash."""

    id: str
    name: str
    removed: str
    volume: Volume
    files: Files
    expires: str = "2026-01-02T00:00:00.123456789Z"
    size: int = -1


@dataclass
class Content:
    """What is in a volume, and what was."""

    files: Files = field(default_factory=dict)
    snapshots: list[Kept] = field(default_factory=list)


class FakeVolumes:
    """The verbs on volumes; *containers* tells who uses them."""

    def __init__(self, containers: Callable[[], Sequence[Container]]) -> None:
        self._containers = containers
        self._records: dict[str, Volume] = {}
        self.content: dict[str, Content] = {}
        self.thrown: list[Thrown] = []
        self.calls: list[tuple[Any, ...]] = []  # what was asked for, where the fake does not act on it

    async def create(
        self, name: str, driver: str, options: Mapping[str, str], labels: Mapping[str, str], size: int = 0
    ) -> Volume:
        """Record a volume; the same name again is the same volume."""
        if driver not in ("", "local"):
            raise NotFound("volume plugin", driver)
        if name in self._records:
            if dict(options) != self._records[name].options:
                raise Conflict(f"volume {name} exists with other options")
            return self._records[name]
        made = Volume(
            name=name or hashlib.sha256(str(len(self._records)).encode()).hexdigest(),
            created=CREATED,
            mountpoint=f"/volumes/{name}/_data",
            options=dict(options),
            labels=dict(labels),
            anonymous=not name,
            size=size,
        )
        self._records[made.name] = made
        self.content[made.name] = Content()
        return made

    def get(self, name: str) -> Volume:
        """Return a record."""
        if name not in self._records:
            raise NotFound("volume", name)
        return self._records[name]

    def list(self) -> Sequence[Volume]:
        """Return all records."""
        return [*self._records.values()]

    def status(self, volume: Volume) -> dict[str, Any]:
        """Return nothing, but for a volume that has a size."""
        return {"quota": "project"} if volume.size else {}

    def _users(self, name: str) -> Sequence[str]:
        return [c.id for c in self._containers() if any(m.name == name for m in c.mounts)]

    def usage(self, volume: Volume) -> tuple[int, int]:
        """Return the bytes of its files, and how many use it."""
        return sum(map(len, self.content[volume.name].files.values())), len(self._users(volume.name))

    async def remove(self, name: str, force: bool, now: bool = False) -> None:
        """Move it to the trash, or forget it."""
        if name not in self._records and force:
            return
        volume = self.get(name)
        if self._users(name):
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(self._users(name))}]")
        del self._records[name]
        files = self.content.pop(name).files
        if not now:
            self.thrown.append(Thrown(f"t{len(self.thrown)}", name, CREATED, volume, files))

    async def prune(self, filters: dict[str, Any]) -> tuple[Sequence[str], int]:
        """Forget all that nothing uses; those with names with ``all`` alone."""
        self.calls.append(("prune", filters))
        named = filters.get("all") == ["true"]
        gone = [v for v in self.list() if (named or v.anonymous) and not self._users(v.name)]
        freed = sum([self.usage(volume)[0] for volume in gone])
        for volume in gone:
            await self.remove(volume.name, force=False, now=True)
        return [volume.name for volume in gone], freed

    async def rename(self, name: str, new: str) -> Volume:
        """Change the name."""
        if new in self._records:
            raise Conflict(f"volume {new} exists: choose another name")
        volume = replace(self.get(name), name=new)
        del self._records[name]
        self._records[new], self.content[new] = volume, self.content.pop(name)
        return volume

    async def clone(self, name: str, new: str) -> Volume:
        """Make a copy."""
        source = self.get(name)
        made = await self.create(new, source.driver, source.options, source.labels, source.size)
        self.content[made.name].files = dict(self.content[name].files)
        return made

    async def snapshot(self, name: str, snapshot: str = "") -> str:
        """Keep the files of now."""
        self.get(name)
        snapshot = snapshot or "20260101T000000Z"
        content = self.content[name]
        if any(kept.name == snapshot for kept in content.snapshots):
            raise Conflict(f"volume {name} has a snapshot {snapshot} already")
        content.snapshots.append(Kept(snapshot, CREATED, dict(content.files)))
        return snapshot

    async def snapshots(self, name: str) -> Sequence[Kept]:
        """Return what was kept."""
        self.get(name)
        return self.content[name].snapshots

    def _kept(self, name: str, snapshot: str) -> Kept:
        self.get(name)
        for kept in self.content[name].snapshots:
            if kept.name == snapshot:
                return kept
        raise NotFound("snapshot", snapshot)

    async def restore(self, name: str, snapshot: str) -> str:
        """Bring files back."""
        kept = self._kept(name, snapshot)
        identifier = f"t{len(self.thrown)}"
        self.thrown.append(Thrown(identifier, name, CREATED, self.get(name), self.content[name].files))
        self.content[name].files = dict(kept.files)
        return identifier

    async def remove_snapshot(self, name: str, snapshot: str) -> None:
        """Forget what was kept."""
        self.content[name].snapshots.remove(self._kept(name, snapshot))

    async def trash(self) -> Sequence[Thrown]:
        """Return what can be taken back."""
        return self.thrown

    async def undelete(self, name: str, new: str = "") -> Volume:
        """Take a volume back."""
        for thrown in self.thrown:
            if name in (thrown.id, thrown.name):
                self.thrown.remove(thrown)
                volume = replace(thrown.volume, name=new or thrown.name)
                self._records[volume.name] = volume
                self.content[volume.name] = Content(thrown.files)
                return volume
        raise NotFound("volume in the trash", name)

    async def export(self, name: str) -> AsyncIterator[bytes]:
        """Yield all files as a tar."""
        self.get(name)
        yield packed(self.content[name].files)

    async def import_(self, name: str, stream: BinaryIO) -> None:
        """Take the files of a tar, read in a thread as the real verbs do."""
        self.get(name)
        self.content[name].files |= await asyncio.to_thread(unpacked, stream)

    async def archive_get(self, name: str, path: str) -> AsyncIterator[bytes]:
        """Yield one file, or the files below a folder."""
        self.get(name)
        wanted, files = path.strip("/"), self.content[name].files
        last = wanted.rpartition("/")[2]
        if wanted in files:
            yield packed({last: files[wanted]})
            return
        below = {
            f"{last}/{p.removeprefix(wanted).lstrip('/')}".lstrip("/"): data
            for p, data in files.items()
            if not wanted or p.startswith(f"{wanted}/")
        }
        if wanted and not below:
            raise NotFound("file in the volume", path)
        yield packed(below, last or ".")

    async def archive_put(self, name: str, path: str, stream: BinaryIO) -> None:
        """Take the files of a tar into a folder."""
        self.get(name)
        if path.strip("/") in self.content[name].files:
            raise InvalidInput(f"{path} is no folder")
        found = await asyncio.to_thread(unpacked, stream)
        self.content[name].files |= {f"{path.strip('/')}/{p}".lstrip("/"): data for p, data in found.items()}


def packed(files: Files, folder: str = "") -> bytes:
    """Return a tar of *files*, that of a *folder* beginning with it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        if folder:
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def unpacked(stream: BinaryIO) -> Files:
    """Return the regular files of a tar."""
    found: Files = {}
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None:
                found[member.name.removeprefix("./")] = file.read()
    return found
