"""corten container inspect."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.filters import FORMAT_ONE
from corten.cli.flags import BOOL, STRING
from corten.cli.inspection import inspect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Display detailed information on one or more containers"
USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"


def arguments(parser: Parser) -> None:
    """One container or more."""
    parser.words(1)
    parser.flag("format", STRING, FORMAT_ONE, short="f")
    parser.flag("size", BOOL, "Display total file sizes", short="s")


def run(client: Client, args: Values) -> int:
    """GET /containers/{id}/json."""
    return inspect(
        args.words, lambda name: client.get(f"/containers/{quote(name)}/json", size=args.size), args.format
    )
