"""corten rmi."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.each import each
from corten.cli.failure import ApiError
from corten.cli.flags import BOOL, STRINGS
from corten.cli.output import say
from corten.cli.platforms import as_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.failure import Failure
    from corten.cli.flags import Parser, Values

HELP = "Remove one or more images"
USAGE = "[OPTIONS] IMAGE [IMAGE...]"


def arguments(parser: Parser) -> None:
    """One image or more."""
    parser.words(1)
    parser.flag("force", BOOL, "Force removal of the image", short="f")
    parser.flag("no-prune", BOOL, "Do not delete untagged parents")
    parser.flag("platform", STRINGS, 'Remove only the given platforms, as "os[/arch[/variant]]"')


def run(client: Client, args: Values) -> int:
    """DELETE /images/{name}; with --force it is no failure that there is none."""
    query = dict(force=args.force, noprune=args.no_prune, platforms=as_json(args.platform))

    def missing(error: Failure) -> bool:
        return bool(args.force) and isinstance(error, ApiError) and error.code == 404

    return each(
        args.words, lambda name: client.begin("DELETE", f"/images/{quote(name)}", **query), _show, missing
    )


def _show(name: str, removed: Any) -> None:  # noqa: ARG001 - the answer names what went
    for item in removed:
        for word in ("Untagged", "Deleted"):
            if item.get(word):
                say(f"{word}: {item[word]}")
