"""usage: what a look at the disk means for images, containers and volumes, in the members of Docker's ``/system/df``.

Pure. Sizes are those on disk. Of an image they are those of its blobs and its
trees together: one of them alone would leave half of the disk unexplained.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from corten.engine.disk import Disk
from corten.engine.images.show import summary
from corten.engine.images.usage import Piece, pieces, shares
from corten.engine.records.container import Container
from corten.engine.records.images import Image, ImageRepository
from corten.engine.records.volume import Volume
from corten.oci.digest import Digest

_NOTHING = {"ActiveCount": 0, "TotalCount": 0, "Reclaimable": 0, "TotalSize": 0}
_UP = ("running", "paused", "restarting")


def report(
    disk: Disk,
    images: ImageRepository,
    containers: Sequence[Container],
    volumes: Sequence[Volume],
    kinds: Collection[str],
) -> dict[str, Any]:
    """Return the members for *kinds* (none for all), and with all of them under ``Corten`` what Docker has no place for."""
    wanted = kinds or ("image", "container", "volume", "build-cache")
    found: dict[str, Any] = {}
    known = _sizes(disk)
    all_images = images.all()
    if "image" in wanted:
        found |= _images(known, images, containers)
    if "container" in wanted:
        found |= _containers(disk, all_images, containers)
    if "volume" in wanted:
        found |= _volumes(disk, containers, volumes)
    if "build-cache" in wanted:  # there is none yet
        found |= {"BuildCache": [], "BuilderSize": 0, "BuildCacheUsage": _NOTHING}
    return found if kinds else found | {"Corten": _rest(disk, known, all_images, containers)}


def _sizes(disk: Disk) -> dict[Piece, int]:
    """Return the pieces that images may have."""
    trees = {
        Piece("tree", Digest(key)): size for key, size in disk.trees.items() if key.startswith("sha256:")
    }
    return {Piece("blob", digest): size for digest, size in disk.blobs.items()} | trees


def _held(images: Iterable[Image], known: dict[Piece, int]) -> int:
    """Return what *images* take together."""
    return sum(known.get(piece, 0) for piece in {piece for image in images for piece in pieces(image)})


def _images(
    known: dict[Piece, int], images: ImageRepository, containers: Sequence[Container]
) -> dict[str, Any]:
    found = sorted(images.all(), key=lambda image: image.created, reverse=True)
    shared, total = shares(found, known), _held(found, known)
    users = [container.image_id for container in containers]
    rows = [
        summary(image, images)
        | {
            "Size": shared[image.id].size,
            "SharedSize": shared[image.id].shared,
            "Containers": users.count(image.id),
        }
        for image in found
    ]
    used = [image for image in found if image.id in users]
    return {
        "LayersSize": total,
        "Images": rows,
        "ImageUsage": {
            "ActiveCount": len(used),
            "TotalCount": len(found),
            "Reclaimable": total - _held(used, known),
            "TotalSize": total,
        },
    }


def _containers(disk: Disk, images: Iterable[Image], containers: Sequence[Container]) -> dict[str, Any]:
    bases = {str(image.id): image.size for image in images}
    rows = [
        {
            "Id": container.id,
            "SizeRw": disk.trees[container.id],
            "SizeRootFs": disk.trees[container.id] + bases.get(container.image_id, 0),
        }
        for container in containers
    ]
    up = [container.id for container in containers if container.state.status in _UP]
    total = sum(disk.trees[container.id] for container in containers)
    return {
        "Containers": rows,
        "ContainerUsage": {
            "ActiveCount": len(up),
            "TotalCount": len(rows),
            "Reclaimable": total - sum(disk.trees[identifier] for identifier in up),
            "TotalSize": total,
        },
    }


def _volumes(disk: Disk, containers: Sequence[Container], volumes: Sequence[Volume]) -> dict[str, Any]:
    """Return name, size and number of containers of each volume; the size of what is mounted is -1, not known."""
    users = Counter(
        name
        for container in containers
        for name in {mount.name for mount in container.mounts if mount.type == "volume"}
    )
    rows = [
        {"Name": volume.name, "Size": disk.volumes.get(volume.name, -1), "RefCount": users[volume.name]}
        for volume in volumes
    ]
    return {
        "Volumes": rows,
        "VolumeUsage": {
            "ActiveCount": sum(volume.name in users for volume in volumes),
            "TotalCount": len(rows),
            "Reclaimable": sum(size for name, size in disk.volumes.items() if name not in users),
            "TotalSize": disk.volumes.total(),
        },
    }


def _rest(
    disk: Disk, known: dict[Piece, int], images: Iterable[Image], containers: Sequence[Container]
) -> dict[str, int]:
    """Return what is neither an image's nor in a container's tree or a volume; with those it adds up to ``Total``."""
    owned = sum(disk.trees[container.id] for container in containers)
    return {
        "ContainerFiles": disk.containers.total(),
        "RemovedImages": disk.blobs.total() + disk.trees.total() - _held(images, known) - owned,
        "VolumeSnapshots": disk.kept,
        "Partial": disk.partial,
        "Trash": disk.trash,
        "Registry": disk.registry,
        "Engine": disk.engine,
        "Total": disk.total,
    }
