"""corten volume create."""

from __future__ import annotations

import sys

from corten.cli.create.fields import pairs
from corten.cli.create.kinds import MAP, SIZE
from corten.cli.failure import Failure
from corten.cli.flags import LIST, STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Create a volume"
USAGE = "[OPTIONS] [VOLUME]"


def arguments(parser: Parser) -> None:
    """Perhaps a name, and what the volume shall be."""
    parser.words(0, 1)
    parser.flag("driver", STRING, "Specify volume driver name", short="d", default="local")
    parser.flag("label", LIST, "Set metadata for a volume")
    parser.flag("name", STRING, "Specify volume name", hidden=True)
    parser.flag("opt", MAP, "Set driver specific options", short="o")
    parser.flag("size", SIZE, "Most that the volume may hold, such as 10g (default no limit)")


def run(client: Client, args: Values) -> int:
    """POST /volumes/create; prints the name."""
    if args.name and args.words:
        raise Failure(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
        )
    body = {
        "Name": args.words[0] if args.words else args.name,
        "Driver": args.driver,
        "DriverOpts": pairs(args.opt),
        "Labels": pairs(args.label),
    }
    if args.size:
        body["Size"] = args.size
    sys.stdout.write(client.post("/volumes/create", body)["Name"] + "\n")
    return 0
