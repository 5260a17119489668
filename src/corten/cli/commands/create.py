"""corten create."""

from __future__ import annotations

from corten.cli.create.body import attached
from corten.cli.create.flags import declare
from corten.cli.create.request import create
from corten.cli.output import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Create a new container"
USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"
FAILURE = 125


def arguments(parser: Parser) -> None:
    """An image, a command line, and what the container shall be."""
    declare(parser)


def run(client: Client, args: Values) -> int:
    """POST /containers/create; prints the id."""
    say(create(client, args, attached(args)))
    return 0
