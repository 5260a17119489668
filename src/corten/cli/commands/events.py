"""corten events."""

from __future__ import annotations

from corten.cli.client import documents
from corten.cli.filters import FORMAT_ONE, encode
from corten.cli.flags import FILTER, STRING
from corten.cli.human import rfc3339
from corten.cli.output import compiled, say
from corten.cli.wire import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Get real time events from the engine"
USAGE = "[OPTIONS]"
SECOND = 10**9  # nanoseconds


def arguments(parser: Parser) -> None:
    """Which events, and how to show them."""
    parser.words(0, 0)
    parser.flag("filter", FILTER, "Filter output based on conditions provided", short="f")
    parser.flag("format", STRING, FORMAT_ONE)
    parser.flag("since", STRING, "Show all events created since timestamp")
    parser.flag("until", STRING, "Stream events until this timestamp")


def run(client: Client, args: Values) -> int:
    """GET /events; runs until it is interrupted, or until --until."""
    from corten.cli.commands.logs import moment

    show = dumps if args.format == "json" else compiled(args.format) if args.format else line
    response = client.stream(
        "GET",
        "/events",
        since=moment("since", args.since),
        until=moment("until", args.until),
        filters=encode(args.filter),
    )
    for event in documents(response):
        say(show(event))
    return 0


def line(event: dict[str, Any]) -> str:
    """An event for people: ``TIME container start ID (image=debian, name=web)``."""
    actor = event.get("Actor") or {}
    when = event.get("timeNano") or event.get("time", 0) * SECOND
    text = f"{rfc3339(when // SECOND, when % SECOND)} {event['Type']} {event['Action']} {actor.get('ID', '')}"
    attributes = sorted((actor.get("Attributes") or {}).items())
    return text + (
        " (" + ", ".join(f"{name}={value}" for name, value in attributes) + ")" if attributes else ""
    )
