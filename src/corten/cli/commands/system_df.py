"""corten system df."""

from __future__ import annotations

import sys

from corten.cli.flags import BOOL, STRING
from corten.cli.human import size
from corten.cli.output import listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Show disk usage of everything in the engine's state folder"
USAGE = "[OPTIONS]"
FORMAT = """\
Format output using a custom template:
'table': Print output in table format with column headers (default)
'table TEMPLATE': Print output in table format using the given Go template
'json': Print in JSON format
'TEMPLATE': Print output using the given Go template"""
HEADERS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
USAGES = (
    ("Images", "ImageUsage"),
    ("Containers", "ContainerUsage"),
    ("Local Volumes", "VolumeUsage"),
    ("Build Cache", "BuildCacheUsage"),
)
OTHERS = (
    ("Container Files", "ContainerFiles", "logs and small files of containers"),
    ("Removed Images", "RemovedImages", "layers that containers of removed images still need"),
    ("Volume Snapshots", "VolumeSnapshots", "what volumes can be restored to"),
    ("Partial Downloads", "Partial", "what has come of transfers that are under way, or were broken off"),
    ("Trash", "Trash", "removed, and being freed in the background"),
    ("Registry", "Registry", "what a registry server keeps beside the engine"),
    ("Engine", "Engine", "records and folders"),
    ("Total", "Total", "the whole state folder"),
)


def arguments(parser: Parser) -> None:
    """How to show it."""
    parser.words(0, 0)
    parser.flag("format", STRING, FORMAT)
    parser.flag("verbose", BOOL, "Show detailed information on space usage", short="v")


def run(client: Client, args: Values) -> int:
    """GET /system/df."""
    found = client.get("/system/df")
    if args.verbose:
        from corten.cli.space import detailed

        sys.stdout.write(detailed(found, OTHERS, args.format))
        return 0
    rows = [_row(title, found[member]) for title, member in USAGES]
    rows += [_other(title, member, found["Corten"][member]) for title, member, _ in OTHERS]
    sys.stdout.write(listing(rows, HEADERS, tuple(HEADERS), args.format))
    return 0


def _row(title: str, usage: dict[str, int]) -> dict[str, Any]:
    total, back = usage["TotalSize"], usage["Reclaimable"]
    return {
        "Type": title,
        "TotalCount": str(usage["TotalCount"]),
        "Active": str(usage["ActiveCount"]),
        "Size": size(total),
        "Reclaimable": f"{size(back)} ({back * 100 // total}%)" if total else size(back),
    }


def _other(title: str, member: str, count: int) -> dict[str, Any]:
    """What Docker has no row for; of these only partial downloads can be had back by a prune."""
    back = f"{size(count)} (100%)" if member == "Partial" and count else ""
    return {"Type": title, "TotalCount": "", "Active": "", "Size": size(count), "Reclaimable": back}
