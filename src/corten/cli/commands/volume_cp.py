"""corten volume cp."""

from __future__ import annotations

from corten.cli.failure import Failure
from corten.cli.flags import BOOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Copy files between a volume and the local filesystem"
USAGE = "[OPTIONS] VOLUME:SRC_PATH DEST_PATH|- | SRC_PATH|- VOLUME:DEST_PATH"


def arguments(parser: Parser) -> None:
    """From, and to."""
    parser.words(2, 2)
    parser.flag("archive", BOOL, "Archive mode (copy all uid/gid information)", short="a")


def run(client: Client, args: Values) -> int:
    """GET or POST /corten/volumes/{name}/archive."""
    from corten.cli.copying import fetch, send, split

    (from_volume, source), (to_volume, destination) = map(split, args.words)
    if from_volume and to_volume:
        raise Failure("copying between volumes is not supported: pipe 'volume export' into 'volume import'")
    if from_volume:
        fetch(client, from_volume, source, destination, keep_owner=args.archive)
    elif to_volume:
        send(client, source, to_volume, destination, keep_owner=args.archive)
    else:
        raise Failure("must specify at least one volume: write it as VOLUME:PATH")
    return 0
