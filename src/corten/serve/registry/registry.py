"""Registry: the parts behind the door, opened together."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from corten.serve.registry.collect import Collector
from corten.serve.registry.database import Database
from corten.serve.registry.pushes import Pushes
from corten.serve.registry.rebuild import rebuild
from corten.serve.registry.shelves import Pulls, Shelves, Terms
from corten.serve.registry.storage.store import Storage
from corten.serve.registry.uploads import Sessions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Registry:
    """What a registry does, by side; all of it blocks and is safe from many threads."""

    shelves: Shelves
    pulls: Pulls
    pushes: Pushes
    sessions: Sessions
    collector: Collector

    def close(self) -> None:
        """Close the records; the storage is its owner's. Nothing may be under way."""
        self.shelves.database.close()


def open_registry(
    storage: Storage,
    database: str | os.PathLike[str],
    terms: Terms = Terms(),  # noqa: B008  # frozen
    clock: Callable[[], float] = time.time,
) -> Registry:
    """Open the registry whose bytes are in *storage* and whose records are the file *database*.

    Records that are missing or damaged are made again from the storage, which
    reads all its manifests; what a killed process left half done is finished.

    Raises:
        Conflict: another registry uses the database.
        OutOfSpace, Unavailable, Unsupported: storage or database cannot be used.
    """
    opened = Database(database)
    try:
        for note in opened.notes:
            log.warning("%s", note)
        shelves = Shelves(storage, opened, terms, clock)
        if not opened.complete:
            rebuild(shelves)
        shelves.mirror.replay()
    except BaseException:
        opened.close()
        raise
    return Registry(shelves, Pulls(shelves), Pushes(shelves), Sessions(shelves), Collector(shelves))
