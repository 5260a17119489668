"""Values that go between this door and an engine, where Docker's API has no record of them."""

from collections.abc import Callable
from typing import Any

import msgspec

Progress = Callable[[dict[str, Any]], None]
"""Takes one message in Docker's progress form; may be called from any thread."""

Filters = dict[str, list[str]]


class LogQuery(msgspec.Struct, frozen=True):
    """Which part of a log is wanted; times in ns since the epoch, *tail* in lines, None is all."""

    stdout: bool
    stderr: bool
    since_ns: int | None
    until_ns: int | None
    tail: int | None
    timestamps: bool
