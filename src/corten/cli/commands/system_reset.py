"""corten system reset."""

from __future__ import annotations

import sys

from corten.cli.flags import BOOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Remove all containers, images and other state of the engine"
USAGE = "[OPTIONS]"
WARNING = """\
WARNING! This will remove:
  - all containers, running ones too
  - all images, volumes and networks
  - everything else in {root} and {run}

Are you sure you want to continue? [y/N] """


def arguments(parser: Parser) -> None:
    """No words."""
    parser.words(0, 0)
    parser.flag("force", BOOL, "Do not prompt for confirmation", short="f")


def run(client: Client, args: Values) -> int:
    """Ask, then become the program that undoes everything."""
    from corten.cli.launch import RESET, command, replace

    place = client.place
    if not args.force:
        sys.stdout.write(WARNING.format(root=place.root, run=place.run))
        sys.stdout.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return 1
    return replace(command(RESET, place))
