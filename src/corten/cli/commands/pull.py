"""corten pull."""

from __future__ import annotations

from corten.cli.credentials import full_name, header
from corten.cli.failure import Failure
from corten.cli.flags import BOOL, STRING
from corten.cli.names import split_reference
from corten.cli.output import say
from corten.cli.progress import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Download an image from a registry"
USAGE = "[OPTIONS] NAME[:TAG|@DIGEST]"


def arguments(parser: Parser) -> None:
    """What to fetch."""
    parser.words(1, 1)
    parser.flag("all-tags", BOOL, "Download all tagged images in the repository", short="a")
    parser.flag("disable-content-trust", BOOL, "Accepted for Docker's sake", default=True, hidden=True)
    parser.flag("platform", STRING, 'Platform to fetch, as "os[/arch[/variant]]"')
    parser.flag("quiet", BOOL, "Suppress verbose output", short="q")


def run(client: Client, args: Values) -> int:
    """POST /images/create; the last line is the name in full, for scripts."""
    name = args.words[0]
    repository, tag = split_reference(name)
    if args.all_tags:
        if "@" in name or repository != name:
            raise Failure("tag can't be used with --all-tags/-a")
        tag = ""
    elif tag and repository == name:
        name = f"{name}:{tag}"
        if not args.quiet:
            say(f"Using default tag: {tag}")
    query = dict(fromImage=repository, tag=tag, platform=args.platform)
    show(client.stream("POST", "/images/create", headers=header(repository), **query), quiet=args.quiet)
    say(full_name(name))
    return 0
