"""corten tag."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.names import split_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"
USAGE = "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]"


def arguments(parser: Parser) -> None:
    """What is there and the name that it gets as well."""
    parser.words(2, 2)


def run(client: Client, args: Values) -> int:
    """POST /images/{name}/tag."""
    source, target = args.words
    repository, tag = split_reference(target)
    client.post(f"/images/{quote(source)}/tag", repo=repository, tag=tag)
    return 0
