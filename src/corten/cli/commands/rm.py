"""corten rm."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.each import each
from corten.cli.failure import ApiError
from corten.cli.flags import BOOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.failure import Failure
    from corten.cli.flags import Parser, Values

HELP = "Remove one or more containers"
USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"


def arguments(parser: Parser) -> None:
    """One container or more."""
    parser.words(1)
    parser.flag("force", BOOL, "Force the removal of a running container (uses SIGKILL)", short="f")
    parser.flag("link", BOOL, "Remove the specified link", short="l")
    parser.flag("volumes", BOOL, "Remove anonymous volumes associated with the container", short="v")


def run(client: Client, args: Values) -> int:
    """DELETE /containers/{id}; with --force it is no failure that there is none."""

    def missing(error: Failure) -> bool:
        return bool(args.force) and isinstance(error, ApiError) and error.code == 404

    return each(
        [name.strip("/") for name in args.words],
        lambda name: client.begin(
            "DELETE", f"/containers/{quote(name)}", force=args.force, v=args.volumes, link=args.link
        ),
        forgive=missing,
    )
