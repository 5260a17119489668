"""corten history."""

from __future__ import annotations

import sys

from corten.cli.client import quote
from corten.cli.filters import FORMAT
from corten.cli.flags import BOOL, STRING
from corten.cli.human import ago, rfc3339, size
from corten.cli.output import listing
from corten.cli.platforms import as_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Show the history of an image"
USAGE = "[OPTIONS] IMAGE"
SHORT_ID, SHORT_TEXT = 12, 45  # hex digits, columns of a command
HEADERS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}
COLUMNS = ("ID", "CreatedSince", "CreatedBy", "Size", "Comment")


def arguments(parser: Parser) -> None:
    """One image."""
    parser.words(1, 1)
    parser.flag("format", STRING, FORMAT)
    parser.flag("human", BOOL, "Print sizes and dates in human readable format", short="H", default=True)
    parser.flag("no-trunc", BOOL, "Don't truncate output")
    parser.flag("platform", STRING, 'Show history for the given platform, as "os[/arch[/variant]]"')
    parser.flag("quiet", BOOL, "Only show image IDs", short="q")


def run(client: Client, args: Values) -> int:
    """GET /images/{name}/history."""
    platform = as_json([args.platform]) if args.platform else None
    steps = client.get(f"/images/{quote(args.words[0])}/history", platform=platform)
    rows = [_row(step, human=args.human, whole=args.no_trunc) for step in steps]
    sys.stdout.write(listing(rows, HEADERS, COLUMNS, args.format, key="ID" if args.quiet else ""))
    return 0


def _row(step: dict[str, Any], *, human: bool, whole: bool) -> dict[str, Any]:
    command = step["CreatedBy"].replace("\t", " ")
    created = rfc3339(step["Created"], 0).replace(".000000000", "")
    return {
        "ID": step["Id"] if whole else step["Id"].rpartition(":")[2][:SHORT_ID],
        "CreatedSince": ago(step["Created"]) if human else created,
        "CreatedAt": created,
        "CreatedBy": command if whole or len(command) <= SHORT_TEXT else command[: SHORT_TEXT - 1] + "…",
        "Size": size(step["Size"], 3) if human else str(step["Size"]),
        "Comment": step["Comment"],
    }
