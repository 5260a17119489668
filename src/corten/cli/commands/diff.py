"""corten diff."""

from __future__ import annotations

import sys

from corten.cli.client import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Inspect changes to files or directories on a container's filesystem"
USAGE = "CONTAINER"
KINDS = ("C", "A", "D")  # changed, added, deleted


def arguments(parser: Parser) -> None:
    """One container."""
    parser.words(1, 1)


def run(client: Client, args: Values) -> int:
    """GET /containers/{id}/changes."""
    changes = client.get(f"/containers/{quote(args.words[0])}/changes") or []
    sys.stdout.write("".join(f"{KINDS[change['Kind']]} {change['Path']}\n" for change in changes))
    return 0
