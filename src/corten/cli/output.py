"""How results are written: tables, JSON lines, templates.

Rows are dictionaries from the field names of Docker's templates to text, or
to a callable for a method with arguments.
"""

from __future__ import annotations

import sys

from corten.cli.wire import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

GAP = 3  # columns between two cells
NARROWEST = 10  # columns of a cell and its gap


def table(rows: Iterable[Sequence[str]], narrowest: int = NARROWEST) -> str:
    """Lay *rows* out in columns; the last cell of a row is not padded.

    Rows of different length are allowed; a column is as wide as its widest
    cell that is not the last of its row.
    """
    lines = [list(row) for row in rows]
    widths: list[int] = []
    for line in lines:
        for at, cell in enumerate(line[:-1]):
            if at == len(widths):
                widths.append(narrowest)
            widths[at] = max(widths[at], len(cell) + GAP)
    out = []
    for line in lines:
        padded = [cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)]
        out.append("".join(padded) + line[-1] + "\n" if line else "\n")
    return "".join(out)


def listing(
    rows: Iterable[dict[str, Any]],
    headers: dict[str, Any],
    columns: Sequence[str],
    form: str,
    *,
    key: str = "",
) -> str:
    """The text of a list in the format that the user asked for.

    Args:
        rows: One dictionary per object.
        headers: Heading by field name, also for fields without a column.
        columns: Fields of the usual table.
        form: Value of ``--format``: empty, ``table``, ``table TEMPLATE``,
            ``json`` or a template.
        key: Write this field alone (``--quiet``), unless *form* is a template.

    Raises:
        TemplateError: the template is wrong.
    """
    if key and form in ("", "table"):
        return "".join(row[key] + "\n" for row in rows)
    if form in ("", "table"):
        cells = [[headers[name] for name in columns]]
        cells += [[row[name] for name in columns] for row in rows]
        return table(cells)
    if form == "json":
        return "".join(json_line(row) for row in rows)
    fill = compiled(form.removeprefix("table ").removeprefix("table"))
    if form.startswith("table"):
        lines = [fill(headers), *map(fill, rows)]
        return table([line.split("\t") for line in lines])
    return "".join(fill(row) + "\n" for row in rows)


def compiled(form: str) -> Callable[[Any], str]:
    r"""A function that fills the template *form*; ``\t`` and ``\n`` may be typed as two characters.

    Raises:
        TemplateError: *form* is no template.
    """
    from corten.cli.template import Template
    from corten.cli.template_functions import TemplateError

    try:
        return Template(form.replace("\\t", "\t").replace("\\n", "\n")).render
    except TemplateError as error:
        raise TemplateError(f"failed to parse template: {error}") from None


def json_line(row: dict[str, Any]) -> str:
    """One row as a line of JSON, keys sorted, methods left out."""
    return dumps({name: row[name] for name in sorted(row) if not callable(row[name])}) + "\n"


def say(text: str) -> None:
    """Write a line to stdout now, so that output and errors keep their order."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
