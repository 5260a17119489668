"""Disk usage object by object: ``corten system df -v``."""

from __future__ import annotations

from corten.cli.commands import images, ps, volume_ls
from corten.cli.human import ago, size
from corten.cli.output import compiled, table
from corten.cli.wire import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

IMAGE = ("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers")
CONTAINER = ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names")
VOLUME = ("Name", "Links", "Size")
CACHE = ("CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED")


def detailed(found: dict[str, Any], others: Iterable[tuple[str, str, str]], form: str) -> str:
    """The answer of ``GET /system/df`` as tables, or through the template *form*.

    *others* are titles, members and meanings of what Docker has no table for.
    """
    rows = {
        "Images": [row for image in found["Images"] for row in _image(image)],
        "Containers": [_container(each) for each in found["Containers"]],
        "Volumes": [_volume(each) for each in found["Volumes"]],
        "BuildCache": found["BuildCache"],
        "Others": [
            {"Type": title, "Size": size(found["Corten"][member]), "Meaning": meaning}
            for title, member, meaning in others
        ],
    }
    if form == "json":
        return dumps(_plain(rows)) + "\n"
    if form and form != "table":
        return compiled(form)(rows) + "\n"
    return "".join(
        (
            _section("Images space usage:", IMAGE, images.HEADERS, rows["Images"]),
            _section("Containers space usage:", CONTAINER, ps.HEADERS, rows["Containers"]),
            _section("Local Volumes space usage:", VOLUME, volume_ls.HEADERS, rows["Volumes"]),
            f"Build cache usage: {size(found['BuildCacheUsage']['TotalSize'])}\n\n" + table([CACHE]) + "\n",
            _section(
                "Other space usage:",
                ("Type", "Size", "Meaning"),
                {"Type": "TYPE", "Size": "SIZE", "Meaning": "WHAT IT IS"},
                rows["Others"],
            ),
        )
    )


def _image(image: dict[str, Any]) -> list[dict[str, Any]]:
    unique = size(image["Size"] - image["SharedSize"])
    more = {"Size": size(image["Size"]), "SharedSize": size(image["SharedSize"]), "UniqueSize": unique}
    return [row | more for row in images.rows(image, digests=False, whole=False)]


def _container(container: dict[str, Any]) -> dict[str, Any]:
    fields = ps.row(container, whole=False)
    return fields | {"Size": size(container["SizeRw"]), "RunningFor": ago(container["Created"])}


def _volume(volume: dict[str, Any]) -> dict[str, Any]:
    usage = volume["UsageData"]
    used = size(usage["Size"]) if usage["Size"] >= 0 else volume_ls.UNKNOWN
    return volume_ls.row(volume) | {"Links": str(usage["RefCount"]), "Size": used}


def _section(
    title: str, columns: tuple[str, ...], headers: dict[str, Any], rows: list[dict[str, Any]]
) -> str:
    cells = [[headers[name] for name in columns], *([row[name] for name in columns] for row in rows)]
    return f"{title}\n\n{table(cells)}\n"


def _plain(rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """*rows* without methods."""
    return {
        name: [{key: value for key, value in row.items() if not callable(value)} for row in each]
        for name, each in rows.items()
    }
