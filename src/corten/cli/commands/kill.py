"""corten kill."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.each import each
from corten.cli.flags import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Kill one or more running containers"
USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"


def arguments(parser: Parser) -> None:
    """One container or more, and a signal."""
    parser.words(1)
    parser.flag("signal", STRING, "Signal to send to the container (KILL if not given)", short="s")


def run(client: Client, args: Values) -> int:
    """POST /containers/{id}/kill."""
    return each(
        args.words, lambda name: client.begin("POST", f"/containers/{quote(name)}/kill", signal=args.signal)
    )
