"""Use: volumes while containers have them."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack

from corten.core.snapshots.browse import tree
from corten.core.volumes.mounting import is_mounted, unmount
from corten.core.volumes.populate import populate
from corten.engine.threads import finished
from corten.engine.volumes.shared import Shared, device_of
from corten.oci.spec import Mount


class Use:
    """What containers need of volumes; one object for all."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def claim(self, owner: str, names: Sequence[str]) -> None:
        """Keep volumes from being removed for a container that has no record yet; end it with ``unclaim``.

        Raises:
            NotFound: no such volume.
            Conflict: one is being removed.
        """
        for name in names:
            self._shared.records.get(name)
            self._shared.refuse_going(name)
        for name in names:
            self._shared.claims.setdefault(name, set()).add(owner)

    def unclaim(self, owner: str) -> None:
        """End the claims of a container, once its record is there or will never be; idempotent."""
        for name in tuple(self._shared.claims):
            self._shared.claims[name].discard(owner)
            if not self._shared.claims[name]:
                del self._shared.claims[name]

    async def hold(self, container: str, names: Sequence[str]) -> None:
        """Have volumes ready for a container that starts; all of them, or none.

        A volume whose driver options ask for a mount is mounted when the first
        container begins. Idempotent; ``let_go`` ends it.

        Raises:
            NotFound: no such volume.
            Conflict: one is being removed.
            Unavailable: its files are missing, or its mount fails.
        """
        held = []
        try:
            for name in dict.fromkeys(names):
                fresh = container not in self._shared.holders.get(name, ())
                await self._shared.grip(self._shared.records.get(name), container)
                if fresh:
                    held.append(name)
                    self._shared.tell("mount", name, driver="local", container=container)
        except BaseException:
            for name in reversed(held):
                await self._release(name, container)
            raise

    async def let_go(self, container: str, keep: Collection[str] = ()) -> None:
        """End the use of volumes by a container that has ended, or has all but *keep* no more; idempotent."""
        self.unclaim(container)
        for name in tuple(self._shared.holders):
            if name not in keep and container in self._shared.holders.get(name, ()):
                await self._release(name, container)

    async def _release(self, name: str, container: str) -> None:
        await self._shared.loose(name, container)
        self._shared.tell("unmount", name, driver="local", container=container)

    async def reconcile(self, running: Mapping[str, Sequence[str]]) -> None:
        """Take up again what was held when the engine ended; once at its start.

        Args:
            running: For each container that runs, the names of its volumes. What
                is mounted and none of them uses is unmounted.
        """
        shared = self._shared
        for container, names in running.items():
            for name in names:
                shared.holders.setdefault(name, set()).add(container)
        mounts = [
            volume.mountpoint
            for volume in shared.records.all()
            if device_of(volume) is not None
            and volume.name not in shared.holders
            and shared.store.exists(volume.name)
        ]

        def unmount_all() -> None:
            for place in mounts:
                if is_mounted(place):
                    unmount(place)

        if mounts:
            await finished(unmount_all)

    async def populate(self, name: str, root: Mount, path: str) -> bool:
        """Copy what a container's root has at *path* into a volume that is empty; see ``core.volumes.populate``.

        Args:
            name: The volume.
            root: The mount of the container's root, as ``snapshots.mounts`` gives it; it is
                read through a mount of its own that is attached nowhere.
            path: The place of the volume in the container.

        Returns:
            Whether anything was taken over.

        Raises:
            NotFound: no such volume.
            Unavailable: its files are missing, or its mount fails.
            OutOfSpace: the disk, or the volume, is full.
        """
        shared = self._shared
        owner = f"first use {path}"
        async with shared.lock(name):
            volume = shared.records.get(name)
            in_use = shared.in_use(name) or device_of(volume) is not None
            await shared.grip_locked(volume, owner)

            def work() -> bool:
                with ExitStack() as stack:
                    files = stack.enter_context(tree(root))
                    return populate(shared.store, name, volume.size, files, path, shared=in_use)

            try:
                return await finished(work)
            finally:
                await shared.loose_locked(name, owner)
