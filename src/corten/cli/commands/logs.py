"""corten logs."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.demux import Demultiplexer, plain
from corten.cli.failure import Failure
from corten.cli.flags import BOOL, STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from corten.cli.client import Client
    from corten.cli.connection import Response
    from corten.cli.flags import Parser, Values

HELP = "Fetch the logs of a container"
USAGE = "[OPTIONS] CONTAINER"
MOMENT = 'timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)'
RAW = "application/vnd.docker.raw-stream"
FRAMES = "application/vnd.docker.multiplexed-stream"


def arguments(parser: Parser) -> None:
    """One container, and which lines of it."""
    parser.words(1, 1)
    parser.flag("details", BOOL, "Show extra details provided to logs")
    parser.flag("follow", BOOL, "Follow log output", short="f")
    parser.flag("since", STRING, "Show logs since " + MOMENT)
    parser.flag("tail", STRING, "Number of lines to show from the end of the logs", short="n", default="all")
    parser.flag("timestamps", BOOL, "Show timestamps", short="t")
    parser.flag("until", STRING, "Show logs before a " + MOMENT)


def run(client: Client, args: Values) -> int:
    """GET /containers/{id}/logs."""
    path = f"/containers/{quote(args.words[0])}"
    response = client.stream(
        "GET",
        f"{path}/logs",
        stdout=True,
        stderr=True,
        follow=args.follow,
        timestamps=args.timestamps,
        details=args.details,
        tail=args.tail,
        since=moment("since", args.since),
        until=moment("until", args.until),
    )
    output = _output(client, path, response)
    for chunk in response.chunks():
        output(chunk)
    return 0


def moment(name: str, text: str) -> str:
    """A point in time for the API; empty if there is none."""
    if not text:
        return ""
    from corten.cli.human import parse_moment

    try:
        return parse_moment(text)
    except ValueError as error:
        raise Failure(f'invalid value for "{name}": {error}') from None


def _output(client: Client, path: str, response: Response) -> Callable[[bytes], None]:
    """What takes the body: an answer that does not say its form is asked about."""
    kind = response.headers.get("content-type", "")
    if kind not in (RAW, FRAMES):
        kind = RAW if client.get(f"{path}/json")["Config"]["Tty"] else FRAMES
    return plain if kind == RAW else Demultiplexer()
