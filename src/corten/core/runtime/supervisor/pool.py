"""Children: forked processes that wait in their cgroup and namespaces for a plan.

A start would have to wait for the fork and, on cgroup version 1, for the moves
into each hierarchy (an RCU grace period each). A parked child has both behind
it. The pool makes them when the loop is idle; a start that finds none makes one
on the spot. Version 2 puts a child into its cgroup at birth
(CLONE_INTO_CGROUP) and cannot rename a cgroup, so nothing is parked there.
"""

import json
import os
import signal
import socket
from contextlib import suppress

from corten.core.runtime.init import child as init
from corten.core.runtime.supervisor.loop import Loop
from corten.core.runtime.supervisor.task import STREAMS, Streams
from corten.linux import namespaces
from corten.linux.syscalls import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.linux.cgroups import Cgroup, Layout

    KitOrder = tuple[str, list[tuple[str, dict[str, Any]]]]
    OwnKitOrder = tuple[str, list[tuple[str, dict[str, Any]]], str]

DEFAULT_FLAGS = (
    namespaces.CLONE_NEWPID | namespaces.CLONE_NEWNS | namespaces.CLONE_NEWUTS | namespaces.CLONE_NEWIPC
)
SIZE = 6
PACKET = 1 << 16


class Parked:
    """A child that waits: its pid, pidfd, the socket it listens on, and its cgroup."""

    def __init__(self, pid: int, pidfd: int, channel: socket.socket, cgroup: "Cgroup | None") -> None:
        self.pid, self.pidfd, self.channel, self.cgroup = pid, pidfd, channel, cgroup
        self.order: object = None

    def tell(self, plan: bytes, descriptors: list[int]) -> None:
        """Hand over plan, stdio and what the plan joins; the child goes to work."""
        socket.send_fds(self.channel, [len(plan).to_bytes(8, "little")], descriptors)
        for start in range(0, len(plan), PACKET):
            self.channel.send(plan[start : start + PACKET])


def _wait_for_plan(channel: socket.socket, kit: "init.Kit | None") -> None:
    """In the child: block until told; ends when the supervisor does."""
    size, descriptors, _, _ = socket.recv_fds(channel, 8, 16, socket.MSG_CMSG_CLOEXEC)
    plan = b""
    while size and len(plan) < int.from_bytes(size, "little"):
        packet = channel.recv(PACKET)
        if not packet:
            break
        plan += packet
    else:
        if plan:
            init.main(channel, plan, descriptors, kit)
    os._exit(0)


def _park(channel: socket.socket, cgroup: "Cgroup | None", kit: "OwnKitOrder | None") -> None:
    """In the child, right after the fork: let go of the supervisor's descriptors, enter the cgroup, wait."""
    try:
        namespaces.set_parent_death_signal(signal.SIGKILL)
        namespaces.set_dumpable(False)
        os.umask(0)
        namespaces.close_all_but(channel.fileno())
        if cgroup is not None:
            cgroup.enter(0)
        made = None
        if kit is not None:
            with suppress(OSError):  # a plan that wants it will say what does not work
                made = init.Kit(*kit)
        channel.send(b'{"ready":true}')
        _wait_for_plan(channel, made)
    except BaseException as failure:  # noqa: BLE001 - nothing may escape from a forked child
        with suppress(OSError):
            channel.send(json.dumps({"error": f"init: {failure}", "exit_code": 128}).encode())
    finally:
        os._exit(1)


def spawn(
    flags: int,
    cgroup: "Cgroup | None",
    *,
    create: bool = True,
    pid_of: int = -1,
    kit: "OwnKitOrder | None" = None,
) -> Parked:
    """Fork a child that parks itself.

    Args:
        flags: ``CLONE_NEW*`` bits.
        cgroup: To be entered; None to stay.
        create: Make the cgroup first.
        pid_of: A pidfd whose process's pid namespace the child is born into, or -1.
        kit: Mounts to make while parked.

    Raises:
        KernelError: fork or cgroup refused.
    """
    if cgroup is not None and create:
        cgroup.create()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    folder = cgroup.directory_fd() if cgroup is not None else None
    own = -1
    if pid_of >= 0:
        own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        namespaces.setns(pid_of, namespaces.CLONE_NEWPID)
    try:
        pid, pidfd = namespaces.fork(flags, folder)
        if pid == 0:
            _park(theirs, None if folder is not None else cgroup, kit)
    finally:
        if own >= 0:
            namespaces.setns(own, namespaces.CLONE_NEWPID)
            os.close(own)
        if folder is not None:
            os.close(folder)
        theirs.close()
    return Parked(pid, pidfd, ours, cgroup)


class Pool:
    """Keeps up to *size* parked children with the default namespaces.

    Args:
        loop: The event loop; refilling is its chore.
        layout: The host's cgroup hierarchies.
        prefix: Folder of this engine's cgroups, such as ``corten``.
        folder: Where FIFOs wait; on the file system of the run directories.
        size: How many.
    """

    def __init__(self, loop: Loop, layout: "Layout", prefix: str, folder: str, size: int = SIZE) -> None:
        self._loop, self._layout, self._prefix, self._folder = loop, layout, prefix, folder
        self._size = size if layout.mode != "v2" else 0
        self._roots = sorted(set(layout.controllers.values()))
        self._waking: list[Parked] = []
        self._ready: list[Parked] = []
        self._streams: list[Streams] = []
        self._count = 0
        self._asked = False
        self._order = object()  # tells children parked for one kit from those parked for another
        self.kit: KitOrder | None = None
        self.devices: list[dict[str, Any]] = []

    def prepare(self, kit: "KitOrder", devices: "list[dict[str, Any]]") -> None:
        """Have children make *kit* from now on, their cgroups obeying *devices*; others that wait are dismissed."""
        if (kit, devices) != (self.kit, self.devices):
            self.kit, self.devices, self._order = kit, devices, object()
            while self._ready:
                dismiss(self._ready.pop())
        self.refill()

    def refill(self) -> None:
        """Ask for children to be made when nothing else is to do; idempotent."""
        if not self._asked and len(self._ready) + len(self._waking) < self._size:
            self._asked = True
            self._loop.when_idle(self._make, soon=len(self._ready) * 2 < self._size)

    def _make(self) -> None:
        self._asked = False
        self._count += 1
        cgroup = self._layout.cgroup(f"{self._prefix}/pool-{os.getpid()}-{self._count}")
        own = ";".join(f"{os.path.basename(root)}={root}/{cgroup.path}" for root in self._roots)
        try:
            cgroup.create()
            cgroup.apply({"devices": self.devices})
            parked = spawn(DEFAULT_FLAGS, cgroup, create=False, kit=(*self.kit, own) if self.kit else None)
        except (OSError, KernelError):
            cgroup.remove()
            return
        if len(self._streams) < self._size:
            with suppress(OSError):
                self._streams.append(Streams(f"{self._folder}/{self._count}"))
        parked.order = self._order
        self._waking.append(parked)
        self._loop.register(parked.channel.fileno(), lambda _: self._is_ready(parked))
        self.refill()

    def _is_ready(self, parked: Parked) -> None:
        self._loop.unregister(parked.channel.fileno())
        self._waking.remove(parked)
        fits = parked.order is self._order
        if parked.channel.recv(1024) == b'{"ready":true}' and fits:
            self._ready.append(parked)
        else:
            dismiss(parked)

    def take(self, path: str) -> Parked | None:
        """Return a ready child, its cgroup renamed to *path*; None when there is none."""
        parked = self._ready.pop(0) if self._ready else None
        self.refill()
        if parked is None:
            return None
        assert parked.cgroup is not None
        try:
            parked.cgroup.rename(path)
        except OSError:
            dismiss(parked)
            return None
        return parked

    def streams(self) -> Streams | None:
        """Return FIFOs that are ready; None when there are none."""
        return self._streams.pop() if self._streams else None

    def close(self) -> None:
        """End every parked child and remove its cgroup."""
        self._size = 0
        for streams in self._streams:
            streams.close()
            for name in STREAMS.values():
                os.unlink(f"{streams.directory}/{name}")
            os.rmdir(streams.directory)
        self._streams.clear()
        for parked in self._waking:
            self._loop.unregister(parked.channel.fileno())
        for parked in (*self._waking, *self._ready):
            dismiss(parked)
        self._waking.clear()
        self._ready.clear()


def dismiss(parked: Parked) -> None:
    """End a parked child and undo what it held."""
    parked.channel.close()
    os.kill(parked.pid, signal.SIGKILL)
    os.waitpid(parked.pid, 0)
    os.close(parked.pidfd)
    if parked.cgroup is not None:
        with suppress(OSError):
            parked.cgroup.remove()
