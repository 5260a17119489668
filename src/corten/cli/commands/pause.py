"""corten pause."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.each import each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Pause all processes within one or more containers"
USAGE = "CONTAINER [CONTAINER...]"


def arguments(parser: Parser) -> None:
    """One container or more."""
    parser.words(1)


def run(client: Client, args: Values) -> int:
    """POST /containers/{id}/pause."""
    return each(args.words, lambda name: client.begin("POST", f"/containers/{quote(name)}/pause"))
