"""corten logout."""

from __future__ import annotations

from corten.cli.credentials import HUB, Credentials, server
from corten.cli.output import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Log out from a registry"
USAGE = "[SERVER]"


def arguments(parser: Parser) -> None:
    """Where."""
    parser.words(0, 1)


def run(_client: Client, args: Values) -> int:
    """Forget the login; the daemon knows nothing of it."""
    key = server(args.words[0]) if args.words else HUB
    known = Credentials().erase(key)
    say(f"Removing login credentials for {key}" if known else f"Not logged in to {key}")
    return 0
