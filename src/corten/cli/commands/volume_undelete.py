"""corten volume undelete."""

from __future__ import annotations

import sys

from corten.cli.client import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Take a removed volume back out of the trash"
USAGE = "VOLUME|TRASH_ID [NEW_NAME]"


def arguments(parser: Parser) -> None:
    """The name it had, or its id in the trash, and perhaps a new name."""
    parser.words(1, 2)


def run(client: Client, args: Values) -> int:
    """POST /corten/volumes/{name}/undelete; prints the name."""
    name, *new = args.words
    found = client.post(f"/corten/volumes/{quote(name)}/undelete", name=new[0] if new else None)
    sys.stdout.write(f"{found['Name']}\n")
    return 0
