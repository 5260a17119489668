"""Pseudo terminals of the host's and of a container's devpts."""

import os
import termios
from collections.abc import Iterator

import pytest

from corten.linux import mounts, namespaces, pty
from tests.kernel.forked import in_child

pytestmark = pytest.mark.root

Pair = tuple[int, int, int]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Lend a master, its terminal side, and the terminal's number."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    peer, number = pty.open_pair(master)
    yield master, peer, number
    os.close(master)
    os.close(peer)


def test_both_sides_are_connected(pair: Pair) -> None:
    """What one side writes the other reads."""
    master, peer, number = pair
    assert os.ttyname(peer) == f"/dev/pts/{number}"
    os.write(peer, b"out\n")
    assert os.read(master, 10) == b"out\r\n"
    os.write(master, b"in\n")
    assert os.read(peer, 10) == b"in\n"
    assert not os.get_inheritable(peer)


def test_the_size(pair: Pair) -> None:
    """Rows come first, and both sides see the same."""
    master, peer, _ = pair
    pty.resize(master, 43, 132)
    assert os.get_terminal_size(peer) == (132, 43)
    assert termios.tcgetwinsize(master) == (43, 132)


def test_opening_it_makes_nobody_its_owner(pair: Pair) -> None:
    """A process gets a controlling terminal only when it asks for it as a leader of a session."""
    _, peer, _ = pair

    def body() -> object:
        os.setsid()
        try:
            os.close(os.open("/dev/tty", os.O_RDWR))
        except OSError:
            before = False
        else:
            before = True
        pty.make_controlling(peer)
        os.close(os.open("/dev/tty", os.O_RDWR))
        return before, os.tcgetpgrp(peer) == os.getpid()

    assert in_child(body) == "(False, True)"


def test_a_terminal_of_another_devpts() -> None:
    """The terminal side is found by its master, whatever lies at /dev/pts."""

    def body() -> object:
        namespaces.unshare(namespaces.CLONE_NEWNS)
        fresh = mounts.filesystem("devpts", [("newinstance", ""), ("ptmxmode", "0666")])
        master = os.open("ptmx", os.O_RDWR | os.O_NOCTTY, dir_fd=fresh)
        peer, number = pty.open_pair(master)
        os.write(peer, b"x")
        return number, os.read(master, 5), os.fstat(peer).st_dev == os.fstat(fresh).st_dev

    assert in_child(body) == "(0, b'x', True)"


def test_what_is_no_terminal() -> None:
    """Another device is refused by the kernel."""
    null = os.open("/dev/null", os.O_RDWR)
    with pytest.raises(OSError, match="Inappropriate ioctl"):
        pty.open_pair(null)
    os.close(null)
