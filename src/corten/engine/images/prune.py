"""prune: images that nothing uses go, all of them or those that filters choose.

Dangling images are those that no tag names. What is freed is what the disk
gets back: blobs and trees that no other image has, and downloads that were
broken off, which nobody will miss but the next pull of the same image.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress

from corten.engine.images.filters import Filters, select
from corten.engine.images.remove import Publish, Report, Users, publish_report, remove
from corten.engine.images.stores import Stores
from corten.engine.images.usage import pieces, sizes
from corten.engine.records.images import Image
from corten.engine.threads import finished
from corten.errors import Conflict, InvalidInput, NotFound
from corten.oci.reference import Reference

_KEYS = frozenset({"dangling", "label", "label!", "until"})
_FALSE = ("0", "false", "f")


class Pruning:
    """The verb; *users* names the containers made from an image, *publish* takes events."""

    def __init__(self, stores: Stores, users: Users, publish: Publish) -> None:
        self._stores, self._users, self._publish = stores, users, publish

    async def prune(self, filters: Filters) -> tuple[Report, int]:
        """Remove images that no container uses; return what went, and the bytes on disk that this frees.

        Args:
            filters: ``dangling`` (true unless said: leave images with a tag alone),
                ``until``, ``label`` and ``label!``.

        Raises:
            InvalidInput: an unknown filter, or a malformed one.
        """
        known = {image.id for image in self._stores.images.all()}
        removed, freed = await finished(lambda: prune(filters, self._stores, self._users))
        for image, report in removed:
            publish_report(report, image, known, self._publish)
        self._publish("image", "prune", "", {"reclaimed": str(freed)})
        return [entry for _, report in removed for entry in report], freed


def prune(filters: Filters, stores: Stores, users: Users) -> tuple[list[tuple[Image, Report]], int]:
    """Do what ``Pruning.prune`` says; return what went with each image."""
    chosen = _chosen(filters, stores, users)
    before = sizes({piece for image in stores.images.all() for piece in pieces(image)}, stores)
    removed = [(image, _remove(image, stores, users)) for image in chosen]
    kept = {piece for image in stores.images.all() for piece in pieces(image)}
    freed = sum(size for piece, size in before.items() if piece not in kept)
    if not filters.keys() - {"dangling"}:
        freed += _drop_partials(stores)
    return removed, freed


def _chosen(filters: Filters, stores: Stores, users: Users) -> list[Image]:
    for key in filters:
        if key not in _KEYS:
            raise InvalidInput(f"invalid filter '{key}'")
    tagged_too = any(value.lower() in _FALSE for value in filters.get("dangling", ()))
    rest: Mapping[str, list[str]] = {
        key: list(values) for key, values in filters.items() if key != "dangling"
    }
    parents = {image.parent for image in stores.images.all()}
    return [
        image
        for image in select(rest, stores.images)
        if (tagged_too or not _has_tag(image.references))
        and (image.references or image.id not in parents)
        and not any(True for _ in users(image.id))
    ]


def _has_tag(references: Iterable[str]) -> bool:
    return any(not Reference.parse(reference).digest for reference in references)


def _remove(image: Image, stores: Stores, users: Users) -> Report:
    """Take the names away one by one, then the image; whoever begins to use it meanwhile keeps it."""
    report: Report = []
    for name in (*image.references, image.id):
        with suppress(Conflict, NotFound):  # used, or gone, since we looked
            report += remove(name, False, stores, users)
    return report


def _drop_partials(stores: Stores) -> int:
    """Drop what has come of downloads that were broken off, not of those under way; return the bytes."""
    partials = stores.content.partials
    before = {info.digest: info.size for info in partials.walk()}
    for digest in before:
        partials.drop(digest)
    left = {info.digest for info in partials.walk()}
    return sum(size for digest, size in before.items() if digest not in left)
