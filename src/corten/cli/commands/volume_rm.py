"""corten volume rm."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.each import each
from corten.cli.flags import BOOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Remove one or more volumes"
USAGE = "[OPTIONS] VOLUME [VOLUME...]"


def arguments(parser: Parser) -> None:
    """One volume or more."""
    parser.words(1)
    parser.flag("force", BOOL, "Force the removal of one or more volumes", short="f")
    parser.flag("now", BOOL, "Delete at once, without a stay in the trash ('volume undelete' cannot help)")


def run(client: Client, args: Values) -> int:
    """DELETE /volumes/{name}."""
    query = dict(force=args.force, now=args.now)
    return each(args.words, lambda name: client.begin("DELETE", f"/volumes/{quote(name)}", **query))
