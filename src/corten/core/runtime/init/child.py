"""init: what a forked child does from its parking place to exec.

The child is told one plan, a list of ``[step, arguments]``, runs it in order
and execs. It reports on its socket: a terminal's master, or the one error that
ended it; the socket closing without an error means that exec succeeded.

Theory: the plan is data, so that it can be printed (``describe``), tested
without a kernel, and made by whoever knows the Spec, while this process knows
nothing but how to take each step. Sources of the steps: runtime-spec
runtime.md "Lifecycle", config-linux.md. Alternative: a compiled helper
program; measured, the interpreter costs 0.6 ms of fork and under 1 ms of
steps, so there is none.
"""

import json
import os
import socket

from corten.core.runtime.init import filesystem, live, process
from corten.core.runtime.init.process import StartError
from corten.linux import namespaces, pty, seccomp
from corten.linux.syscalls import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Plan = list[tuple[str, dict[str, Any]]]


class Kit:
    """Mounts that need nothing of a particular container, made in a scratch tree while the child is parked.

    What makes a kit fit is that its steps are those of the plan, nothing else.
    """

    def __init__(self, at: str, steps: "Plan", own: str) -> None:
        self.at, self.steps, self.tree = at, steps, filesystem.Tree(own)
        filesystem.scratch(self.tree, at)
        for name, arguments in steps:
            KIT_STEPS[name](self.tree, **arguments)


KIT_STEPS: "dict[str, Callable[..., None]]" = {
    "mount": filesystem.mount,
    "read_only": filesystem.read_only,
    "mask": filesystem.mask,
}


class Child:
    """What the steps of one child share: its tree, the descriptors it was handed, its socket."""

    def __init__(
        self, channel: socket.socket, stdio: list[int], handed: list[int], kit: "Kit | None" = None
    ) -> None:
        self.channel, self.stdio, self.handed, self.ready_kit = channel, stdio, handed, kit
        self.tree = filesystem.Tree()
        self.filter, self.filter_flags = b"", 0
        self.terminal = -1
        self.exchange: live.Exchange

    def join(self, index: int, flags: int) -> None:
        """Enter the namespaces behind the handed descriptor *index*."""
        namespaces.setns(self.handed[index], flags)

    def unshare(self, flags: int) -> None:
        """Make new namespaces beside those the fork made."""
        namespaces.unshare(flags)

    def names(self, hostname: str, domainname: str) -> None:
        """Set host and domain name."""
        if hostname:
            namespaces.set_hostname(hostname)
        if domainname:
            namespaces.set_domainname(domainname)

    def load_filter(self, path: str, flags: int) -> None:
        """Read the compiled seccomp filter while the host's files can be seen."""
        self.filter_flags = flags
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.filter = os.read(descriptor, 1 << 20)
        os.close(descriptor)

    def root(self, at: str, kind: str, source: str, options: list[str], propagation: str = "") -> None:
        """Mount the container's root; see filesystem.root."""
        filesystem.root(self.tree, at, kind, source, options, propagation)

    def present_root(self) -> None:
        """Use the root that the joined mount namespace has (exec)."""
        self.tree.root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def kit(self, at: str, steps: "Plan", own: str) -> None:
        """Take the mounts of the kit from the parking time, if the same was made then, or make them now."""
        kit = self.ready_kit
        if kit is None or kit.steps != steps:
            kit = Kit(at, steps, own)
        self.tree.held, self.tree.sysctls, self.tree.group = kit.tree.held, kit.tree.sysctls, kit.tree.group

    def move_in(self, targets: list[str]) -> None:
        """Move the kit's mounts to their places in the root."""
        for target in targets:
            filesystem.move_in(self.tree, target)

    def sources(self, index: int, wanted: "list[list[Any]]") -> None:
        """Open what mounts bind in the mount namespace behind the handed descriptor *index*."""
        filesystem.open_sources(self.tree, wanted, self.handed[index])

    def mount(self, **arguments: "Any") -> None:
        """Attach one mount; see filesystem.mount."""
        filesystem.mount(self.tree, **arguments)

    def devices(self, nodes: "list[list[Any]]") -> None:
        """Make nodes; see filesystem.devices."""
        filesystem.devices(self.tree, nodes)

    def open_terminal(self, height: int = 0, width: int = 0, console: bool = True) -> None:
        """Open the container's terminal, send its master to the supervisor, keep the other side."""
        master, self.terminal = filesystem.terminal(self.tree, height, width)
        if console:
            filesystem.console(self.tree, self.terminal)
        socket.send_fds(self.channel, [b'{"terminal":true}'], [master])
        os.close(master)

    def sysctl(self, values: dict[str, str]) -> None:
        """Set kernel parameters; see filesystem.sysctl."""
        filesystem.sysctl(self.tree, values)

    def read_only(self, places: list[str]) -> None:
        """Make places read-only; see filesystem.read_only."""
        filesystem.read_only(self.tree, places)

    def mask(self, places: list[str]) -> None:
        """Hide places; see filesystem.mask."""
        filesystem.mask(self.tree, places)

    def pivot(self, readonly: bool, marker: bool) -> None:
        """Leave the host's files; see filesystem.pivot."""
        filesystem.pivot(self.tree, readonly, marker)

    def prepare_mounts(self, index: int, add: "live.Wanted", remove: "live.Wanted") -> None:
        """Make mounts for a running container as the namespace behind descriptor *index* shows their sources."""
        self.exchange = live.Exchange(self.handed[index], add, remove)

    def exchange_mounts(self, index: int) -> None:
        """Give them to the container behind the pidfd *index*; see live.Exchange."""
        self.exchange.carry_out(self.handed[index])

    def stdin_out_err(self) -> None:
        """Put the handed pipes, or the terminal, on descriptors 0, 1 and 2."""
        os.setsid()
        if self.terminal >= 0:
            pty.make_controlling(self.terminal)
        for number in (0, 1, 2):
            os.dup2(self.terminal if self.terminal >= 0 else self.stdio[number], number)

    def run(
        self,
        args: list[str],
        env: list[str],
        cwd: str,
        user: str = "",
        groups: "tuple[str, ...]" = (),
        capabilities: "dict[str, list[str]] | None" = None,
        no_new_privileges: bool = False,
        umask: int = 0o022,
        make_cwd: bool = True,
    ) -> None:
        """Become the container's process: identity, working folder, privileges, exec."""
        identity = process.who(user, list(groups))
        process.give_stdio(identity)
        process.working_folder(cwd, make_cwd)
        if self.filter and not no_new_privileges:
            seccomp.install(self.filter, self.filter_flags)
        process.become(identity, capabilities, no_new_privileges, umask)
        if self.filter and no_new_privileges:
            seccomp.install(self.filter, self.filter_flags)
        namespaces.set_parent_death_signal(0)
        process.execute(args, env, identity.home)


STEPS: "dict[str, Callable[..., None]]" = {
    "join": Child.join,
    "unshare": Child.unshare,
    "names": Child.names,
    "load_filter": Child.load_filter,
    "root": Child.root,
    "present_root": Child.present_root,
    "kit": Child.kit,
    "move_in": Child.move_in,
    "sources": Child.sources,
    "mount": Child.mount,
    "devices": Child.devices,
    "open_terminal": Child.open_terminal,
    "sysctl": Child.sysctl,
    "read_only": Child.read_only,
    "mask": Child.mask,
    "pivot": Child.pivot,
    "prepare_mounts": Child.prepare_mounts,
    "exchange_mounts": Child.exchange_mounts,
    "leave": lambda _: os._exit(0),
    "stdin_out_err": Child.stdin_out_err,
    "rlimits": lambda _, limits: process.rlimits(limits),
    "oom_score": lambda _, value: process.oom_score(value),
    "run": Child.run,
}


def describe(plan: "list[tuple[str, dict[str, Any]]]") -> str:
    """Return the plan as text, one numbered step a line."""
    lines = []
    for number, (name, arguments) in enumerate(plan, 1):
        words = " ".join(f"{key}={value!r}" for key, value in arguments.items())
        lines.append(f"{number:3} {name:14} {words}")
    return "\n".join(lines)


def carry_out(child: Child, plan: "list[tuple[str, dict[str, Any]]]") -> None:
    """Take each step; returns only by an exception, since the last one execs.

    Raises:
        StartError: a step failed; says which.
    """
    for name, arguments in plan:
        try:
            STEPS[name](child, **arguments)
        except KernelError as failure:
            raise StartError(f"{_subject(name, arguments)}{failure}") from failure
        except OSError as failure:
            raise StartError(f"{_subject(name, arguments)}{failure.strerror or failure}") from failure


def _subject(name: str, arguments: "dict[str, Any]") -> str:
    """Return what a failed step was about, for its error line."""
    if name == "mount":
        return f"mount {arguments.get('source')} at {arguments.get('target')}: "
    if name == "sources":  # says so itself
        return ""
    return f"{name}: "


def main(channel: socket.socket, message: bytes, descriptors: list[int], kit: Kit | None = None) -> None:
    """Run the plan in *message*; ends in exec or os._exit.

    Args:
        channel: Where to report; close-on-exec.
        message: JSON list of steps.
        descriptors: stdin, stdout, stderr, then those that steps name by index.
        kit: What was made while parked.
    """
    try:
        child = Child(channel, descriptors[:3], descriptors[3:], kit)
        carry_out(child, json.loads(message))
    except StartError as failure:
        report = {"error": str(failure), "exit_code": failure.exit_code}
    except BaseException as failure:  # noqa: BLE001 - nothing may escape from a forked child
        report = {"error": f"init: {type(failure).__name__}: {failure}", "exit_code": process.OTHER}
    try:
        channel.send(json.dumps(report).encode())
    finally:
        os._exit(process.NOT_FOUND)
