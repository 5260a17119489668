"""Progress at a terminal."""

import io
from typing import Any

from corten.cli.progress import Bars, Lines

MESSAGES: list[dict[str, Any]] = [
    {"status": "Preparing"},
    {"id": "layer", "status": "Loading", "progressDetail": {"current": 5, "total": 10}},
    {"id": "layer", "status": "Loading", "progressDetail": {"current": 10, "total": 10}},
    {"id": "layer", "status": "Done", "progressDetail": {}},
    {"stream": "Loaded image: [x]\n"},
]


def test_bars_and_lines_above_them() -> None:
    """Steps move a bar; everything else is printed as it is, brackets too."""
    stream = io.StringIO()
    with Bars(stream) as display:
        for message in MESSAGES:
            display.show(message)

    shown = stream.getvalue()
    for text in ("Preparing\n", "layer: Done\n", "Loaded image: [x]\n", "10/10 bytes"):
        assert text in shown


def test_lines_leave_the_steps_out() -> None:
    """Without a terminal there is one line per thing that happened."""
    stream = io.StringIO()
    with Lines(stream) as display:
        for message in MESSAGES:
            display.show(message)

    assert stream.getvalue() == "Preparing\nlayer: Done\nLoaded image: [x]\n"
