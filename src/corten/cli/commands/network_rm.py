"""corten network rm."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.each import each
from corten.cli.failure import ApiError
from corten.cli.flags import BOOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Remove one or more networks"
USAGE = "NETWORK [NETWORK...]"


def arguments(parser: Parser) -> None:
    """One network or more."""
    parser.words(1)
    parser.flag("force", BOOL, "Do not error if the network does not exist", short="f")


def run(client: Client, args: Values) -> int:
    """DELETE /networks/{id}."""
    return each(
        args.words,
        lambda name: client.begin("DELETE", f"/networks/{quote(name)}"),
        ignore=lambda error: args.force and isinstance(error, ApiError) and error.code == 404,
    )
