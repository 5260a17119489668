"""corten image inspect."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.filters import FORMAT_ONE
from corten.cli.flags import BOOL, STRING
from corten.cli.inspection import inspect
from corten.cli.platforms import as_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Display detailed information on one or more images"
USAGE = "[OPTIONS] IMAGE [IMAGE...]"


def arguments(parser: Parser) -> None:
    """One image or more."""
    parser.words(1)
    parser.flag("format", STRING, FORMAT_ONE, short="f")
    parser.flag("remote", BOOL, "Look into the image's registry, without pulling it")
    parser.flag("platform", STRING, 'Inspect the image of that platform, as "os[/arch[/variant]]"')


def run(client: Client, args: Values) -> int:
    """GET /images/{name}/json."""
    if args.remote:
        return inspect(args.words, lambda name: _remote(client, name, args.platform), args.format)
    platform = as_json([args.platform]) if args.platform else None
    return inspect(
        args.words, lambda name: client.get(f"/images/{quote(name)}/json", platform=platform), args.format
    )


def _remote(client: Client, name: str, platform: str) -> Any:
    """GET /distribution/{name}/image."""
    from corten.cli.credentials import header
    from corten.cli.names import split_reference

    if "@" not in name:
        name = ":".join(split_reference(name))
    query = {"platform": platform} if platform else {}
    return client.begin("GET", f"/distribution/{quote(name)}/image", headers=header(name), **query).value()
