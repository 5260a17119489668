"""Watching directories: who is told of what, and what is given back."""

import asyncio
import os
from pathlib import Path

import pytest

from corten.core.logs.watch import watched
from corten.linux.inotify import IN_CREATE, IN_IGNORED, IN_MODIFY, Inotify


def inotify_descriptors() -> int:
    """Return how many inotify descriptors this process has."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}") == "anon_inode:inotify"
        except FileNotFoundError:
            continue
    return count


def test_inotify_tells_of_changes(tmp_path: Path) -> None:
    """Events carry the number of the watch and what happened; reading never waits."""
    inotify = Inotify()
    watch = inotify.add(str(tmp_path), IN_CREATE | IN_MODIFY)
    assert inotify.read() == []
    (tmp_path / "some").write_bytes(b"x")
    assert inotify.read() == [(watch, IN_CREATE), (watch, IN_MODIFY)]
    inotify.remove(watch)
    assert inotify.read() == [(watch, IN_IGNORED)]
    inotify.close()
    inotify.close()


def test_inotify_names_what_it_cannot_watch() -> None:
    """The failure is the kernel's and names the path."""
    inotify = Inotify()
    with pytest.raises(OSError, match="inotify_add_watch /nowhere: No such file"):
        inotify.add("/nowhere", IN_CREATE)
    inotify.close()


def test_watchers_share_a_descriptor(tmp_path: Path) -> None:
    """Many followers of several directories need one descriptor, closed with the last."""

    async def run() -> None:
        told: dict[str, asyncio.Event] = {key: asyncio.Event() for key in "abc"}
        with watched(str(tmp_path / "one"), told["a"].set), watched(str(tmp_path / "one"), told["b"].set):
            with watched(str(tmp_path / "two"), told["c"].set):
                assert inotify_descriptors() == 1
            (tmp_path / "one" / "file").touch()
            async with asyncio.timeout(10):
                await told["a"].wait()
                await told["b"].wait()
            assert not told["c"].is_set()

    asyncio.run(run())
    assert inotify_descriptors() == 0


def test_a_directory_may_vanish(tmp_path: Path) -> None:
    """The followers of a directory that is deleted are told, and leave without trouble."""

    async def run() -> None:
        gone = asyncio.Event()
        with watched(str(tmp_path / "one"), gone.set), watched(str(tmp_path / "one"), gone.set):
            (tmp_path / "one").rmdir()
            async with asyncio.timeout(10):
                await gone.wait()

    asyncio.run(run())
    assert inotify_descriptors() == 0
