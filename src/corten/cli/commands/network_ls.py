"""corten network ls."""

from __future__ import annotations

import sys

from corten.cli.filters import FORMAT, encode
from corten.cli.flags import BOOL, FILTER, STRING
from corten.cli.human import go_time
from corten.cli.names import natural
from corten.cli.output import listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "List networks"
USAGE = "[OPTIONS]"
SHORT_ID = 12  # hex digits
HEADERS: dict[str, Any] = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
    "Label": lambda name: name,
}


def arguments(parser: Parser) -> None:
    """Which networks, and how to show them."""
    parser.words(0, 0)
    parser.flag("filter", FILTER, 'Provide filter values (e.g. "driver=bridge")', short="f")
    parser.flag("format", STRING, FORMAT)
    parser.flag("no-trunc", BOOL, "Do not truncate the output")
    parser.flag("quiet", BOOL, "Only display network IDs", short="q")


def run(client: Client, args: Values) -> int:
    """GET /networks."""
    found = client.get("/networks", filters=encode(args.filter))
    found.sort(key=lambda network: natural(network["Name"]))
    rows = [row(network, whole=args.no_trunc) for network in found]
    columns = ("ID", "Name", "Driver", "Scope")
    sys.stdout.write(listing(rows, HEADERS, columns, args.format, key="ID" if args.quiet else ""))
    return 0


def row(network: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    """One entry of the API's list as the fields of a template; *whole* keeps long ids."""
    labels = network.get("Labels") or {}
    return {
        "ID": network["Id"] if whole else network["Id"][:SHORT_ID],
        "Name": network["Name"],
        "Driver": network["Driver"],
        "Scope": network["Scope"],
        "IPv4": str(network.get("EnableIPv4", True)).lower(),
        "IPv6": str(network["EnableIPv6"]).lower(),
        "Internal": str(network["Internal"]).lower(),
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(labels.items())),
        "CreatedAt": go_time(network["Created"]),
        "Label": lambda name: labels.get(name, ""),
    }
