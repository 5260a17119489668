"""corten save."""

from __future__ import annotations

from corten.cli.archive import is_folder, receive
from corten.cli.flags import STRING, STRINGS
from corten.cli.platforms import as_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Save one or more images to a tar archive (streamed to STDOUT by default)"
USAGE = "[OPTIONS] IMAGE [IMAGE...]"


def arguments(parser: Parser) -> None:
    """One image or more, and where to."""
    parser.words(1)
    parser.flag(
        "output",
        STRING,
        "Write to a file, or as an OCI layout to a folder (FOLDER/), instead of STDOUT",
        short="o",
    )
    parser.flag("platform", STRINGS, 'Save only the given platforms, as "os[/arch[/variant]]"')


def run(client: Client, args: Values) -> int:
    """GET /images/get."""
    query: dict[str, Any] = dict(names=args.words, platform=as_json(args.platform))
    if args.output and is_folder(args.output):
        from corten.cli.layout import unpack

        unpack(client.stream("GET", "/images/get", **query).chunks(), args.output)
    else:
        receive(client, "/images/get", args.output, "save", **query)
    return 0
