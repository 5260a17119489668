"""corten search."""

from __future__ import annotations

import sys

from corten.cli.credentials import header
from corten.cli.filters import FORMAT, encode
from corten.cli.flags import BOOL, FILTER, INT, STRING
from corten.cli.output import listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Search a registry for images, Docker Hub unless named"
USAGE = "[OPTIONS] TERM"
SHORT = 45  # columns of a description
HEADERS = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "StarCount": "STARS",
    "IsOfficial": "OFFICIAL",
    "IsAutomated": "AUTOMATED",
}
COLUMNS = ("Name", "Description", "StarCount", "IsOfficial")


def arguments(parser: Parser) -> None:
    """What for."""
    parser.words(1, 1)
    parser.flag("filter", FILTER, "Filter output based on conditions provided", short="f")
    parser.flag("format", STRING, FORMAT)
    parser.flag("limit", INT, "Max number of search results")
    parser.flag("no-trunc", BOOL, "Don't truncate output")


def run(client: Client, args: Values) -> int:
    """GET /images/search; the most popular first."""
    term = args.words[0]
    exchange = client.begin(
        "GET",
        "/images/search",
        headers=header(term),
        term=term,
        limit=args.limit or None,
        filters=encode(args.filter),
    )
    found = sorted(exchange.value() or [], key=lambda row: -row["star_count"])
    rows = [_row(each, whole=args.no_trunc) for each in found]
    sys.stdout.write(listing(rows, HEADERS, COLUMNS, args.format))
    return 0


def _row(found: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    text = found["description"].replace("\n", " ").replace("\r", " ")
    return {
        "Name": found["name"],
        "Description": text if whole or len(text) <= SHORT else text[: SHORT - 1] + "…",
        "StarCount": str(found["star_count"]),
        "IsOfficial": "[OK]" if found["is_official"] else "",
        "IsAutomated": "[OK]" if found.get("is_automated") else "",
    }
