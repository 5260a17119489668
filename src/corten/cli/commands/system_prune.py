"""corten system prune."""

from __future__ import annotations

import sys

from corten.cli.failure import Failure
from corten.cli.filters import encode
from corten.cli.flags import BOOL, FILTER
from corten.cli.prompt import (
    confirm,
    reclaimed,
    removed_containers,
    removed_images,
    removed_networks,
    removed_volumes,
)

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
    if args.volumes and any(text.partition("=")[0] == "until" for text in args.filter):
        raise Failure('The "until" filter is not supported with "--volumes": leave one of them out')
    if not args.force:
        confirm(_warning(args), "system prune")
    containers = client.post("/containers/prune", filters=encode(args.filter))
    sys.stdout.write(removed_containers(containers))
    sys.stdout.flush()
    freed = containers["SpaceReclaimed"]
    if args.volumes:
        volumes = client.post("/volumes/prune", filters=encode(args.filter))
        sys.stdout.write(removed_volumes(volumes))
        freed += volumes["SpaceReclaimed"]
    sys.stdout.write(removed_networks(client.post("/networks/prune", filters=encode(args.filter))))
    sys.stdout.flush()
    filters = encode(args.filter, dangling="false" if args.all else "true")
    images = client.post("/images/prune", filters=filters)
    sys.stdout.write(removed_images(images) + reclaimed(freed + images["SpaceReclaimed"]))
    return 0


def _warning(args: Values) -> str:
    items = ["all stopped containers", "all networks not used by at least one container"]
    if args.volumes:
        items.append("all anonymous volumes not used by at least one container")
    items.append(ALL if args.all else DANGLING)
    if not args.filter:
        items.append("what has come of downloads that were broken off")
    lines = ["WARNING! This will remove:", *(f"  - {item}" for item in items), ""]
    if args.filter:
        lines += ["  Items to be pruned will be filtered with:", *(f"  - {text}" for text in args.filter), ""]
    return "\n".join(lines)
