"""corten image bootstrap."""

from __future__ import annotations

from corten.cli.failure import Failure
from corten.cli.flags import STRING, STRINGS
from corten.cli.output import say
from corten.cli.progress import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Make a base image from a distribution's packages, without a registry"
USAGE = "[OPTIONS] DISTRIBUTION[:SUITE]"
EPILOG = """\
Examples:
  corten image bootstrap debian                       the stable release, the smallest set of packages
  corten image bootstrap debian:bookworm              another release
  corten image bootstrap --include curl,git debian    with more packages"""


def arguments(parser: Parser) -> None:
    """A distribution and what to put in."""
    parser.words(1, 1)
    parser.flag("include", STRINGS, "More packages to install, separated by commas")
    parser.flag("variant", STRING, "Set of packages to begin with (minbase is the smallest usual one)")
    parser.epilog = EPILOG


def run(client: Client, args: Values) -> int:
    """POST /corten/images/bootstrap; shows the progress, prints the id of the image."""
    distribution, _, suite = args.words[0].partition(":")
    if not distribution:
        raise Failure(f"invalid distribution {args.words[0]!r}: write for example debian or debian:bookworm")
    response = client.stream(
        "POST",
        "/corten/images/bootstrap",
        distribution=distribution,
        suite=suite,
        include=",".join(args.include),
        variant=args.variant,
    )
    for found in show(response):
        say(found["ID"])
    return 0
