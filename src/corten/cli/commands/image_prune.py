"""corten image prune."""

from __future__ import annotations

import sys

from corten.cli.filters import encode
from corten.cli.flags import BOOL, FILTER
from corten.cli.prompt import confirm, reclaimed, removed_images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Remove unused images"
USAGE = "[OPTIONS]"
DANGLING = "WARNING! This will remove all dangling images."
ALL = "WARNING! This will remove all images without at least one container associated to them."


def arguments(parser: Parser) -> None:
    """Which of them."""
    parser.words(0, 0)
    parser.flag("all", BOOL, "Remove all unused images, not just dangling ones", short="a")
    parser.flag("filter", FILTER, 'Provide filter values (e.g. "until=<timestamp>")')
    parser.flag("force", BOOL, "Do not prompt for confirmation", short="f")


def run(client: Client, args: Values) -> int:
    """POST /images/prune."""
    if not args.force:
        confirm(ALL if args.all else DANGLING, "image prune")
    filters = encode(args.filter, dangling="false" if args.all else "true")
    answer = client.post("/images/prune", filters=filters)
    sys.stdout.write(removed_images(answer) + reclaimed(answer["SpaceReclaimed"]))
    return 0
