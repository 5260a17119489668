"""corten volume prune."""

from __future__ import annotations

import sys

from corten.cli.filters import encode
from corten.cli.flags import BOOL, FILTER
from corten.cli.prompt import confirm, reclaimed, removed_volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Remove unused local volumes"
USAGE = "[OPTIONS]"
WARNING = "WARNING! This will remove anonymous local volumes not used by at least one container."
WARNING_ALL = "WARNING! This will remove all local volumes not used by at least one container."


def arguments(parser: Parser) -> None:
    """Which of them."""
    parser.words(0, 0)
    parser.flag("all", BOOL, "Remove all unused volumes, not just anonymous ones", short="a")
    parser.flag("filter", FILTER, 'Provide filter values (e.g. "label=<label>")')
    parser.flag("force", BOOL, "Do not prompt for confirmation", short="f")


def run(client: Client, args: Values) -> int:
    """POST /volumes/prune."""
    if not args.force:
        confirm(WARNING_ALL if args.all else WARNING, "volume prune")
    more = {"all": "true"} if args.all else {}
    answer = client.post("/volumes/prune", filters=encode(args.filter, **more))
    sys.stdout.write(removed_volumes(answer) + reclaimed(answer["SpaceReclaimed"]))
    return 0
