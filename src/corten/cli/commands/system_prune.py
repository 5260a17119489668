"""corten system prune."""

from __future__ import annotations

import sys

from corten.cli.filters import encode
from corten.cli.flags import BOOL, FILTER
from corten.cli.prompt import confirm, reclaimed, removed_containers, removed_images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Remove unused data"
USAGE = "[OPTIONS]"
DANGLING = "all dangling images"
ALL = "all images without at least one container associated to them"


def arguments(parser: Parser) -> None:
    """How much of it."""
    parser.words(0, 0)
    parser.flag("all", BOOL, "Remove all unused images not just dangling ones", short="a")
    parser.flag("filter", FILTER, 'Provide filter values (e.g. "label=<key>=<value>")')
    parser.flag("force", BOOL, "Do not prompt for confirmation", short="f")
    parser.flag("volumes", BOOL, "Prune anonymous volumes")


def run(client: Client, args: Values) -> int:
    """Prune containers, then what only they used."""
    if not args.force:
        confirm(_warning(args), "system prune")
    containers = client.post("/containers/prune", filters=encode(args.filter))
    sys.stdout.write(removed_containers(containers))
    sys.stdout.flush()
    freed = containers["SpaceReclaimed"]
    if args.volumes:
        freed += client.post("/volumes/prune", filters=encode(args.filter))["SpaceReclaimed"]
    filters = encode(args.filter, dangling="false" if args.all else "true")
    images = client.post("/images/prune", filters=filters)
    sys.stdout.write(removed_images(images) + reclaimed(freed + images["SpaceReclaimed"]))
    return 0


def _warning(args: Values) -> str:
    items = ["all stopped containers", ALL if args.all else DANGLING]
    if args.volumes:
        items.insert(1, "all anonymous volumes not used by at least one container")
    if not args.filter:
        items.append("what has come of downloads that were broken off")
    lines = ["WARNING! This will remove:", *(f"  - {item}" for item in items), ""]
    if args.filter:
        lines += ["  Items to be pruned will be filtered with:", *(f"  - {text}" for text in args.filter), ""]
    return "\n".join(lines)
