"""corten import."""  # noqa: N999 - a verb is a module, also where it is a keyword

from __future__ import annotations

import sys

from corten.cli.archive import blocks, must_exist
from corten.cli.flags import LIST, STRING
from corten.cli.names import split_reference
from corten.cli.progress import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Import the contents from a tarball to create a filesystem image"
USAGE = "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]"


def arguments(parser: Parser) -> None:
    """A file, an address or ``-``, and perhaps a name."""
    parser.words(1, 2)
    parser.flag("change", LIST, "Apply Dockerfile instruction to the created image", short="c")
    parser.flag("message", STRING, "Set commit message for imported image", short="m")
    parser.flag("platform", STRING, "Set platform if server is multi-platform capable")


def run(client: Client, args: Values) -> int:
    """POST /images/create?fromSrc=...; prints the id of the image."""
    source, *names = args.words
    repository, tag = split_reference(names[0]) if names else ("", "")
    remote = source.startswith(("http://", "https://"))
    if not remote and source != "-":
        must_exist(source)
    query = dict(
        fromSrc=source if remote else "-",
        repo=repository,
        tag=tag,
        message=args.message,
        changes=args.change,
        platform=args.platform,
    )
    sys.stdout.flush()
    show(client.upload("/images/create", iter(()) if remote else blocks(source), **query))
    return 0
