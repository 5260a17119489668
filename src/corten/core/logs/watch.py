"""Watching log directories from an event loop: one inotify descriptor for each loop.

A user may have only 128 inotify descriptors, and hundreds of logs may be
followed at once, so that followers share one. It is opened with the first
watch and closed with the last.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from corten.linux.inotify import IN_CREATE, IN_DELETE_SELF, IN_IGNORED, IN_MODIFY, IN_ONLYDIR, Inotify

_EVENTS = IN_CREATE | IN_MODIFY | IN_DELETE_SELF | IN_ONLYDIR

Callback = Callable[[], None]


class _Watcher:
    """The watches of one event loop; ``users`` counts them, also those whose directory is gone."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.users = 0
        self._loop = loop
        self._inotify = Inotify()
        self._callbacks: dict[int, list[Callback]] = {}
        loop.add_reader(self._inotify.fileno(), self._dispatch)

    def add(self, directory: str, callback: Callback) -> int:
        watch = self._inotify.add(directory, _EVENTS)
        self._callbacks.setdefault(watch, []).append(callback)
        return watch

    def remove(self, watch: int, callback: Callback) -> None:
        callbacks = self._callbacks.get(watch)
        if callbacks is None:
            return
        callbacks.remove(callback)
        if not callbacks:
            del self._callbacks[watch]
            with suppress(OSError):  # it has just ended with its directory
                self._inotify.remove(watch)

    def close(self) -> None:
        self._loop.remove_reader(self._inotify.fileno())
        self._inotify.close()

    def _dispatch(self) -> None:
        for watch, mask in dict.fromkeys(self._inotify.read()):
            callbacks = self._callbacks.get(watch, ())
            if mask & IN_IGNORED:
                self._callbacks.pop(watch, None)
            for callback in tuple(callbacks):
                callback()


_WATCHERS: dict[asyncio.AbstractEventLoop, _Watcher] = {}


@contextmanager
def watched(directory: str, callback: Callback) -> Iterator[None]:
    """Have *callback* called in the running loop after changes in *directory*, which is made if absent.

    Raises:
        OSError: the directory cannot be made or watched.
    """
    loop = asyncio.get_running_loop()
    os.makedirs(directory, 0o700, exist_ok=True)
    watcher = _WATCHERS.get(loop)
    if watcher is None:
        watcher = _WATCHERS[loop] = _Watcher(loop)
    watcher.users += 1
    try:
        watch = watcher.add(directory, callback)
        try:
            yield
        finally:
            watcher.remove(watch, callback)
    finally:
        watcher.users -= 1
        if not watcher.users:
            del _WATCHERS[loop]
            watcher.close()
