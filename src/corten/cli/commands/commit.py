"""corten commit."""

from __future__ import annotations

from corten.cli.flags import BOOL, LIST, STRING
from corten.cli.names import split_reference
from corten.cli.output import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Create a new image from a container's changes"
USAGE = "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]"


def arguments(parser: Parser) -> None:
    """One container, and perhaps a name."""
    parser.words(1, 2)
    parser.flag("author", STRING, 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")', short="a")
    parser.flag("change", LIST, "Apply Dockerfile instruction to the created image", short="c")
    parser.flag("message", STRING, "Commit message", short="m")
    parser.flag("no-pause", BOOL, "Disable pausing container during commit")
    parser.flag("pause", BOOL, "Pause container during commit", short="p", default=True, hidden=True)


def run(client: Client, args: Values) -> int:
    """POST /commit; prints the id of the image."""
    container, *names = args.words
    repository, tag = split_reference(names[0]) if names else ("", "")
    made = client.post(
        "/commit",
        container=container,
        repo=repository,
        tag=tag,
        comment=args.message,
        author=args.author,
        changes=args.change,
        pause="1" if args.pause and not args.no_pause else "0",
    )
    say(made["Id"])
    return 0
