"""Marks: a small file in a volume's folder that says what is about to become of it.

It is written, durably, before the records change: whoever finds a folder that no
record claims reads it there.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from corten.core.volumes.copy import explained

Mark = Mapping[str, Any]

_NAME = "mark.json"


def write(folder: str, mark: Mark) -> None:
    """Mark *folder*, in the place of what it was marked with.

    Raises:
        OutOfSpace: the disk is full.
    """
    with explained():
        with open(f"{folder}/{_NAME}.new", "w", encoding="utf-8") as file:
            json.dump(dict(mark), file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(f"{folder}/{_NAME}.new", f"{folder}/{_NAME}")


def read(folder: str) -> Mark:
    """Return the mark of *folder*; empty for none, and for one that cannot be understood."""
    try:
        with open(f"{folder}/{_NAME}", encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def drop(folder: str) -> None:
    """Take the mark of *folder* back; idempotent."""
    for name in (_NAME, f"{_NAME}.new"):
        with suppress(FileNotFoundError):
            os.unlink(f"{folder}/{name}")
