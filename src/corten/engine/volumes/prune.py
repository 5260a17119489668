"""prune: volumes that nothing uses go, all of them or those that filters choose."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from corten.engine.records.volume import Volume
from corten.engine.selection import boolean, has_label
from corten.engine.threads import finished
from corten.engine.volumes.naming import ANONYMOUS
from corten.engine.volumes.shared import Shared
from corten.errors import Conflict, CortenError, InvalidInput, NotFound

_KEYS = frozenset({"all", "label", "label!"})

Remove = Callable[[str, bool, bool], Awaitable[None]]
"""The verb: name, force, now."""


class Pruning:
    """The verb; one object for all volumes."""

    def __init__(self, shared: Shared, remove: Remove) -> None:
        self._shared, self._remove = shared, remove

    async def prune(self, filters: Mapping[str, Sequence[str]]) -> tuple[list[str], int]:
        """Remove volumes that no container uses, at once; return their names, and the bytes on disk that this frees.

        Args:
            filters: ``all`` (false unless said: leave volumes with a name alone),
                ``label`` and ``label!``.

        Raises:
            InvalidInput: an unknown filter, or a malformed one.
        """
        removed, freed = [], 0
        for volume in self._chosen(filters):
            with suppress(Conflict, NotFound):  # used, or gone, since we looked
                size = await finished(partial(self._size, volume))
                await self._remove(volume.name, False, True)
                removed.append(volume.name)
                freed += size
        self._shared.publish("volume", "prune", "", {"reclaimed": str(freed)})
        return removed, freed

    def _chosen(self, filters: Mapping[str, Sequence[str]]) -> list[Volume]:
        for key in filters:
            if key not in _KEYS:
                raise InvalidInput(f"invalid filter '{key}'")
        named_too = True in {boolean("all", value) for value in filters.get("all", ())}
        return [
            volume
            for volume in self._shared.records.all()
            if (named_too or volume.anonymous or ANONYMOUS in volume.labels)
            and not self._shared.used_by(volume.name)
            and all(has_label(volume.labels, text) for text in filters.get("label", ()))
            and not any(has_label(volume.labels, text) for text in filters.get("label!", ()))
        ]

    def _size(self, volume: Volume) -> int:
        """Return what the volume takes; a mount, or one that cannot be counted, nothing."""
        with suppress(OSError, CortenError):
            return 0 if volume.options.get("device") else self._shared.store.usage(volume.name)
        return 0
