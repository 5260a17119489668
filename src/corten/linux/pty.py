"""Pseudo terminals: one per container that asked for a terminal.

Source: pts(4), ioctl_tty(2).
"""

import fcntl
import os
import struct

TIOCSCTTY = 0x540E
TIOCGPTN = 0x80045430
TIOCSPTLCK = 0x40045431
TIOCSWINSZ = 0x5414


def open_pair(ptmx: int) -> tuple[int, int]:
    """Finish a freshly opened multiplexer: unlock it and open its other side.

    Args:
        ptmx: Descriptor of the ``ptmx`` node of the devpts to use.

    Returns:
        The descriptor of the terminal side, and its number below ``/dev/pts``.
    """
    fcntl.ioctl(ptmx, TIOCSPTLCK, struct.pack("i", 0))
    (number,) = struct.unpack("i", fcntl.ioctl(ptmx, TIOCGPTN, b"\0\0\0\0"))
    # TIOCGPTPEER opens by the master, whatever lies at the path inside the container
    peer = fcntl.ioctl(ptmx, 0x5441, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    return int(peer), int(number)


def resize(descriptor: int, height: int, width: int) -> None:
    """Set the size of a terminal in character cells; the foreground job gets SIGWINCH."""
    fcntl.ioctl(descriptor, TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


def make_controlling(descriptor: int) -> None:
    """Make the terminal the controlling one of this session leader; see ioctl_tty(2)."""
    fcntl.ioctl(descriptor, TIOCSCTTY, 0)
