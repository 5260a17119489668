"""corten inspect."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.failure import ApiError, Failure
from corten.cli.filters import FORMAT_ONE
from corten.cli.flags import BOOL, STRING
from corten.cli.inspection import inspect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Return low-level information on containers, images, networks and volumes"
USAGE = "[OPTIONS] NAME|ID [NAME|ID...]"
PATHS = {  # in the order they are tried
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
}


def arguments(parser: Parser) -> None:
    """One name or more."""
    parser.words(1)
    parser.flag("format", STRING, FORMAT_ONE, short="f")
    parser.flag("size", BOOL, "Display total file sizes if the type is container", short="s")
    parser.flag(
        "type", STRING, "Only inspect objects of the given type (container, image, network or volume)"
    )


def run(client: Client, args: Values) -> int:
    """Ask for a container of each name, then for an image, a network, a volume."""
    if args.type and args.type not in PATHS:
        known = ", ".join(f'"{kind}"' for kind in PATHS)
        raise Failure(f'unknown type: "{args.type}": must be one of {known}')
    kinds = [args.type] if args.type else list(PATHS)

    def fetch(name: str) -> Any:
        for kind in kinds:
            try:
                size = args.size and kind == "container"
                return client.get(PATHS[kind].format(quote(name)), size=size)
            except ApiError as error:
                if error.code != 404 or args.type:
                    raise
        raise Failure(f"Error: No such object: {name}")

    return inspect(args.words, fetch, args.format)
