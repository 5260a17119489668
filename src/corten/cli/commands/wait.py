"""corten wait."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.each import each
from corten.cli.failure import Failure
from corten.cli.output import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Block until one or more containers stop, then print their exit codes"
USAGE = "CONTAINER [CONTAINER...]"


def arguments(parser: Parser) -> None:
    """One container or more."""
    parser.words(1)


def run(client: Client, args: Values) -> int:
    """POST /containers/{id}/wait."""
    return each(args.words, lambda name: client.begin("POST", f"/containers/{quote(name)}/wait"), _show)


def _show(name: str, answer: Any) -> None:
    problem = (answer.get("Error") or {}).get("Message")
    if problem:
        raise Failure(f"{name}: {problem}")
    say(str(answer["StatusCode"]))
