"""The same request for several objects: all under way at once, answers in the order asked."""

from __future__ import annotations

import sys

from corten.cli.failure import Failure
from corten.cli.output import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from corten.cli.client import Exchange

WINDOW = 32  # requests under way; each has a connection of its own


def each(
    names: Iterable[str],
    begin: Callable[[str], Exchange],
    show: Callable[[str, Any], None] | None = None,
    forgive: Callable[[Failure], bool] | None = None,
    failed: list[str] | None = None,
    ignore: Callable[[Failure], bool] | None = None,
) -> int:
    """Send a request per name and print the names as the answers come in.

    Args:
        names: Objects, as the user wrote them.
        begin: Sends the request for one of them.
        show: Prints a result; the name alone by default.
        forgive: Says which failures do not change the exit status.
        failed: Takes the names of those that failed.
        ignore: Says which failures are none: nothing is printed.

    Returns:
        0, or 1 when one of them failed. Failures are printed at the end.
    """
    waiting = list(names)
    under_way = [(name, begin(name)) for name in waiting[:WINDOW]]
    waiting, errors = waiting[WINDOW:], []
    while under_way:
        name, exchange = under_way.pop(0)
        try:
            value = exchange.value()
        except Failure as error:
            if ignore and ignore(error):
                pass
            elif forgive and forgive(error):
                sys.stderr.write(f"{error}\n")
            else:
                errors.append(str(error))
                if failed is not None:
                    failed.append(name)
        else:
            if show:
                show(name, value)
            else:
                say(name)
        if waiting:
            under_way.append((waiting[0], begin(waiting[0])))
            del waiting[0]
    sys.stderr.write("".join(error + "\n" for error in errors))
    return 1 if errors else 0
