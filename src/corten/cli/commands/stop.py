"""corten stop."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.each import each
from corten.cli.flags import INT, STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Stop one or more running containers"
USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"


def arguments(parser: Parser) -> None:
    """One container or more; how, and how patiently."""
    parser.words(1)
    parser.flag("signal", STRING, "Signal to send to the container", short="s")
    parser.flag("timeout", INT, "Seconds to wait before killing the container", short="t")
    parser.alias("time", "timeout")


def run(client: Client, args: Values) -> int:
    """POST /containers/{id}/stop; without --timeout the container's own grace period counts."""
    grace = str(args.timeout) if "timeout" in args.given else None
    return each(
        args.words,
        lambda name: client.begin("POST", f"/containers/{quote(name)}/stop", signal=args.signal, t=grace),
    )
