"""corten network prune."""

from __future__ import annotations

import sys

from corten.cli.filters import encode
from corten.cli.flags import BOOL, FILTER
from corten.cli.prompt import confirm, removed_networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Remove all unused networks"
USAGE = "[OPTIONS]"
WARNING = "WARNING! This will remove all custom networks not used by at least one container."


def arguments(parser: Parser) -> None:
    """Which of them."""
    parser.words(0, 0)
    parser.flag("filter", FILTER, 'Provide filter values (e.g. "until=<timestamp>")')
    parser.flag("force", BOOL, "Do not prompt for confirmation", short="f")


def run(client: Client, args: Values) -> int:
    """POST /networks/prune."""
    if not args.force:
        confirm(WARNING, "network prune")
    sys.stdout.write(removed_networks(client.post("/networks/prune", filters=encode(args.filter))))
    return 0
