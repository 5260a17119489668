"""What this door needs of an engine's volumes: shapes only, as in ``interface``."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

from corten.engine.records.volume import Volume
from corten.serve.api.interface_values import Filters


class Snapshot(Protocol):
    """The content of a volume as it once was."""

    @property
    def name(self) -> str:
        """Its name, unique within the volume."""
        ...

    @property
    def created(self) -> str:
        """When it was taken, RFC 3339."""
        ...

    @property
    def size(self) -> int:
        """Its bytes on disk, those that it shares among them."""
        ...


class Trashed(Protocol):
    """A volume that was removed and can still be taken back."""

    @property
    def id(self) -> str:
        """What ``undelete`` takes where several of a name are there."""
        ...

    @property
    def name(self) -> str:
        """The name that the volume had."""
        ...

    @property
    def removed(self) -> str:
        """When it was removed, RFC 3339."""
        ...

    @property
    def expires(self) -> str:
        """Until when it can be taken back, RFC 3339."""
        ...

    @property
    def size(self) -> int:
        """Its bytes on disk; -1 while that is not known."""
        ...


class VolumeRegistry(Protocol):
    """Which volumes there are."""

    async def create(
        self, name: str, driver: str, options: Mapping[str, str], labels: Mapping[str, str], size: int, /
    ) -> Volume:
        """Make a volume that holds at most *size* bytes (0 for no limit); an empty name is chosen."""
        ...

    def get(self, name: str, /) -> Volume:
        """Return the record; NotFound where there is none."""
        ...

    def list(self) -> Sequence[Volume]:
        """Return all records."""
        ...

    def status(self, volume: Volume, /) -> Mapping[str, Any]:
        """Return what its driver has to say, empty for nothing."""
        ...

    async def remove(self, name: str, force: bool, now: bool, /) -> object:
        """Move it to the trash, or delete it *now*; with *force* one that is not there is no error."""
        ...

    async def prune(self, filters: Filters, /) -> tuple[Sequence[str], int]:
        """Remove those that nothing uses; returns their names, and the bytes that this frees."""
        ...


class VolumeCopies(Protocol):
    """What was, and what becomes of volumes."""

    async def rename(self, name: str, new: str, /) -> object:
        """Give it another name."""
        ...

    async def clone(self, name: str, new: str, /) -> Volume:
        """Make another volume of the same content."""
        ...

    async def snapshot(self, name: str, snapshot: str, /) -> str:
        """Keep the content of now under the name *snapshot*, or where that is empty one made of the time; returns it."""
        ...

    async def snapshots(self, name: str, /) -> Sequence[Snapshot]:
        """Return what was kept, the oldest first."""
        ...

    async def restore(self, name: str, snapshot: str, /) -> str:
        """Bring the content of *snapshot* back; returns the id in the trash of what was there."""
        ...

    async def remove_snapshot(self, name: str, snapshot: str, /) -> object:
        """Forget a snapshot."""
        ...

    async def trash(self) -> Sequence[Trashed]:
        """Return the volumes that can be taken back."""
        ...

    async def undelete(self, name: str, new: str, /) -> Volume:
        """Take a volume back out of the trash, by name or id, as *new* where that is given."""
        ...


class VolumeArchives(Protocol):
    """What goes into volumes and comes out of them, as tar streams."""

    def export(self, name: str, /) -> AsyncIterator[bytes]:
        """Yield the content."""
        ...

    async def import_(self, name: str, stream: BinaryIO, /) -> object:
        """Unpack *stream* into the volume."""
        ...

    def archive_get(self, name: str, path: str, /) -> AsyncIterator[bytes]:
        """Yield the file or folder at *path*, under its own last name."""
        ...

    async def archive_put(self, name: str, path: str, stream: BinaryIO, /) -> object:
        """Unpack *stream* into the folder at *path*."""
        ...


class Volumes(VolumeRegistry, VolumeCopies, VolumeArchives, Protocol):
    """The verbs on volumes."""
