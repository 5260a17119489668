"""corten registry user."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Add, remove and list the users of a registry"
USAGE = "[OPTIONS] add|rm|ls [USER]"


def arguments(parser: Parser) -> None:
    """Everything goes to the registry's program, which knows its own options."""
    parser.raw = True


def run(client: Client, args: Values) -> int:
    """Become the registry's program; returns only if that fails."""
    import posix

    from corten.cli.launch import command, replace

    program = "corten.serve.daemon.registry"
    return replace(command(program, client.place, "--cwd", posix.getcwd(), "user", *args.words))
