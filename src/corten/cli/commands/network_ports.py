"""corten network ports."""

from __future__ import annotations

import sys

from corten.cli.filters import FORMAT
from corten.cli.flags import STRING
from corten.cli.output import listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Show who can reach which port of the running containers"
USAGE = "[OPTIONS] [NETWORK]"
HEADERS = {
    "Container": "CONTAINER",
    "Network": "NETWORK",
    "Port": "PORT",
    "Host": "ON THE HOST",
    "Who": "REACHED BY",
}


def arguments(parser: Parser) -> None:
    """On one network, or on all."""
    parser.words(0, 1)
    parser.flag("format", STRING, FORMAT)


def run(client: Client, args: Values) -> int:
    """GET /corten/networks/ports."""
    ways = client.get("/corten/networks/ports", network=args.words[0] if args.words else None)
    rows = [row(way) for way in ways]
    sys.stdout.write(listing(rows, HEADERS, tuple(HEADERS), args.format))
    return 0


def row(way: dict[str, Any]) -> dict[str, str]:
    """One way to a port as the fields of a template."""
    address = f"[{way['HostIp']}]" if ":" in way["HostIp"] else way["HostIp"]
    return {
        "Container": way["Container"],
        "Network": way["Network"],
        "Port": f"{way['ContainerPort']}/{way['Protocol']}",
        "Host": f"{address}:{way['HostPort']}" if way["HostPort"] else "",
        "Who": way["Who"],
    }
