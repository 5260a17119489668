"""How images look in the list, in inspect and in history: Docker's members."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import msgspec

from corten.core.snapshots.folders import folders
from corten.engine.images.filters import Filters, matching, select
from corten.engine.images.load import descriptor
from corten.engine.images.remove import Users
from corten.engine.images.stores import Stores
from corten.engine.images.usage import Piece, shares, sizes, trees
from corten.engine.records.container import NEVER
from corten.engine.records.images import Image, ImageRepository
from corten.engine.selection import seconds
from corten.errors import NotFound
from corten.oci import codec
from corten.oci.descriptor import Descriptor
from corten.oci.image import ImageConfig, Manifest
from corten.oci.platform import Platform, matches
from corten.oci.reference import Reference

_DRIVERS = {
    "overlay": "overlay2",
    "plain": "vfs",
    "index": "erofs",
}  # the names by which Docker's tools know them
_MISSING = "<missing>"


def listed(
    filters: Filters, stores: Stores, users: Users, all_images: bool = True, extras: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Return the images that pass *filters*, the newest first, as ImageSummary.

    Args:
        filters: By Docker's keys.
        stores: Where images are.
        users: Names the containers made from an image.
        all_images: Also those without a name that another image was made from.
        extras: Members that cost something: ``shared-size`` (with the number of
            containers), ``manifests``, ``layers``.

    Raises:
        InvalidInput: an unknown filter, or a malformed one.
    """
    images = stores.images.all()
    parents = {image.parent for image in images}
    shared = shares(images, trees(images)) if "shared-size" in extras else {}
    rows = []
    for image in select(filters, stores.images):
        if not all_images and not image.references and image.id in parents:
            continue
        row = summary(image, stores.images, filters)
        if image.id in shared:
            row |= {
                "SharedSize": shared[image.id].shared,
                "Containers": sum(1 for _ in users(image.id)),
            }
        if "manifests" in extras:
            row |= {"Descriptor": described(image, stores), "Manifests": manifests(image, stores, users)}
        if "layers" in extras:
            row["Layers"] = _layers(image)
        rows.append(row)
    return rows


def summary(image: Image, images: ImageRepository, filters: Filters | None = None) -> dict[str, Any]:
    """Return *image* as ImageSummary, with the names that pass *filters*."""
    references = matching(image, filters or {})
    return {
        "Id": image.id,
        "ParentId": _parent(image, images),
        "RepoTags": _tags(references),
        "RepoDigests": _digests(references),
        "Created": int(seconds(image.created)),
        "Size": image.size,
        "SharedSize": -1,
        "Labels": image.labels,
        "Containers": -1,
    }


def _parent(image: Image, images: ImageRepository) -> str:
    """Return the id of the image that this one was made from, if that is still here."""
    known = {each.id for each in images.all()} if image.parent else ()
    return image.parent if image.parent and image.parent in known else ""


def _layers(image: Image) -> list[dict[str, Any]]:
    """Return the trees of *image*, lowest first: name, diff id, bytes."""
    rows = zip(image.chain_ids, image.diff_ids, image.layer_sizes, strict=True)
    return [{"ChainID": chain, "DiffID": diff_id, "Size": size} for chain, diff_id, size in rows]


def described(image: Image, stores: Stores) -> dict[str, Any]:
    """Return the descriptor of the manifest of *image*."""
    platform = stores.config(image.id).platform
    found: dict[str, Any] = msgspec.json.decode(
        codec.encode(msgspec.structs.replace(descriptor(image), platform=platform))
    )
    return found


def manifests(image: Image, stores: Stores, users: Users) -> list[dict[str, Any]]:
    """Return the one manifest of *image* as ImageManifestSummary."""
    blobs = sizes((Piece("blob", blob) for blob in image.blobs), stores)
    content, whole = sum(blobs.values()), described(image, stores)
    return [
        {
            "ID": image.manifest,
            "Descriptor": whole,
            "Available": len(blobs) == len(image.blobs),
            "Size": {"Content": content, "Total": content + image.size},
            "Kind": "image",
            "ImageData": {
                "Platform": whole["platform"],
                "Containers": [user.id for user in users(image.id)],
                "Size": {"Unpacked": image.size},
            },
        }
    ]


def on_platform(image: Image, name: str, wanted: Collection[Platform], stores: Stores) -> None:
    """Refuse an image that is for none of *wanted*; nothing wanted is anything.

    Raises:
        NotFound: it is for another platform.
    """
    found = stores.config(image.id).platform if wanted else Platform()
    if wanted and not any(matches(each, found) for each in wanted):
        asked = " or ".join(str(each.normalised()) for each in wanted)
        raise NotFound("image", f"{name} for {asked}: it is for {found.normalised()}")


def _tags(references: Iterable[Reference]) -> list[str]:
    return [reference.familiar for reference in references if not reference.digest]


def _digests(references: Iterable[Reference]) -> list[str]:
    return [reference.familiar for reference in references if reference.digest]


def inspected(image: Image, stores: Stores, users: Users, with_manifests: bool = False) -> dict[str, Any]:
    """Return all that is known of *image*, as ImageInspect.

    Raises:
        DataCorrupted: its configuration is damaged on disk.
    """
    config = stores.config(image.id)
    references = matching(image, {})
    shown = _of_config(config) | {
        "Descriptor": described(image, stores),
        "RepoTags": _tags(references),
        "RepoDigests": _digests(references),
        "Parent": _parent(image, stores.images),
        "Size": image.size,
        "GraphDriver": _driver(image, stores),
        "Metadata": {"LastTagTime": image.tagged or NEVER},
    }
    return shown | ({"Manifests": manifests(image, stores, users)} if with_manifests else {})


def unpulled(
    reference: Reference, found: Descriptor, manifest: Manifest, config: ImageConfig
) -> dict[str, Any]:
    """Return what can be known of an image without its layers, as ImageInspect; its size is what a pull transfers.

    Args:
        reference: A tag or digest in a registry.
        found: What that stands for there: a manifest, or an index that holds it.
        manifest: That of the image.
        config: That of the image.
    """
    pinned = Reference(reference.domain, reference.path, "", found.digest)
    return _of_config(config) | {
        "Descriptor": msgspec.json.decode(codec.encode(found)),
        "RepoTags": _tags([reference]),
        "RepoDigests": _digests([pinned]),
        "Size": sum(layer.size for layer in manifest.fields.layers),
    }


def _of_config(config: ImageConfig) -> dict[str, Any]:
    """Return the members of ImageInspect that the configuration alone decides."""
    fields = config.fields
    shown: dict[str, Any] = {
        "Id": config.digest,
        "Comment": next((entry.comment or "" for entry in reversed(fields.history or ())), ""),
        "Created": fields.created or NEVER,
        "DockerVersion": _docker_version(config),
        "Author": fields.author or "",
        "Config": _defaults(config),
        "Architecture": fields.architecture,
        "Os": fields.os,
        "RootFS": {"Type": "layers", "Layers": list(config.diff_ids)},
    }
    optional = {"Variant": fields.variant, "OsVersion": fields.os_version}
    return shown | {key: value for key, value in optional.items() if value}


def _defaults(config: ImageConfig) -> dict[str, Any]:
    """Return the execution defaults without members that say nothing."""
    members = msgspec.json.decode(codec.encode(config.defaults))
    return {key: value for key, value in members.items() if value is not None}


def _driver(image: Image, stores: Stores) -> dict[str, Any]:
    name = _DRIVERS[stores.snapshots.form]
    if image.chain_id is None or not stores.is_unpacked(image.chain_id):
        return {"Name": name, "Data": {}}
    return {"Name": name, "Data": folders(stores.snapshots.mounts(image.chain_id)[0])}


def _docker_version(config: ImageConfig) -> str:
    """Return which Docker made the image, where that is said."""
    return str(msgspec.json.decode(config.raw).get("docker_version") or "")


def history(image: Image, stores: Stores) -> list[dict[str, Any]]:
    """Return how *image* came to be, the last step first, as HistoryResponseItem.

    Layers that the configuration's history does not mention come with empty words.
    """
    config = stores.config(image.id)
    entries = list(config.fields.history or ())
    left = list(image.layer_sizes)
    rows = []
    for entry in entries:
        size = 0 if entry.empty_layer or not left else left.pop(0)
        created = int(seconds(entry.created or ""))
        rows.append(_row(created, entry.created_by or "", size, entry.comment or ""))
    rows += [_row(int(seconds(image.created)), "", size, "") for size in left]
    rows.reverse()
    for row, each in zip(rows, _line(image, stores), strict=False):
        row |= {"Id": each.id, "Tags": _tags(matching(each, {})) or None}
    return rows


def _line(image: Image, stores: Stores) -> Iterator[Image]:
    """Yield *image*, the one that it was made from, and so on, as far as they are here."""
    known = {each.id: each for each in stores.images.all()}
    step: Image | None = image
    while step is not None:
        yield step
        step = known.pop(step.parent, None) if step.parent else None


def _row(created: int, created_by: str, size: int, comment: str) -> dict[str, Any]:
    return {
        "Id": _MISSING,
        "Created": created,
        "CreatedBy": created_by,
        "Tags": None,
        "Size": size,
        "Comment": comment,
    }
