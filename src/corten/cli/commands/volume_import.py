"""corten volume import."""

from __future__ import annotations

import posix

from corten.cli.archive import blocks, must_exist
from corten.cli.client import quote
from corten.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Unpack a tar archive into a volume"
USAGE = "VOLUME FILE|-"


def arguments(parser: Parser) -> None:
    """A volume, and a file or ``-`` for stdin."""
    parser.words(2, 2)


def run(client: Client, args: Values) -> int:
    """POST /corten/volumes/{name}/import."""
    name, source = args.words
    if source != "-":
        must_exist(source)
    elif posix.isatty(0):
        raise Failure("requested import from stdin, but stdin is a terminal: redirect a file")
    client.upload(f"/corten/volumes/{quote(name)}/import", blocks(source)).read()
    return 0
