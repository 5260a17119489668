"""corten volume inspect."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.filters import FORMAT_ONE
from corten.cli.flags import STRING
from corten.cli.inspection import inspect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Display detailed information on one or more volumes"
USAGE = "[OPTIONS] VOLUME [VOLUME...]"


def arguments(parser: Parser) -> None:
    """One volume or more."""
    parser.words(1)
    parser.flag("format", STRING, FORMAT_ONE, short="f")


def run(client: Client, args: Values) -> int:
    """GET /volumes/{name}."""
    return inspect(args.words, lambda name: client.get(f"/volumes/{quote(name)}"), args.format)
