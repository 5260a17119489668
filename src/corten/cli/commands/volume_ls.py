"""corten volume ls."""

from __future__ import annotations

import sys

from corten.cli.failure import Failure
from corten.cli.filters import FORMAT, encode
from corten.cli.flags import BOOL, FILTER, STRING
from corten.cli.human import ago, epoch, size
from corten.cli.names import natural
from corten.cli.output import listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "List volumes"
USAGE = "[OPTIONS]"
UNKNOWN = "N/A"  # what only `system df -v` finds out
HEADERS: dict[str, Any] = {
    "Name": "VOLUME NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Size": "SIZE",
    "Availability": "AVAILABILITY",
    "Group": "GROUP",
    "Status": "STATUS",
    "Label": lambda name: name,
}
TRASH = {
    "ID": "TRASH ID",
    "Name": "VOLUME NAME",
    "Removed": "REMOVED",
    "Size": "SIZE",
    "RemovedAt": "REMOVED AT",
    "ExpiresAt": "KEPT UNTIL",
}


def arguments(parser: Parser) -> None:
    """Which volumes, and how to show them."""
    parser.words(0, 0)
    parser.flag("filter", FILTER, 'Provide filter values (e.g. "dangling=true")', short="f")
    parser.flag("format", STRING, FORMAT)
    parser.flag("quiet", BOOL, "Only display volume names", short="q")
    parser.flag("trash", BOOL, "List removed volumes that can be taken back by 'volume undelete'")


def run(client: Client, args: Values) -> int:
    """GET /volumes, or what is in the trash."""
    if args.trash:
        return _trash(client, args)
    found = client.get("/volumes", filters=encode(args.filter))["Volumes"] or []
    found.sort(key=lambda volume: natural(volume["Name"]))
    rows = [row(volume) for volume in found]
    sys.stdout.write(
        listing(rows, HEADERS, ("Driver", "Name"), args.format, key="Name" if args.quiet else "")
    )
    return 0


def row(volume: dict[str, Any]) -> dict[str, Any]:
    """One entry of the API's list as the fields of a template."""
    labels = volume.get("Labels") or {}
    return {
        "Name": volume["Name"],
        "Driver": volume["Driver"],
        "Scope": volume["Scope"],
        "Mountpoint": volume["Mountpoint"],
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(labels.items())),
        **dict.fromkeys(("Links", "Size", "Availability", "Group", "Status"), UNKNOWN),
        "Label": lambda name: labels.get(name, ""),
    }


def _trash(client: Client, args: Values) -> int:
    """Show the removed volumes, the latest first."""
    if args.filter:
        raise Failure("--filter cannot be used together with --trash: leave one out")
    rows = [
        {
            "ID": item["Id"],
            "Name": item["Name"],
            "Removed": ago(epoch(item["RemovedAt"])),
            "Size": size(item["Size"]) if item["Size"] >= 0 else UNKNOWN,
            "RemovedAt": item["RemovedAt"],
            "ExpiresAt": item["ExpiresAt"],
        }
        for item in reversed(client.get("/corten/volumes/trash"))
    ]
    columns = ("ID", "Name", "Removed", "Size", "ExpiresAt")
    sys.stdout.write(listing(rows, TRASH, columns, args.format, key="ID" if args.quiet else ""))
    return 0
