"""Clients attached to a task's streams."""

import io
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.core.runtime.supervisor.attach import Attacher
from corten.core.runtime.supervisor.loop import Loop
from tests.unit.core.runtime.supervisor.driven import Client, rounds, until

KEYS = b"\x10\x11"  # ctrl-p, ctrl-q


class Piece:
    """An extent of a file."""

    def __init__(self, file: io.FileIO, offset: int, length: int) -> None:
        self.file, self.offset, self.length = file, offset, length


class Input:
    """What a task got from its clients; takes no more while ``full``."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.full = False

    def __call__(self, data: bytes) -> bool:  # noqa: D102 - the class says it
        self.data.append(data)
        return not self.full

    @property
    def text(self) -> bytes:
        """All bytes so far."""
        return b"".join(self.data)


class Bench:
    """A loop with attachers and their clients."""

    def __init__(self, undo: ExitStack) -> None:
        self.loop, self._undo = Loop(), undo
        self.gone: list[Attacher] = []

    def attach(self, **changes: Any) -> tuple[Attacher, Client]:
        """Return a new attacher and its client; its stdout and stderr, raw, unless said otherwise."""
        ours, theirs = socket.socketpair()
        self._undo.callback(theirs.close)
        self._undo.callback(ours.close)
        given: dict[str, Any] = {
            "wanted": {1, 2},
            "multiplexed": False,
            "keys": b"",
            "leftover": b"",
            **changes,
        }
        return Attacher(self.loop, ours, on_gone=self.gone.append, **given), Client(theirs)

    def file(self, data: bytes) -> io.FileIO:
        """Return a file with *data*."""
        file = self._undo.enter_context(io.FileIO(os.memfd_create("log"), "r+"))
        file.write(data)
        return file


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Lend a bench."""
    with ExitStack() as undo:
        yield Bench(undo)


def receives(client: Client, data: bytes) -> Callable[[], bool]:
    """Return the question whether *client* has received *data*."""
    return lambda: client.read() == data


def piece(file: io.FileIO, offset: int, length: int) -> Piece:
    """Return an extent."""
    return Piece(file, offset, length)


def test_output_is_framed(bench: Bench) -> None:
    """Each run of bytes has Docker's header of 8 bytes: stream, three zeros, length; from memory or a file."""
    attacher, client = bench.attach(multiplexed=True)
    attacher.push(1, b"out")
    attacher.push(2, piece(bench.file(b"0123456789"), 3, 4))
    until(bench.loop, receives(client, b"\1\0\0\0\0\0\0\3out\2\0\0\0\0\0\0\0043456"))
    assert attacher.waiting == 0


def test_output_is_raw_without_frames(bench: Bench) -> None:
    """For a terminal nothing but the bytes is sent."""
    attacher, client = bench.attach()
    attacher.push(1, b"a")
    attacher.push(1, b"b")
    until(bench.loop, receives(client, b"ab"))


def test_only_what_is_wanted_is_sent(bench: Bench) -> None:
    """A client of stderr alone sees no stdout."""
    attacher, client = bench.attach(wanted={2})
    attacher.push(1, b"out")
    attacher.push(2, b"err")
    until(bench.loop, receives(client, b"err"))


def test_nothing_is_lost_behind_a_slow_client(bench: Bench) -> None:
    """What the socket does not take waits, is counted, and is sent in order as the client reads."""
    attacher, client = bench.attach(multiplexed=True)
    block = os.urandom(1 << 18)
    file = bench.file(block)
    for number in range(8):
        attacher.push(1, block if number % 2 else piece(file, 0, len(block)))
    assert 0 < attacher.waiting < 8 * (len(block) + 8)
    frame = struct.pack(">BxxxI", 1, len(block)) + block
    until(bench.loop, lambda: len(client.read()) >= 8 * len(frame))
    assert client.data == 8 * frame
    assert attacher.waiting == 0


def test_a_file_cut_short_does_not_stop_the_rest(bench: Bench) -> None:
    """An extent whose file was truncated ends early; what comes after it arrives, and nothing counts as waiting."""
    attacher, client = bench.attach()
    file = bench.file(b"x" * 100)
    file.truncate(40)
    attacher.push(1, piece(file, 0, 100))
    attacher.push(1, piece(file, 90, 10))
    attacher.push(1, b"end")
    until(bench.loop, receives(client, b"x" * 40 + b"end"))
    assert attacher.waiting == 0


def test_whoever_waits_for_room_is_told(bench: Bench) -> None:
    """When a client has caught up, the task is told, so that a container that had to wait goes on."""
    attacher, client = bench.attach()
    told: list[int] = []
    attacher.on_room = lambda: told.append(attacher.waiting)
    attacher.push(1, b"x" * (4 << 20))
    assert not told
    until(bench.loop, lambda: client.read() and not attacher.waiting)
    assert told


def test_input_is_passed_on_with_its_end(bench: Bench) -> None:
    """Bytes read along with the request come first, then what the client sends, then its end, once."""
    attacher, client = bench.attach(leftover=b"early ")
    taken = Input()
    attacher.begin(taken)
    client.connection.send(b"late")
    until(bench.loop, lambda: taken.text == b"early late")
    client.connection.shutdown(socket.SHUT_WR)
    until(bench.loop, lambda: taken.data[-1:] == [b""])
    rounds(bench.loop)
    assert taken.data.count(b"") == 1


def test_half_close_leaves_output_open(bench: Bench) -> None:
    """A client that has said all still hears all."""
    attacher, client = bench.attach()
    taken = Input()
    attacher.begin(taken)
    client.connection.shutdown(socket.SHUT_WR)
    until(bench.loop, lambda: taken.data == [b""])
    attacher.push(1, b"answer")
    until(bench.loop, receives(client, b"answer"))
    assert bench.gone == []
    attacher.finish()
    assert client.at_end()
    assert bench.gone == [attacher]


def test_input_nobody_wants_is_read_and_dropped(bench: Bench) -> None:
    """Without stdin the client's bytes are discarded, and its leaving is still seen."""
    attacher, client = bench.attach(leftover=b"early")
    attacher.begin(None)
    client.connection.send(b"late")
    client.connection.close()
    until(bench.loop, lambda: bench.gone == [attacher])


def test_a_task_that_takes_no_more_is_not_pressed(bench: Bench) -> None:
    """While the task is behind nothing is read; then it goes on where it stopped."""
    attacher, client = bench.attach()
    taken = Input()
    taken.full = True
    attacher.begin(taken)
    client.connection.send(b"first")
    until(bench.loop, lambda: taken.text == b"first")
    client.connection.send(b"second")
    rounds(bench.loop)
    assert taken.text == b"first"
    taken.full = False
    attacher.resume()
    until(bench.loop, lambda: taken.text == b"firstsecond")


def test_an_early_client_is_read_later(bench: Bench) -> None:
    """Before ``begin`` nothing of the input is taken, but a client that leaves is noticed."""
    attacher, client = bench.attach()
    client.connection.send(b"wait")
    rounds(bench.loop)
    taken = Input()
    attacher.begin(taken)
    until(bench.loop, lambda: taken.text == b"wait")
    second, gone = bench.attach()
    gone.connection.close()
    until(bench.loop, lambda: bench.gone == [second])


@pytest.mark.parametrize("typed", [[b"ab\x10\x11cd"], [b"ab\x10", b"\x11"], [b"a", b"b\x10", b"\x11"]])
def test_detach_keys(bench: Bench, typed: list[bytes]) -> None:
    """The sequence ends the attachment wherever reads split it; what was typed before it is passed on."""
    attacher, client = bench.attach(keys=KEYS)
    taken = Input()
    attacher.begin(taken)
    for keys in typed:
        attacher.feed(keys)
    assert taken.text == b"ab"
    assert bench.gone == [attacher]
    assert client.at_end()


def test_the_beginning_of_the_keys_alone_is_input(bench: Bench) -> None:
    """A prefix that goes on otherwise was meant for the program."""
    attacher, _ = bench.attach(keys=KEYS)
    taken = Input()
    attacher.begin(taken)
    for keys in (b"\x10", b"x", b"\x10", b"\x10", b"y"):
        attacher.feed(keys)
    assert taken.text == b"\x10x\x10\x10y"
    assert bench.gone == []


@given(st.lists(st.binary(max_size=4) | st.sampled_from([b"\x10", b"\x11", b"a\x10"]), max_size=12))
def test_detach_keys_however_they_are_split(reads: list[bytes]) -> None:
    """What passes is the input up to the first sequence; only the start of a sequence may be held back."""
    with ExitStack() as undo:
        bench = Bench(undo)
        attacher, _ = bench.attach(keys=KEYS)
        taken = Input()
        attacher.begin(taken)
        for data in reads:
            if data and not bench.gone:
                attacher.feed(data)
        before, found, _ = b"".join(reads).partition(KEYS)
        assert taken.text in ((before,) if found else (before, before.removesuffix(KEYS[:1])))
        assert bool(bench.gone) is bool(found)


def test_detach_keys_in_the_leftover(bench: Bench) -> None:
    """Keys that came along with the request count too."""
    attacher, _ = bench.attach(keys=KEYS, leftover=KEYS)
    taken = Input()
    attacher.begin(taken)
    assert bench.gone == [attacher]


def test_finishing_waits_for_the_backlog(bench: Bench) -> None:
    """A task's end does not cut off what a slow client has yet to read."""
    attacher, client = bench.attach()
    data = os.urandom(4 << 20)
    attacher.push(1, data)
    attacher.finish()
    assert bench.gone == []
    until(bench.loop, client.at_end)
    assert client.data == data
    assert bench.gone == [attacher]


def test_a_client_that_dies_is_dropped(bench: Bench) -> None:
    """A broken connection closes the attacher once, with whatever was waiting."""
    attacher, client = bench.attach()
    attacher.push(1, b"x" * (4 << 20))
    client.connection.close()
    until(bench.loop, lambda: bench.gone)
    attacher.push(1, b"more")
    attacher.close()
    assert bench.gone == [attacher]
    assert attacher.waiting == 0


def test_letting_go_leaves_the_connection_alive(bench: Bench) -> None:
    """Another process that holds the connection can go on with it."""
    ours, theirs = socket.socketpair()
    with theirs, ours.dup() as other:
        attacher = Attacher(bench.loop, ours, {1}, False, b"", b"", bench.gone.append)
        attacher.let_go()
        attacher.let_go()
        other.send(b"still here")
        assert theirs.recv(20) == b"still here"
    assert bench.gone == []


def test_closing_ends_the_connection_for_all(bench: Bench) -> None:
    """A copy of the descriptor in another process does not keep the client waiting."""
    ours, theirs = socket.socketpair()
    with theirs, ours.dup():
        Attacher(bench.loop, ours, {1}, False, b"", b"", bench.gone.append).close()
        assert theirs.recv(1) == b""
