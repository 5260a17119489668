"""corten volume export."""

from __future__ import annotations

from corten.cli.archive import receive
from corten.cli.client import quote
from corten.cli.flags import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Export a volume's content as a tar archive"
USAGE = "[OPTIONS] VOLUME"


def arguments(parser: Parser) -> None:
    """One volume, and where to."""
    parser.words(1, 1)
    parser.flag("output", STRING, "Write to a file, instead of STDOUT", short="o")


def run(client: Client, args: Values) -> int:
    """GET /corten/volumes/{name}/export."""
    receive(client, f"/corten/volumes/{quote(args.words[0])}/export", args.output, "export")
    return 0
