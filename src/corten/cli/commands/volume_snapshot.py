"""corten volume snapshot."""

from __future__ import annotations

import sys

from corten.cli.client import quote
from corten.cli.failure import Failure
from corten.cli.flags import BOOL
from corten.cli.human import ago, epoch, size
from corten.cli.output import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Keep the content of a volume as it is now"
USAGE = "[OPTIONS] VOLUME [SNAPSHOT]"


def arguments(parser: Parser) -> None:
    """A volume, and perhaps a name for the snapshot."""
    parser.words(1, 2)
    parser.flag("list", BOOL, "List the snapshots of the volume instead", short="l")
    parser.flag("rm", BOOL, "Remove the snapshot instead")


def run(client: Client, args: Values) -> int:
    """POST /corten/volumes/{name}/snapshots; prints the name of the snapshot."""
    name, *rest = args.words
    path = f"/corten/volumes/{quote(name)}/snapshots"
    if args.list:
        return _list(client, path)
    if args.rm and not rest:
        raise Failure("no snapshot named: 'corten volume snapshot --list VOLUME' shows which there are")
    if args.rm:
        client.delete(path, snapshot=rest[0])
        sys.stdout.write(f"{rest[0]}\n")
    else:
        made = client.post(path, snapshot=rest[0] if rest else None)
        sys.stdout.write(f"{made['Name']}\n")
    return 0


def _list(client: Client, path: str) -> int:
    found = client.get(path)
    rows = [(item["Name"], ago(epoch(item["CreatedAt"])), size(item["Size"])) for item in found]
    sys.stdout.write(table([("SNAPSHOT", "CREATED", "SIZE"), *rows]))
    return 0
