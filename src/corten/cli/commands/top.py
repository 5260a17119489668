"""corten top."""

from __future__ import annotations

import sys

from corten.cli.client import quote
from corten.cli.output import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Display the running processes of a container"
USAGE = "CONTAINER [ps OPTIONS]"
NARROWEST = 20  # columns


def arguments(parser: Parser) -> None:
    """A container, then options of ps(1)."""
    parser.words(1, interspersed=False)


def run(client: Client, args: Values) -> int:
    """GET /containers/{id}/top."""
    name, *options = args.words
    answer = client.get(f"/containers/{quote(name)}/top", ps_args=" ".join(options))
    sys.stdout.write(table([answer["Titles"], *answer["Processes"]], NARROWEST))
    return 0
