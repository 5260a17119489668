"""The images as a tree: which layers they are made of, and which of these they share.

A branch is a layer on top of another. Layers that follow each other without an
image or a fork between them are one branch. A tree is on disk once, however
many images are in it.
"""

from __future__ import annotations

from corten.cli.human import size
from corten.cli.output import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

SHORT_ID = 12  # hex digits
HEADERS = ("LAYERS", "SIZE", "IMAGE", "WHOLE IMAGE")


class Branch:
    """A layer, the images that end with it, and the layers on top of it."""

    def __init__(self, name: str, count: int) -> None:
        self.names = [name]
        self.size = count
        self.images: list[dict[str, Any]] = []
        self.above: dict[str, Branch] = {}

    def merge(self) -> None:
        """Make one branch of this and what alone follows it, here and above."""
        while not self.images and len(self.above) == 1:
            (follower,) = self.above.values()
            self.names += follower.names
            self.size += follower.size
            self.images, self.above = follower.images, follower.above
        for branch in self.above.values():
            branch.merge()


def tree(images: list[dict[str, Any]]) -> str:
    """The text for the answer of ``GET /images/json?layers=1``."""
    root = Branch("", 0)
    for image in images:
        here = root
        for layer in image["Layers"]:
            name = layer["ChainID"]
            here = here.above.setdefault(name, Branch(layer["DiffID"], layer["Size"]))
        here.images.append(image)
    for branch in root.above.values():
        branch.merge()
    rows = [HEADERS, *_images(root, ""), *_branches(root, "")]
    return table(rows) + _summary(images, root)


def _branches(branch: Branch, indent: str) -> Iterator[tuple[str, ...]]:
    """Rows of what is on top of *branch*, the largest first."""
    above = sorted(branch.above.values(), key=lambda each: (-each.size, each.names[0]))
    for number, each in enumerate(above):
        last = number == len(above) - 1
        first = ("└─ " if last else "├─ ") if branch.names != [""] else ""
        below = ("   " if last else "│  ") if branch.names != [""] else ""
        yield from _images(each, indent + first, indent + below)
        yield from _branches(each, indent + below)


def _images(branch: Branch, start: str, following: str = "") -> Iterator[tuple[str, ...]]:
    """One row for the layers, with the first image that ends there, and one for each other image."""
    layers, count = _layers(branch), size(branch.size)
    shown = [_image(image) for image in branch.images]
    for names, whole in shown or [("", "")] * (branch.names != [""]):
        yield start + layers, count, names, whole
        start, layers, count = following, "", ""


def _layers(branch: Branch) -> str:
    last = branch.names[-1].rpartition(":")[2][:SHORT_ID]
    return f"{len(branch.names)} layers to {last}" if len(branch.names) > 1 else last


def _image(image: dict[str, Any]) -> tuple[str, str]:
    names = ", ".join(image["RepoTags"] or image["RepoDigests"] or ["<none>"])
    return f"{names} ({image['Id'].rpartition(':')[2][:SHORT_ID]})", size(image["Size"], 3)


def _summary(images: list[dict[str, Any]], root: Branch) -> str:
    waiting, count, total = list(root.above.values()), 0, 0
    while waiting:
        branch = waiting.pop()
        waiting += branch.above.values()
        count += len(branch.names)
        total += branch.size
    apart = sum(image["Size"] for image in images)
    saved = f"; without sharing it would be {size(apart)}" if apart > total else ""
    words = f"{len(images)} image{'s' * (len(images) != 1)}, {count} layer{'s' * (count != 1)}"
    return f"\n{words}, {size(total)} on disk{saved}\n"
