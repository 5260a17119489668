"""Volumes: the verbs on volumes, for the doors and for the other parts of the engine."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from msgspec.structs import replace

from corten.core.volumes import marks, options
from corten.core.volumes.store import VolumeStore
from corten.engine.records.volume import Volume
from corten.engine.records.volumes import VolumeRepository
from corten.engine.threads import finished
from corten.engine.volumes.archive import Archives
from corten.engine.volumes.bin import Bin
from corten.engine.volumes.copies import Copies
from corten.engine.volumes.naming import ANONYMOUS, check, generate
from corten.engine.volumes.prune import Pruning
from corten.engine.volumes.shared import Publish, Shared, User, now
from corten.engine.volumes.use import Use
from corten.errors import Conflict, InvalidInput, NotFound

DRIVER = "local"


class Volumes:
    """The verbs on volumes. Slow work runs in threads; names are exact.

    Args:
        records: The recorded volumes.
        folder: Where their files are; made when absent. One engine may own it.
        users: Names the containers whose records have a volume of that name.
        publish: Takes events.
        janitor: Unlinks what was removed; without one that is waited for.

    Attributes:
        clone: And the other verbs on copies: see ``Copies``.
        trash: And ``undelete``: see ``Bin``.
        export: And the other verbs on archives: see ``Archives``.
        hold: And the other needs of containers: see ``Use``.
        prune: See ``Pruning``.
    """

    def __init__(
        self,
        records: VolumeRepository,
        folder: str,
        users: Callable[[str], Sequence[User]],
        publish: Publish,
        janitor: Executor | None = None,
    ) -> None:
        self._shared = Shared(records, VolumeStore(folder, janitor), users, publish)
        self._records, self._store = records, self._shared.store
        self._bin = Bin(self._shared)
        copies, archives, use = Copies(self._shared, self._bin), Archives(self._shared), Use(self._shared)
        self.clone, self.restore = copies.clone, copies.restore
        self.snapshot, self.snapshots = copies.snapshot, copies.snapshots
        self.remove_snapshot = copies.remove_snapshot
        self.trash, self.undelete = self._bin.trash, self._bin.undelete
        self.export, self.import_ = archives.export, archives.import_
        self.archive_get, self.archive_put = archives.archive_get, archives.archive_put
        self.claim, self.unclaim = use.claim, use.unclaim
        self.hold, self.let_go, self.populate = use.hold, use.let_go, use.populate
        self._use = use
        self.prune = Pruning(self._shared, self.remove).prune

    async def create(
        self,
        name: str,
        driver: str = DRIVER,
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        size: int = 0,
        anonymous: bool = False,
        owner: str = "",
    ) -> Volume:
        """Make a volume, or return the one of that name.

        Args:
            name: Empty for an anonymous one with 64 hex digits for a name.
            driver: ``local``, or empty for that.
            options: Those of the driver; see ``core.volumes.options``.
            labels: Of a new one.
            size: The most bytes that it may hold; 0 for no limit. The option ``size`` says the same.
            anonymous: It belongs to its container, and goes with it.
            owner: A container in the making that claims it; see ``claim``.

        Raises:
            InvalidInput: a name, option or size.
            NotFound: no such driver.
            Conflict: the volume exists with other options or another size, or is being removed.
            Unsupported: a size where the file system keeps none.
            OutOfSpace: the disk is full.
        """
        volume = self._wanted(name, driver, dict(options or {}), dict(labels or {}), size, anonymous)
        shared = self._shared
        async with shared.lock(volume.name):
            shared.refuse_going(volume.name)
            known = self._records.get(volume.name) if self._records.has(volume.name) else None
            if known is not None:
                _refuse_other(known, volume)
                if owner:
                    self.claim(owner, [volume.name])
                return known
            if owner:
                shared.claims.setdefault(volume.name, set()).add(owner)
            try:
                await finished(lambda: self._make(volume))
            except BaseException:
                shared.claims.get(volume.name, set()).discard(owner)
                raise
        shared.tell("create", volume.name, driver=volume.driver)
        return volume

    def _wanted(
        self,
        name: str,
        driver: str,
        wishes: dict[str, str],
        labels: dict[str, str],
        size: int,
        anonymous: bool,
    ) -> Volume:
        """Return what shall be recorded; whatever can be refused without a look at the disk is."""
        if driver not in ("", DRIVER):
            raise NotFound("volume plugin", driver)
        device, limit = options.parse(wishes)
        if size < 0 or (size and device):
            raise InvalidInput("a size caps a folder: for a mount put it into its options, as in o=size=100m")
        anonymous = anonymous or not name
        called = check(name) if name else generate()
        return Volume(
            name=called,
            created=now(),
            mountpoint=self._store.path(called),
            options=wishes,
            labels={**labels, ANONYMOUS: ""} if anonymous else labels,
            anonymous=anonymous,
            size=size or limit,
        )

    def _make(self, volume: Volume) -> None:
        self._store.make(volume.name, volume.size)
        try:
            self._records.put(volume)
        except BaseException:
            self._store.erase(volume.name)
            raise

    def get(self, name: str) -> Volume:
        """Return the volume of exactly this name, from memory; NotFound for none."""
        return self._records.get(name)

    def list(self) -> list[Volume]:
        """Return all volumes, the oldest first."""
        return self._records.all()

    def status(self, volume: Volume) -> dict[str, Any]:
        """Return what there is to say of a volume besides its record: a size and its use, in bytes; empty for most."""
        if not volume.size:
            return {}
        quota = self._store.quota(volume.name)
        return {"Size": volume.size, "Used": quota.used if quota else 0}

    async def remove(self, name: str, force: bool = False, now: bool = False) -> None:
        """Remove a volume; unless it is anonymous it can be had back from the trash for a day.

        Args:
            name: The volume.
            force: None of that name is fine.
            now: Do not keep it in the trash.

        Raises:
            NotFound: no such volume.
            Conflict: a container uses it, running or not.
        """
        shared = self._shared
        async with shared.lock(name):
            if force and not self._records.has(name):
                return
            volume = self._records.get(name)
            shared.refuse_used(name, "remove")
            shared.going.add(name)
            try:
                await finished(lambda: self._bin.throw(volume, now=now))
            finally:
                shared.going.discard(name)
        shared.tell("destroy", name, driver=volume.driver)
        self._bin.look_after()

    async def rename(self, name: str, new: str) -> Volume:
        """Give a volume another name; what was anonymous no longer is.

        Raises:
            NotFound: no such volume.
            InvalidInput: *new* is no name for a volume.
            Conflict: a container uses the volume, running or not, or *new* exists.
        """
        shared = self._shared
        async with shared.both(name, check(new)):
            known = self._records.get(name)
            shared.refuse_going(new)
            shared.refuse_used(name, "rename")
            if self._records.has(new):
                raise Conflict(f"volume {new} exists: choose another name")
            labels = {key: value for key, value in known.labels.items() if key != ANONYMOUS}
            path = self._store.path(new)
            volume = replace(known, name=new, mountpoint=path, labels=labels, anonymous=False)
            shared.going.add(name)
            try:
                await finished(lambda: self._rename(name, volume))
            finally:
                shared.going.discard(name)
        shared.tell("rename", new, driver=volume.driver, oldName=name)
        return volume

    def _rename(self, name: str, volume: Volume) -> None:
        """Mark, record, move: wherever this ends, ``recover`` knows which name counts."""
        with self._store.opened(name):
            pass  # it is there
        marks.write(self._store.folder(name), {"renamed": volume.name})
        try:
            self._records.rename(name, volume)
        except BaseException:
            marks.drop(self._store.folder(name))
            raise
        self._store.move(name, volume.name)
        marks.drop(self._store.folder(volume.name))

    def recover(self, complete: bool = True) -> Sequence[str]:
        """Undo or finish what was under way when the engine ended; call it before any other verb.

        Args:
            complete: Whether the records are all there. When some had to be set
                aside a folder without one may be somebody's data: nothing is touched.

        Returns:
            Lines for the log: folders that no record claims, and volumes without a folder.
        """
        notes: Sequence[str] = ()
        if complete:
            recorded = {volume.name for volume in self._records.all()}
            notes = self._store.recover(recorded, lambda mark: str(mark.get("renamed", "")))
            self._bin.expire()
        for volume in self._records.all():
            path = self._store.path(volume.name)
            if volume.mountpoint != path:  # the engine's folder was moved
                self._records.put(replace(volume, mountpoint=path))
        missing = [volume.name for volume in self._records.all() if not self._store.exists(volume.name)]
        return [*notes, *(f"the files of volume {name} are missing" for name in missing)]

    async def reconcile(self, running: Mapping[str, Sequence[str]]) -> None:
        """Take up what containers that run on have, and look after the trash from now on; see ``Use.reconcile``.

        Args:
            running: For each container that runs, the names of its volumes.
        """
        await self._use.reconcile(running)
        self._bin.look_after()

    async def close(self) -> None:
        """Stop what goes on in the background; mounts stay, for containers that run on."""
        await self._bin.close()


def _refuse_other(known: Volume, wanted: Volume) -> None:
    """Refuse to take *known* for *wanted* where that asks for something else; asking for nothing is fine."""
    if (wanted.options and wanted.options != known.options) or (wanted.size and wanted.size != known.size):
        raise Conflict(
            f"volume {known.name} exists with other options: remove it first, or choose another name"
        )
