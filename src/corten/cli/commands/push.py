"""corten push."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.credentials import full_name, header
from corten.cli.failure import Failure
from corten.cli.flags import BOOL, STRING
from corten.cli.names import split_reference
from corten.cli.output import say
from corten.cli.platforms import as_json
from corten.cli.progress import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Upload an image to a registry"
USAGE = "[OPTIONS] NAME[:TAG]"
KINDS = ("", "gzip", "zstd")


def arguments(parser: Parser) -> None:
    """What to send."""
    parser.words(1, 1)
    parser.flag("all-tags", BOOL, "Push all tags of an image to the repository", short="a")
    parser.flag(
        "compression",
        STRING,
        'How to compress layers that are stored as plain tar, "gzip" or "zstd" (default gzip)',
    )
    parser.flag("disable-content-trust", BOOL, "Accepted for Docker's sake", default=True, hidden=True)
    parser.flag("platform", STRING, 'Push only an image for that platform, as "os[/arch[/variant]]"')
    parser.flag("quiet", BOOL, "Suppress verbose output", short="q")


def run(client: Client, args: Values) -> int:
    """POST /images/{name}/push."""
    name = args.words[0]
    if args.compression not in KINDS:
        raise Failure(f'unknown compression "{args.compression}": choose gzip or zstd')
    if "@" in name:
        raise Failure("cannot push a digest reference")
    repository, tag = split_reference(name)
    if args.all_tags:
        if repository != name:
            raise Failure("tag can't be used with --all-tags/-a")
        tag = ""
    elif repository == name:
        name = f"{name}:{tag}"
        if not args.quiet:
            say(f"Using default tag: {tag}")
    platform = as_json([args.platform]) if args.platform else None
    query = dict(tag=tag, platform=platform, compression=args.compression)
    path = f"/images/{quote(repository)}/push"
    show(client.stream("POST", path, headers=header(repository), **query), quiet=args.quiet)
    if args.quiet:
        say(full_name(name))
    return 0
