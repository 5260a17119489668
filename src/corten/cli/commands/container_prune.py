"""corten container prune."""

from __future__ import annotations

import sys

from corten.cli.filters import encode
from corten.cli.flags import BOOL, FILTER
from corten.cli.prompt import confirm, reclaimed, removed_containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Remove all stopped containers"
USAGE = "[OPTIONS]"
WARNING = "WARNING! This will remove all stopped containers."


def arguments(parser: Parser) -> None:
    """Which of them."""
    parser.words(0, 0)
    parser.flag("filter", FILTER, 'Provide filter values (e.g. "until=<timestamp>")')
    parser.flag("force", BOOL, "Do not prompt for confirmation", short="f")


def run(client: Client, args: Values) -> int:
    """POST /containers/prune."""
    if not args.force:
        confirm(WARNING, "container prune")
    answer = client.post("/containers/prune", filters=encode(args.filter))
    sys.stdout.write(removed_containers(answer) + reclaimed(answer["SpaceReclaimed"]))
    return 0
