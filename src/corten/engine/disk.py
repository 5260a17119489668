"""disk: what lies in the engine's state folder, to the last block.

What images and containers take is asked of the parts that own it, and all
else in the folder is looked at file by file, so that the sum is what du(1)
says, and nothing is left that nobody can name.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from corten.core.snapshots.snapshotter import Snapshot, Snapshotter
from corten.core.volumes.mounting import is_mounted
from corten.errors import NotFound
from corten.oci.digest import Digest

_BLOCK = 512  # bytes; see stat(2), st_blocks
_DOWNLOADS = ("ingest", "partial")


class Disk(NamedTuple):
    """Bytes on disk; all parts together are the whole state folder.

    Attributes:
        blobs: By digest.
        trees: By chain id, those of containers by their id.
        containers: What a container has besides its tree: its logs and small files.
        volumes: The files of volumes, by name; what is mounted there from elsewhere is not counted.
        kept: Snapshots of volumes.
        partial: What has come of downloads, and what is being unpacked.
        trash: What is removed and not yet unlinked.
        registry: What a registry server keeps there.
        engine: The records, and the folders themselves.
    """

    blobs: Counter[Digest]
    trees: Counter[str]
    containers: Counter[str]
    volumes: Counter[str]
    kept: int
    partial: int
    trash: int
    registry: int
    engine: int

    @property
    def total(self) -> int:
        """Return the sum of all."""
        parts = (self.blobs.total(), self.trees.total(), self.containers.total(), self.volumes.total())
        return sum(parts) + self.kept + self.partial + self.trash + self.registry + self.engine


def measure(root: str, snapshots: Snapshotter) -> Disk:
    """Measure the state folder *root*, in which *snapshots* has its own; takes a while where trees are large."""
    walk = _Walk(root, snapshots)
    walk.run()
    return Disk(
        blobs=walk.blobs,
        trees=walk.trees,
        containers=walk.containers,
        volumes=walk.volumes,
        kept=walk.sums["kept"],
        partial=walk.sums["partial"],
        trash=walk.sums["trash"],
        registry=walk.sums["registry"],
        engine=walk.sums["engine"],
    )


class _Walk:
    """One look at everything; a hard link counts where it is met first."""

    def __init__(self, root: str, snapshots: Snapshotter) -> None:
        self.blobs: Counter[Digest] = Counter()
        self.trees: Counter[str] = Counter()
        self.containers: Counter[str] = Counter()
        self.volumes: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        self._root = root
        self._snapshots = snapshots
        owned = [each for each in snapshots.walk() if each.kind != "view"]
        self._trees = {os.path.relpath(each.directory, root): each for each in owned}
        self._folders = {"/".join(path.split("/")[:3]): each for path, each in self._trees.items()}
        self._seen: set[tuple[int, int]] = set()

    def run(self) -> None:
        """Count the root folder and all that is in it."""
        top = os.lstat(self._root)
        self.sums["engine"] += top.st_blocks * _BLOCK
        waiting = [""]
        while waiting:
            for path, found in self._entries(waiting.pop()):
                if path in self._trees and not self._may_share(path):
                    self._tree(self._trees[path])
                    continue
                with suppress(FileNotFoundError):
                    facts = found.stat(follow_symlinks=False)
                    if facts.st_dev != top.st_dev or self._is_mounted(path):  # no space of ours
                        continue
                    if stat.S_ISDIR(facts.st_mode):
                        waiting.append(path)
                    self._count(path, facts)

    def _entries(self, path: str) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
        with (
            suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(os.path.join(self._root, path)) as names,
        ):
            for entry in sorted(names, key=lambda entry: entry.name, reverse=True):
                yield f"{path}/{entry.name}".lstrip("/"), entry

    def _is_mounted(self, path: str) -> bool:
        """Tell whether *path* is a volume that shows a folder of the host, which may be on the same file system."""
        match path.split("/"):
            case ["volumes", _, "_data"]:
                return is_mounted(os.path.join(self._root, path))
        return False

    def _may_share(self, path: str) -> bool:
        """Tell whether a tree is a layer kept as a tar, whose file may be that of a blob too."""
        return self._snapshots.form == "index" and os.path.basename(path) == "layer"

    def _tree(self, snapshot: Snapshot) -> None:
        with suppress(NotFound, FileNotFoundError):  # removed meanwhile
            self._add(snapshot, self._snapshots.usage(snapshot.key).bytes)

    def _count(self, path: str, found: os.stat_result) -> None:
        if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            if (found.st_dev, found.st_ino) in self._seen:
                return
            self._seen.add((found.st_dev, found.st_ino))
        size = found.st_blocks * _BLOCK
        snapshot = self._folders.get("/".join(path.split("/")[:3]))
        if snapshot is None:
            self._place(path.split("/"), size)
        elif snapshot.kind == "active" and not snapshot.key.startswith("unpack-"):
            self.containers[snapshot.key] += size
        else:
            self._add(snapshot, size)

    def _add(self, snapshot: Snapshot, size: int) -> None:
        if snapshot.key.startswith("unpack-"):
            self.sums["partial"] += size
        else:
            self.trees[snapshot.key] += size

    def _place(self, parts: list[str], size: int) -> None:
        """Add what belongs to no snapshot to whatever its path says that it is."""
        match parts:
            case ["content", "blobs", algorithm, name]:
                self.blobs[Digest(f"{algorithm}:{name}")] += size
            case ["content", place, _, *_] if place in _DOWNLOADS:
                self.sums["partial"] += size
            case ["volumes", ".work", _, *_]:
                self.sums["partial"] += size
            case ["volumes", ".trash", _, *_]:
                self.sums["trash"] += size
            case ["volumes", name, "_data", *_]:
                self.volumes[name] += size
            case ["volumes", _, "snapshots", _, *_]:
                self.sums["kept"] += size
            case ["containers", identifier, *_]:
                self.containers[identifier] += size
            case ["registry", *_]:
                self.sums["registry"] += size
            case ["trash", _, *_] | [_, "trash", _, *_] | [_, _, "trash", _, *_]:
                self.sums["trash"] += size
            case _:
                self.sums["engine"] += size
