"""How images look in the list, in inspect and in history: Docker's members."""

from collections.abc import Iterable
from typing import Any

import msgspec

from corten.engine.images.filters import Filters, matching, seconds, select
from corten.engine.images.stores import Stores
from corten.engine.images.unpack import is_unpacked
from corten.engine.records.container import NEVER
from corten.engine.records.images import Image
from corten.oci import codec
from corten.oci.image import ImageConfig
from corten.oci.reference import Reference

_DRIVERS = {"overlay": "overlay2", "plain": "vfs"}  # the names by which Docker's tools know them
_MISSING = "<missing>"


def listed(filters: Filters, stores: Stores) -> list[dict[str, Any]]:
    """Return the images that pass *filters*, the newest first, as ImageSummary.

    Raises:
        InvalidInput: an unknown filter, or a malformed one.
    """
    return [_summary(image, filters) for image in select(filters, stores.images)]


def _summary(image: Image, filters: Filters) -> dict[str, Any]:
    references = matching(image, filters)
    return {
        "Id": image.id,
        "ParentId": "",
        "RepoTags": _tags(references),
        "RepoDigests": _digests(references),
        "Created": int(seconds(image.created)),
        "Size": image.size,
        "SharedSize": -1,
        "Labels": image.labels,
        "Containers": -1,
    }


def _tags(references: Iterable[Reference]) -> list[str]:
    return [reference.familiar for reference in references if not reference.digest]


def _digests(references: Iterable[Reference]) -> list[str]:
    return [reference.familiar for reference in references if reference.digest]


def inspected(image: Image, stores: Stores) -> dict[str, Any]:
    """Return all that is known of *image*, as ImageInspect.

    Raises:
        DataCorrupted: its configuration is damaged on disk.
    """
    config = stores.config(image.id)
    fields = config.fields
    references = matching(image, {})
    shown: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": _tags(references),
        "RepoDigests": _digests(references),
        "Parent": "",
        "Comment": next((entry.comment or "" for entry in reversed(fields.history or ())), ""),
        "Created": fields.created or NEVER,
        "DockerVersion": "",
        "Author": fields.author or "",
        "Config": _defaults(config),
        "Architecture": fields.architecture,
        "Os": fields.os,
        "Size": image.size,
        "GraphDriver": _driver(image, stores),
        "RootFS": {"Type": "layers", "Layers": list(image.diff_ids)},
        "Metadata": {"LastTagTime": image.tagged or NEVER},
    }
    optional = {"Variant": fields.variant, "OsVersion": fields.os_version}
    return shown | {key: value for key, value in optional.items() if value}


def _defaults(config: ImageConfig) -> dict[str, Any]:
    """Return the execution defaults without members that say nothing."""
    members = msgspec.json.decode(codec.encode(config.defaults))
    return {key: value for key, value in members.items() if value is not None}


def _driver(image: Image, stores: Stores) -> dict[str, Any]:
    name = _DRIVERS[stores.snapshots.form]
    if image.chain_id is None or not is_unpacked(image.chain_id, stores):
        return {"Name": name, "Data": {}}
    return {"Name": name, "Data": {"UpperDir": stores.snapshots.info(image.chain_id).directory}}


def history(image: Image, stores: Stores) -> list[dict[str, Any]]:
    """Return how *image* came to be, the last step first, as HistoryResponseItem.

    Layers that the configuration's history does not mention come with empty words.
    """
    config = stores.config(image.id)
    entries = list(config.fields.history or ())
    sizes = list(image.layer_sizes)
    rows = []
    for entry in entries:
        size = 0 if entry.empty_layer or not sizes else sizes.pop(0)
        created = int(seconds(entry.created or ""))
        rows.append(_row(created, entry.created_by or "", size, entry.comment or ""))
    rows += [_row(int(seconds(image.created)), "", size, "") for size in sizes]
    if rows:
        rows[-1] |= {"Id": image.id, "Tags": _tags(matching(image, {})) or None}
    return rows[::-1]


def _row(created: int, created_by: str, size: int, comment: str) -> dict[str, Any]:
    return {
        "Id": _MISSING,
        "Created": created,
        "CreatedBy": created_by,
        "Tags": None,
        "Size": size,
        "Comment": comment,
    }
