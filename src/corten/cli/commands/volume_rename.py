"""corten volume rename."""

from __future__ import annotations

from corten.cli.client import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Rename a volume"
USAGE = "VOLUME NEW_NAME"


def arguments(parser: Parser) -> None:
    """The old and the new name."""
    parser.words(2, 2)


def run(client: Client, args: Values) -> int:
    """POST /corten/volumes/{name}/rename."""
    old, new = args.words
    client.post(f"/corten/volumes/{quote(old)}/rename", name=new)
    return 0
