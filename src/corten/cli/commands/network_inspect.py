"""corten network inspect."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.filters import FORMAT_ONE
from corten.cli.flags import BOOL, STRING
from corten.cli.inspection import inspect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Display detailed information on one or more networks"
USAGE = "[OPTIONS] NETWORK [NETWORK...]"


def arguments(parser: Parser) -> None:
    """One network or more."""
    parser.words(1)
    parser.flag("format", STRING, FORMAT_ONE, short="f")
    parser.flag("verbose", BOOL, "Verbose output for diagnostics", short="v")


def run(client: Client, args: Values) -> int:
    """GET /networks/{id}."""
    return inspect(
        args.words,
        lambda name: client.get(f"/networks/{quote(name)}", verbose=args.verbose),
        args.format,
    )
