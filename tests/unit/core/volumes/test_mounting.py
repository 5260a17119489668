"""Mounts of volumes, without a kernel's help; the rest is in tests/kernel."""

import os
import threading
from pathlib import Path

import pytest

from corten.core.volumes.mounting import has_mounts, is_mounted, mount
from corten.core.volumes.options import Device
from corten.errors import Unavailable

SHARE = Device("nfs", ":/srv", ("addr=10.0.0.1",))


def test_a_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told in time, and what comes of it later is given back."""
    answers, reader = threading.Event(), os.pipe()

    def late(_: Device) -> int:
        answers.wait(10)
        return reader[1]

    monkeypatch.setattr("corten.core.volumes.mounting._made", late)
    before = set(threading.enumerate())
    with pytest.raises(Unavailable, match=r":/srv \(nfs\) has not answered for 0.01 seconds"):
        mount(SHARE, str(tmp_path), patience=0.01)
    (thread,) = set(threading.enumerate()) - before
    answers.set()
    thread.join()
    assert os.read(reader[0], 1) == b""  # the other end is closed
    os.close(reader[0])


def test_what_the_kernel_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line with the device."""

    def refuse(_: Device) -> int:
        raise OSError(19, "No such device")

    monkeypatch.setattr("corten.core.volumes.mounting._made", refuse)
    with pytest.raises(Unavailable, match=r"failed to mount :/srv as nfs: .*No such device"):
        mount(SHARE, str(tmp_path))


def test_a_folder_is_no_mount(tmp_path: Path) -> None:
    """Nor has it any below."""
    (tmp_path / "folder").mkdir()
    assert not is_mounted(str(tmp_path / "folder"))
    assert not has_mounts(str(tmp_path))
