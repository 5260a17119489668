"""What a daemon makes of the run directories that a former supervisor left."""

import json
import os
from pathlib import Path

import pytest

from corten.core.runtime.runtime import _left
from corten.linux import pidfd
from tests.descriptors import open_descriptors


def note(folder: Path, text: str) -> str:
    """Write a task's file; return its directory."""
    (folder / "task.json").write_text(text, encoding="utf-8")
    return str(folder)


def facts(folder: Path, pid: int, started: int) -> str:
    """Return a task's file as a supervisor writes it."""
    return json.dumps({"id": "1", "directory": str(folder), "pid": pid, "started": started, "tty": True})


def test_a_process_that_still_runs_is_found(tmp_path: Path) -> None:
    """The process of that number which started then is the task; its FIFOs are held from now on."""
    os.mkfifo(tmp_path / "out")
    started = pidfd.start_time(os.getpid())
    kept = _left(note(tmp_path, facts(tmp_path, os.getpid(), started)))
    assert kept is not None
    assert (kept.pid, kept.started, kept.facts.tty, len(kept.idle)) == (os.getpid(), started, True, 1)
    kept.close()
    kept.close()


def test_a_reused_number_is_somebody_else(tmp_path: Path) -> None:
    """A process that started at another time is not the task, and nothing stays open."""
    before = open_descriptors()
    started = pidfd.start_time(os.getpid()) + 1
    assert _left(note(tmp_path, facts(tmp_path, os.getpid(), started))) is None
    assert open_descriptors() == before


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "7", "null", "{}", '{"pid": 1}', '{"pid": "x", "started": 1}'),
        '{"pid": null, "started": null, "id": "1", "directory": "/"}',
        '{"pid": 1, "started": 1, "id": 5, "directory": "/"}',
        '{"pid": 1, "started": 1, "id": "1"}',
        '{"pid": -1, "started": 1, "id": "1", "directory": "/"}',
        '{"pid": 99999999, "started": 1, "id": "1", "directory": "/"}',
    ],
)
def test_a_damaged_file_stops_nothing(tmp_path: Path, text: str) -> None:
    """A file that makes no sense is no task; the others are found all the same."""
    assert _left(note(tmp_path, text)) is None


def test_a_missing_file_is_no_task(tmp_path: Path) -> None:
    """A folder that a start had only just made has none yet."""
    assert _left(str(tmp_path)) is None
