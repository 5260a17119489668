"""Maps of user and group ids, as idmapped mounts want them: a user namespace that nobody lives in.

The kernel takes such a map in no other form. So a child is forked that enters
a new user namespace, hands its descriptor over and ends; only a process
outside may write the maps, and it finds the child's files in /proc by a
descriptor that the child opened itself, since in a new pid namespace numbers
would not match. Source: user_namespaces(7), mount_setattr(2); mount(8),
"X-mount.idmap".
"""

import errno
import os
import socket

from corten.linux.namespaces import CLONE_NEWUSER, unshare
from corten.linux.syscalls import KernelError

ALL = "0 0 4294967295"  # every id is itself


def maps(text: str) -> tuple[str, str]:
    """Return what uid_map and gid_map of user_namespaces(7) want for *text*.

    Args:
        text: Words ``u:FILE:SEEN:COUNT``, ``g:...`` or ``b:...`` for both, separated
            by blanks: what is FILE on the disk is SEEN in the mount. A kind of
            which there is no word stays as it is.
    """
    lines: dict[str, list[str]] = {"u": [], "g": []}
    for word in text.split():
        kind, _, numbers = word.partition(":")
        for one in ("u", "g") if kind == "b" else (kind,):
            lines[one].append(numbers.replace(":", " "))
    return "\n".join(lines["u"] or [ALL]), "\n".join(lines["g"] or [ALL])


def user_namespace(text: str) -> int:
    """Return the descriptor of a new user namespace with the maps of *text*; the caller closes it.

    Call it where only one thread is: it forks. /proc has to be mounted.

    Raises:
        KernelError: EINVAL for maps that overlap, EPERM without CAP_SETUID or CAP_SETGID.
    """
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        ours.close()
        _enter(theirs)
    theirs.close()
    try:
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 2)
        if len(descriptors) < 2:
            raise KernelError(errno.EPERM, "make a user namespace for mapped ids")
        folder, namespace = descriptors
        try:
            _write(folder, text)
        except BaseException:
            os.close(namespace)
            raise
        finally:
            os.close(folder)
    finally:
        ours.close()
        os.waitpid(child, 0)
    os.set_inheritable(namespace, False)
    return namespace


def _enter(parent: socket.socket) -> None:
    """In the child: enter a new namespace, hand over how to find it, wait until it is told to end."""
    try:
        folder = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        unshare(CLONE_NEWUSER)
        namespace = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        socket.send_fds(parent, [b"1"], [folder, namespace])
        parent.recv(1)
    finally:
        os._exit(0)


def _write(folder: int, text: str) -> None:
    for name, lines in zip(("uid_map", "gid_map"), maps(text), strict=True):
        file = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
        try:
            os.write(file, lines.encode())
        except OSError as failure:
            raise KernelError(failure.errno or 0, f"write {name} ({lines})") from None
        finally:
            os.close(file)
