"""corten load."""

from __future__ import annotations

import posix

from corten.cli.archive import blocks, is_folder, must_exist
from corten.cli.failure import Failure
from corten.cli.flags import BOOL, STRING, STRINGS
from corten.cli.platforms import as_json
from corten.cli.progress import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Load an image from a tar archive or STDIN"
USAGE = "[OPTIONS]"


def arguments(parser: Parser) -> None:
    """Where from."""
    parser.words(0, 0)
    parser.flag(
        "input",
        STRING,
        "Read from a tar archive, or a folder with an OCI layout, instead of STDIN",
        short="i",
    )
    parser.flag("platform", STRINGS, 'Load only the given platforms, as "os[/arch[/variant]]"')
    parser.flag("quiet", BOOL, "Suppress the load output", short="q")


def run(client: Client, args: Values) -> int:
    """POST /images/load; with --quiet the daemon leaves out how far it is."""
    if args.input:
        must_exist(args.input)
    elif posix.isatty(0):
        raise Failure("requested load from stdin, but stdin is empty: use the -i flag or redirect a file")
    query = dict(quiet=args.quiet, platform=as_json(args.platform))
    stream = _packed(args.input) if args.input and is_folder(args.input) else blocks(args.input)
    show(client.upload("/images/load", stream, **query))
    return 0


def _packed(folder: str) -> Iterator[bytes]:
    from corten.cli.layout import pack

    return pack(folder)
