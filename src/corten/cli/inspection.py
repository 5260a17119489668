"""Showing objects whole: what ``inspect`` in all its forms has in common."""

from __future__ import annotations

import sys

from corten.cli.failure import Failure
from corten.cli.wire import dumps, pretty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MISUSED = 64  # exit status of Docker's inspect for a template that does not parse


def inspect(names: list[str], fetch: Callable[[str], Any], form: str) -> int:
    """Print the objects *names*: as one JSON list, or each through a template.

    Args:
        names: What the user asked for.
        fetch: Gets one of them; its Failure is printed at the end.
        form: ``--format``: empty, ``json`` or a template.

    Returns:
        0, or 1 if one of them could not be shown.
    """
    show = _line(form)
    found, errors = [], []
    for name in names:
        try:
            value = fetch(name)
            found.append(show(value) if show else value)
        except Failure as error:
            errors.append(str(error))
    if show is None:
        sys.stdout.write(pretty(found) + "\n")
    elif found:
        sys.stdout.write("".join(f"{line}\n" for line in found))
    elif errors:
        sys.stdout.write("\n")
    sys.stdout.flush()
    sys.stderr.write("".join(f"{error}\n" for error in errors))
    return 1 if errors else 0


def _line(form: str) -> Callable[[Any], str] | None:
    if not form:
        return None
    if form == "json":
        return dumps
    from corten.cli.template import Template
    from corten.cli.template_functions import TemplateError

    try:
        template = Template(form.replace("\\t", "\t").replace("\\n", "\n"))
    except TemplateError as error:
        raise Failure(f"template parsing error: {error}", MISUSED) from None

    def render(value: Any) -> str:
        try:
            return template.render(value)
        except TemplateError as error:
            raise Failure(f"template parsing error: {error}") from None

    return render
