"""corten daemon."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Run the daemon in the foreground (commands start one by themselves)"
USAGE = "[OPTIONS]"


def arguments(parser: Parser) -> None:
    """Everything goes to the daemon, which knows its own options."""
    parser.raw = True


def run(client: Client, args: Values) -> int:
    """Become the daemon; returns only if that fails."""
    from corten.cli.launch import DAEMON, command, replace

    return replace(command(DAEMON, client.place, *args.words))
