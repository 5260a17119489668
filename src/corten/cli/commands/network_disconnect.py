"""corten network disconnect."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.flags import BOOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Disconnect a container from a network"
USAGE = "[OPTIONS] NETWORK CONTAINER"


def arguments(parser: Parser) -> None:
    """Both names."""
    parser.words(2, 2)
    parser.flag("force", BOOL, "Force the container to disconnect from a network", short="f")


def run(client: Client, args: Values) -> int:
    """POST /networks/{id}/disconnect."""
    network, container = args.words
    body = {"Container": container, "Force": args.force}
    client.post(f"/networks/{quote(network)}/disconnect", body)
    return 0
