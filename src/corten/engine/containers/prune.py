"""prune: containers that do not run go, all or those that filters choose."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

from corten.engine.containers.create import Registry
from corten.engine.containers.parts import Parts
from corten.engine.records.container import Container
from corten.engine.selection import has_label, moment, seconds
from corten.errors import Conflict, InvalidInput, NotFound

_DOWN = ("created", "exited", "dead")
_KEYS = frozenset({"label", "label!", "until"})


class Pruning:
    """The verb; one object for all containers."""

    def __init__(self, parts: Parts, registry: Registry) -> None:
        self._parts, self._registry = parts, registry

    async def prune(self, filters: Mapping[str, Sequence[str]]) -> tuple[list[str], int]:
        """Remove containers that do not run; return their ids, and the bytes on disk that this frees.

        Args:
            filters: ``until`` (a time or a duration), ``label`` and ``label!``.

        Raises:
            InvalidInput: an unknown filter, or a malformed one.
        """
        removed, freed = [], 0
        for container in _chosen(self._parts.records.all(), filters):
            with suppress(Conflict, NotFound):  # started, or removed, since we looked
                size = await asyncio.to_thread(self._size, container)
                await self._registry.remove(container.id, force=False, volumes=False)
                removed.append(container.id)
                freed += size
        self._parts.events.publish("container", "prune", "", {"reclaimed": str(freed)})
        return removed, freed

    def _size(self, container: Container) -> int:
        """Return the bytes that the container takes: its writable layer, and its folder with the logs."""
        folder = os.walk(self._parts.folder(container.id))
        own = sum(
            os.lstat(os.path.join(top, name)).st_blocks * 512 for top, _, names in folder for name in names
        )
        return own + self._parts.snapshots.usage(container.id).bytes


def _chosen(containers: Sequence[Container], filters: Mapping[str, Sequence[str]]) -> list[Container]:
    for key in filters:
        if key not in _KEYS:
            raise InvalidInput(f"invalid filter '{key}'")
    limits = [moment(text) for text in filters.get("until", ())]
    return [
        container
        for container in containers
        if container.state.status in _DOWN
        and all(seconds(container.created) < limit for limit in limits)
        and all(has_label(container.config.labels or {}, text) for text in filters.get("label", ()))
        and not any(has_label(container.config.labels or {}, text) for text in filters.get("label!", ()))
    ]
