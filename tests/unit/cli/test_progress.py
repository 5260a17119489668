"""Progress at a terminal and elsewhere."""

import io
import re
from typing import Any

import pytest

from corten.cli.progress import Bars, Lines

MESSAGES: list[dict[str, Any]] = [
    {"status": "Preparing"},
    {"id": "layer", "status": "Loading", "progressDetail": {"current": 5, "total": 10}},
    {"id": "layer", "status": "Loading", "progressDetail": {"current": 10, "total": 10}},
    {"id": "layer", "status": "Done", "progressDetail": {}},
    {"stream": "Loaded image: [x]\n"},
]
MOVE = re.compile(r"\x1b\[(\d+)([ABK])")


def screen(text: str) -> list[str]:
    """Return what a terminal shows after *text*, as far as it knows what the bars use."""
    lines, row = [""], 0
    at = 0
    while at < len(text):
        move = MOVE.match(text, at)
        if move:
            count = int(move[1])
            row += {"A": -count, "B": count, "K": 0}[move[2]]
            lines[row] = "" if move[2] == "K" else lines[row]
            at = move.end()
        elif text[at] == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
            at += 1
        else:
            lines[row] += text[at] if text[at] != "\r" else ""
            at += 1
    return lines


def drawn(messages: list[dict[str, Any]], size: tuple[int, int] = (24, 80)) -> list[str]:
    """Return what *messages* leave on a terminal of *size*, rows and columns."""
    stream = io.StringIO()
    with Bars(stream, size) as display:
        for message in messages:
            display.show(message)
    return screen(stream.getvalue())


def test_each_name_has_a_line_of_its_own() -> None:
    """Steps redraw it; everything else stays where it is, brackets too."""
    assert drawn(MESSAGES) == ["Preparing", "layer: Done", "Loaded image: [x]", ""]


def test_lines_are_redrawn_in_their_place() -> None:
    """The second name does not disturb the first."""
    step = {"status": "Waiting", "progressDetail": {}}
    messages = [{"id": name, **step} for name in ("a", "b", "c")]
    messages += [{"id": "a", "status": "Done"}, {"id": "c", "status": "Done"}]
    assert drawn(messages) == ["a: Done", "b: Waiting", "c: Done", ""]


def test_names_after_a_message_get_new_lines() -> None:
    """Several images in one stream, as with all tags, do not write over each other."""
    messages = [{"id": "a", "status": "Done"}, {"status": "Digest: x"}, {"id": "a", "status": "Waiting"}]
    assert drawn(messages) == ["a: Done", "Digest: x", "a: Waiting", ""]


@pytest.mark.parametrize(
    ("detail", "columns", "shown"),
    [
        (
            {"current": 5, "total": 10},
            80,
            "a: On [=========================>                        ]  5B/10B",
        ),
        ({"current": 10, "total": 10}, 80, f"a: On [{'=' * 50}]  10B/10B"),
        ({"current": 20, "total": 10}, 80, f"a: On [{'=' * 50}]  20B/10B"),
        ({"current": 1500}, 80, "a: On  1.5kB"),
        ({"current": 5, "total": 10}, 30, "a: On [======>     ]  5B/10B"),
        ({"current": 5, "total": 10}, 20, "a: On  50%"),
        ({}, 80, "a: On"),
    ],
)
def test_a_bar_fits_its_terminal(detail: dict[str, int], columns: int, shown: str) -> None:
    """From figures beside a wide bar down to a share."""
    assert drawn([{"id": "a", "status": "On", "progressDetail": detail}], (24, columns))[0] == shown


def test_what_has_scrolled_away_is_left_alone() -> None:
    """More names than rows leave the last ones readable."""
    messages = [{"id": str(number), "status": "Waiting"} for number in range(9)]
    messages += [{"id": "0", "status": "Done"}, {"id": "8", "status": "Done"}]
    lines = drawn(messages, (5, 80))
    assert (lines[0], lines[8]) == ("0: Waiting", "8: Done")


def test_lines_leave_the_steps_out() -> None:
    """Without a terminal there is one line per thing that happened."""
    stream = io.StringIO()
    with Lines(stream) as display:
        for message in MESSAGES:
            display.show(message)

    assert stream.getvalue() == "Preparing\nlayer: Done\nLoaded image: [x]\n"
