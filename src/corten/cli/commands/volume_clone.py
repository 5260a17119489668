"""corten volume clone."""

from __future__ import annotations

import sys

from corten.cli.client import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Make a copy of a volume"
USAGE = "VOLUME NEW_NAME"


def arguments(parser: Parser) -> None:
    """A volume, and a name for the copy."""
    parser.words(2, 2)


def run(client: Client, args: Values) -> int:
    """POST /corten/volumes/{name}/clone; prints the name of the copy."""
    name, new = args.words
    made = client.post(f"/corten/volumes/{quote(name)}/clone", name=new)
    sys.stdout.write(f"{made['Name']}\n")
    return 0
