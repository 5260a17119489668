"""corten volume restore."""

from __future__ import annotations

import sys

from corten.cli.client import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Bring the content of a volume back to a snapshot"
USAGE = "VOLUME SNAPSHOT"


def arguments(parser: Parser) -> None:
    """A volume and one of its snapshots."""
    parser.words(2, 2)


def run(client: Client, args: Values) -> int:
    """POST /corten/volumes/{name}/restore."""
    name, snapshot = args.words
    former = client.post(f"/corten/volumes/{quote(name)}/restore", snapshot=snapshot)["Trash"]
    sys.stderr.write(
        f"What was there is in the trash: 'corten volume undelete {former} NEW_NAME' takes it back\n"
    )
    return 0
