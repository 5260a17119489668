"""The daemon's link to its supervisor, with a supervisor that a test can break."""

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from corten.core.runtime import link
from corten.core.runtime.link import Link
from corten.errors import StartFailed, Unavailable

# answers "who" with its pid, "pipe" with a descriptor, "refuse" with an error, "tell" with an event; "wait" never
FAKE = """
import os, socket, sys
from corten.core.runtime import protocol
run = sys.argv[1]
if os.path.exists(run + "/broken"):
    sys.exit("it is broken")
listener = socket.socket(socket.AF_UNIX)
if os.path.exists(run + "/supervisor.sock"):
    os.unlink(run + "/supervisor.sock")
listener.bind(run + "/supervisor.sock")
listener.listen()
connection, _ = listener.accept()
decoder = protocol.Decoder()
while decoder.receive(connection):
    for header, payload, descriptors in decoder.frames():
        answer, handed = {"n": header["n"], "pid": os.getpid(), "size": len(payload)}, ()
        if header["do"] == "wait":
            continue
        if header["do"] == "refuse":
            answer.update(error="it may not be", exit_code=126)
        if header["do"] == "pipe":
            handed = descriptors or os.pipe()
            answer["descriptors"] = len(handed)
        if header["do"] == "tell":
            protocol.send(connection, protocol.encode({"event": "news"}))
        protocol.send(connection, protocol.encode(answer), handed)
"""


class Bench:
    """A link, and what it has told."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.events: list[dict[str, Any]] = []
        self.new: list[int] = []
        self.link = Link(str(run), [sys.executable, "-c", FAKE, str(run)], self._event, self._on_new)

    def _event(self, header: dict[str, Any], _: list[int]) -> None:
        self.events.append(header)

    async def _on_new(self) -> None:
        self.new.append(await self.pid())

    async def pid(self) -> int:
        """Ask the supervisor who it is."""
        answer, _ = await self.link.request({"do": "who"})
        return int(answer["pid"])

    def first_attempt(self) -> "subprocess.Popen[bytes]":
        """Return the supervisor that the link starts, as soon as it has."""
        deadline = time.monotonic() + 20
        while not self.link._started:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return self.link._started[0]

    def kill(self, pid: int) -> None:
        """Kill the supervisor, which is gone when this returns."""
        process = self.link._started[-1]
        assert process.pid == pid
        os.kill(pid, signal.SIGKILL)
        process.wait()

    async def lose(self) -> None:
        """Kill the supervisor; a request finds out before the link does, and fails."""
        self.kill(await self.pid())
        lost = self.link._socket
        with pytest.raises(Unavailable, match="is being replaced: try again"):
            await self.link.request({"do": "who"})
        while self.link._socket is lost:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)

    def close(self) -> None:
        """End the link and every supervisor that it has started."""
        self.link.close()
        for process in self.link._started:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Lend a bench."""
    made = Bench(tmp_path)
    yield made
    made.close()


def go(bench: Bench, body: Callable[[], Awaitable[None]]) -> None:
    """Run *body* with an open link."""

    async def main() -> None:
        try:
            assert await bench.link.open()
            await body()
        finally:
            bench.link.close()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_requests_and_answers(bench: Bench) -> None:
    """Each answer reaches who asked, with its descriptors; an event reaches the one who takes events."""

    async def body() -> None:
        answers = await asyncio.gather(*(bench.link.request({"do": "who"}, b"x" * n) for n in range(20)))
        assert [answer["size"] for answer, _ in answers] == list(range(20))
        _, handed = await bench.link.request({"do": "pipe"})
        os.write(handed[1], b"hi")
        assert os.read(handed[0], 2) == b"hi"
        _, back = await bench.link.request({"do": "pipe"}, b"", handed)
        assert os.fstat(back[0]).st_ino == os.fstat(handed[0]).st_ino
        for descriptor in (*handed, *back):
            os.close(descriptor)
        await bench.link.request({"do": "tell"})
        assert bench.events == [{"event": "news"}]

    go(bench, body)


def test_a_large_payload(bench: Bench) -> None:
    """A request larger than any socket buffer arrives whole."""

    async def body() -> None:
        answer, _ = await bench.link.request({"do": "who"}, bytes(9 << 20))
        assert answer["size"] == 9 << 20

    go(bench, body)


def test_a_refusal_has_text_and_code(bench: Bench) -> None:
    """What the supervisor refuses is a failed start with its exit code."""

    async def body() -> None:
        with pytest.raises(StartFailed, match="it may not be") as failure:
            await bench.link.request({"do": "refuse"})
        assert failure.value.exit_code == 126

    go(bench, body)


def test_a_dead_supervisor_fails_requests_and_is_replaced(bench: Bench) -> None:
    """Who waits for an answer is told in one line; the next request waits for the new one, told first of all."""

    async def body() -> None:
        first = await bench.pid()
        waiting = asyncio.ensure_future(bench.link.request({"do": "wait"}))
        await asyncio.sleep(0)
        bench.kill(first)
        with pytest.raises(Unavailable, match="has died and is being replaced: try again"):
            await waiting
        second = await bench.pid()
        assert second != first
        assert bench.new == [second]

    go(bench, body)


def test_a_request_right_after_the_death(bench: Bench) -> None:
    """A request made before the death was noticed fails with the same line, not with a broken pipe."""

    async def body() -> None:
        await bench.lose()
        assert await bench.pid()

    go(bench, body)


def test_many_requests_share_one_replacement(bench: Bench) -> None:
    """However many wait, one new supervisor is started."""

    async def body() -> None:
        await bench.lose()
        pids = await asyncio.gather(*(bench.pid() for _ in range(10)))
        assert len({*pids, *bench.new}) == 1
        assert len(bench.new) == 1

    go(bench, body)


def test_a_failed_start_is_tried_again(bench: Bench) -> None:
    """A supervisor that does not start says why; the next request tries once more."""

    async def body() -> None:
        first = await bench.pid()
        (bench.run / "broken").touch()
        await bench.lose()
        for _ in range(2):
            with pytest.raises(Unavailable, match="the supervisor does not start: it is broken"):
                await bench.pid()
        (bench.run / "broken").unlink()
        assert await bench.pid() not in (0, first)
        assert len(bench.new) == 1

    go(bench, body)


def test_a_failed_start_is_tried_again_unasked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody need ask for a supervisor: there are ends of tasks to be seen."""
    monkeypatch.setattr(link, "RETRY", 0.01)

    async def body() -> None:
        await bench.pid()
        (bench.run / "broken").touch()
        await bench.lose()
        with pytest.raises(Unavailable, match="it is broken"):
            await bench.pid()
        (bench.run / "broken").unlink()
        while not bench.new:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)

    go(bench, body)


def test_one_that_another_daemon_is_starting_is_waited_for(bench: Bench) -> None:
    """Where the lock is taken our own leaves at once, and the other one will answer soon."""
    (bench.run / "broken").touch()
    with (bench.run / "supervisor.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        async def body() -> None:
            opening = asyncio.ensure_future(bench.link.open())
            process = await asyncio.to_thread(bench.first_attempt)
            await asyncio.to_thread(process.wait)  # ours has left: only now the other one answers
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(f"{bench.run}/supervisor.sock")
                listener.listen()
                await opening
                bench.link.close()  # before the other one leaves, which is not to be replaced

        asyncio.run(asyncio.wait_for(body(), 20))


def test_one_that_does_not_start_at_first(bench: Bench) -> None:
    """At the daemon's own start the reason is told as well."""
    (bench.run / "broken").touch()
    with pytest.raises(Unavailable, match="does not start: it is broken"):
        asyncio.run(bench.link.open())


def test_an_expected_end_is_not_replaced(bench: Bench) -> None:
    """Who was told to go is not started again."""

    async def body() -> None:
        pid = await bench.pid()
        bench.link.expect_end()
        waiting = asyncio.ensure_future(bench.link.request({"do": "wait"}))
        await asyncio.sleep(0)
        bench.kill(pid)
        with pytest.raises(Unavailable):
            await waiting
        with pytest.raises(Unavailable, match="restart the daemon"):
            await bench.pid()
        assert bench.new == []

    go(bench, body)


def test_closing_leaves_the_supervisor_alive(bench: Bench) -> None:
    """A daemon that leaves does not take its supervisor along."""

    async def body() -> None:
        pid = await bench.pid()
        bench.link.close()
        os.kill(pid, 0)

    go(bench, body)
