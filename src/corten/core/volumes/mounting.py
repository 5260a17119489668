"""Volumes whose data is a mount: a share, a memory file system, a folder or device of the host.

The mount is made detached, where a server that does not answer harms nobody,
and attached when it is whole, with private propagation. What it is attached on
is a folder of ours that no container can change.
"""

import errno
import ipaddress
import os
import queue
import re
import socket
import threading
from contextlib import suppress

from corten.core.volumes.options import Device
from corten.errors import Unavailable
from corten.linux import mounts
from corten.linux.paths import RESOLVE_NO_XDEV, openat2
from corten.linux.syscalls import KernelError

PATIENCE = 30.0  # seconds that a server has to answer
_BINDS = ("none", "bind", "")
_OCTAL = re.compile(r"\\([0-7]{3})")


def mount(device: Device, target: str, patience: float = PATIENCE) -> None:
    """Mount *device* on the folder *target*; nothing when something is mounted there already.

    Raises:
        Unavailable: the device is missing, the options are refused, or nobody answers within *patience* seconds.
    """
    if is_mounted(target):
        return
    detached = _in_time(device, patience)
    try:
        place = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            mounts.attach(detached, place)
        finally:
            os.close(place)
        _dress(detached, device)
    except OSError as failure:
        unmount(target)
        raise Unavailable(f"failed to mount {device.source} on {target}: {failure}") from None
    finally:
        os.close(detached)


def is_mounted(folder: str) -> bool:
    """Tell whether something is mounted on *folder*."""
    above, _, name = folder.rstrip("/").rpartition("/")
    descriptor = os.open(above, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(openat2(descriptor, name, os.O_PATH, resolve=RESOLVE_NO_XDEV))
    except KernelError as failure:
        return failure.errno == errno.EXDEV
    finally:
        os.close(descriptor)
    return False


def unmount(folder: str) -> None:
    """Detach what is mounted on *folder* and below, also what others have mounted there; absent is fine.

    Who has the files open, or a mount of their own, keeps them.
    """
    for place in reversed(_below(os.path.realpath(folder))):
        with suppress(KernelError):
            mounts.unmount(place, mounts.MNT_DETACH | 8)  # UMOUNT_NOFOLLOW


def has_mounts(folder: str) -> bool:
    """Tell whether anything is mounted on *folder* or below."""
    return bool(_below(os.path.realpath(folder)))


def _below(folder: str) -> list[str]:
    """Return the places of mounts on and below *folder*, in the order of mounting; see proc_pid_mountinfo(5)."""
    with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        places = [_OCTAL.sub(lambda match: chr(int(match[1], 8)), line.split(" ", 5)[4]) for line in table]
    return [place for place in places if place == folder or place.startswith(f"{folder}/")]


def _in_time(device: Device, patience: float) -> int:
    """Make the mount in a thread of its own, which is left behind when it takes too long."""
    answers: queue.SimpleQueue[int | Exception] = queue.SimpleQueue()
    decided = threading.Lock()

    def work() -> None:
        try:
            answer: int | Exception = _made(device)
        except Exception as failure:  # noqa: BLE001  handed to the thread that waits
            answer = failure
        if decided.acquire(blocking=False):
            answers.put(answer)
        elif isinstance(answer, int):
            os.close(answer)

    threading.Thread(target=work, name="mount", daemon=True).start()
    try:
        answer = answers.get(timeout=patience)
    except queue.Empty:
        if decided.acquire(blocking=False):
            raise Unavailable(
                f"{device.source} ({device.type}) has not answered for {patience:g} seconds: is its server up?"
            ) from None
        answer = answers.get()
    if isinstance(answer, int):
        return answer
    raise Unavailable(f"failed to mount {device.source} as {device.type}: {answer}") from None


def _made(device: Device) -> int:
    add, _, _, recursive, data = mounts.split_options(device.options)
    if _is_bind(device):
        return mounts.clone_tree(mounts.AT_FDCWD, os.path.abspath(device.source), recursive)
    resolved = [(key, _address(value) if key == "addr" else value) for key, value in data]
    return mounts.filesystem(device.type, resolved, add, device.source)


def _dress(mounted: int, device: Device) -> None:
    """Give the attached mount its propagation, and a bind its attributes."""
    mounts.set_attributes(mounted, propagation=mounts.MS_PRIVATE, recursive=True)
    add, clear, *_ = mounts.split_options(device.options)
    if _is_bind(device):
        mounts.set_attributes(mounted, add=add, clear=clear)


def _is_bind(device: Device) -> bool:
    return device.type in _BINDS or "bind" in device.options or "rbind" in device.options


def _address(name: str) -> str:
    """Return the address of a server, which the kernel wants as a number."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        found = socket.getaddrinfo(name, None, proto=socket.IPPROTO_TCP)
        return str(found[0][4][0])
