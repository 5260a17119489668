"""corten image inspect."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.filters import FORMAT_ONE
from corten.cli.flags import STRING
from corten.cli.inspection import inspect
from corten.cli.platforms import as_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Display detailed information on one or more images"
USAGE = "[OPTIONS] IMAGE [IMAGE...]"


def arguments(parser: Parser) -> None:
    """One image or more."""
    parser.words(1)
    parser.flag("format", STRING, FORMAT_ONE, short="f")
    parser.flag("platform", STRING, 'Inspect the image of that platform, as "os[/arch[/variant]]"')


def run(client: Client, args: Values) -> int:
    """GET /images/{name}/json."""
    platform = as_json([args.platform]) if args.platform else None
    return inspect(
        args.words, lambda name: client.get(f"/images/{quote(name)}/json", platform=platform), args.format
    )
