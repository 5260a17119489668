"""What every test run shares: who may run what, the base image, and the check for leftovers.

Theory of the check. An engine that leaks does so quietly: a mount, a cgroup,
a process that nobody waits for. So the machine is looked at before the first
test and after the last one, and what is there more is a failure of the whole
run. Processes are told by a mark in their environment, which they inherit;
everything else is told by name, so that another run at the same time would be
blamed on this one. Each run therefore holds a shared lock: names count only
when no other run is at work at the end.
"""

import fcntl
import glob
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from corten.core.networks.guard import MARK as ROUTING_MARK

ROOT = Path(__file__).resolve().parents[1]
MARK = "CORTEN_TEST_RUN"
SETTLING = 10.0  # seconds that the kernel and background removals have
LINKS = ("ct", "corten", "br-")
FOLDERS = ("/run/corten*", "/var/lib/corten*", "/tmp/corten*")
NEEDS_ROOT = pytest.mark.skip(reason="needs root: run the tests as root")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs root where we are not root, and say so."""
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(NEEDS_ROOT)


@pytest.fixture(scope="session")
def debian_tar() -> Path:
    """A Debian image as ``corten save`` writes it; made by ``make image``."""
    path = Path(os.environ.get("CORTEN_TEST_IMAGE", ROOT / ".cache" / "debian.tar"))
    if not path.exists():
        pytest.skip(f"{path} is missing: run make image")
    return path


class Leftovers:
    """What was on the machine before the first test, and what is there more after the last."""

    def __init__(self) -> None:
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        os.environ[name] = value
        self._lock = os.open(__file__, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        self._before = _named_objects()
        self.found: list[str] = []
        self.doubtful: list[str] = []

    def look(self) -> None:
        """Compare, giving what is on its way out the time to go."""
        deadline = time.monotonic() + SETTLING
        while True:
            processes, objects = self._processes(), sorted(_named_objects() - self._before)
            if not (processes or objects) or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        self.found, self.doubtful = (processes + objects, []) if self._alone() else (processes, objects)

    def _alone(self) -> bool:
        """Return whether no other run is at work."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _processes(self) -> list[str]:
        """Return the processes that carry our mark, this one aside."""
        mark, own = self._mark.encode(), str(os.getpid())
        found = []
        for folder in glob.glob("/proc/[0-9]*"):
            try:
                marked = mark in Path(folder, "environ").read_bytes().split(b"\0")
                command = Path(folder, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if marked and not folder.endswith(f"/{own}"):
                found.append(f"process {folder.rpartition('/')[2]}: {command[:120]}")
        return found


def _named_objects() -> set[str]:
    """Return mounts, cgroups, links, firewall tables and folders with our name."""
    return {
        *_mounts(),
        *_cgroups(),
        *(f"link {name}" for name in os.listdir("/sys/class/net") if name.startswith(LINKS)),
        *_tables(),
        *_rules(),
        *(f"folder {path}" for pattern in FOLDERS for path in glob.glob(pattern)),
    }


def _mount_lines() -> list[list[str]]:
    """Return the fields of /proc/self/mountinfo; see proc_pid_mountinfo(5)."""
    return [line.split() for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]


def _mounts() -> Iterator[str]:
    """Yield the mounts that name us, each with its number, since one place can have several."""
    for fields in _mount_lines():
        if any("corten" in field for field in fields[3:]):
            yield f"mount {fields[4]} ({fields[0]})"


def _cgroups() -> Iterator[str]:
    """Yield the cgroups that name us, in every hierarchy, down to the third level."""
    tops = [fields[4] for fields in _mount_lines() if fields[fields.index("-") + 1] in ("cgroup", "cgroup2")]
    for top in tops:
        for depth in ("/", "/*/", "/*/*/"):
            yield from (f"cgroup {path}" for path in glob.glob(f"{top}{depth}corten*") if os.path.isdir(path))


def _tables() -> Iterator[str]:
    """Yield the firewall tables that name us."""
    program = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin")
    if program is None or os.geteuid() != 0:
        return
    listed = subprocess.run([program, "list", "tables"], capture_output=True, text=True, check=False)
    yield from (line for line in listed.stdout.splitlines() if "corten" in line)


def _rules() -> Iterator[str]:
    """Yield the routing rules that keep containers closed, by the mark that all of them are made for."""
    program = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin")
    for family in ("-4", "-6") if program else ():
        listed = subprocess.run([program or "", family, "rule"], capture_output=True, text=True, check=False)
        yield from (
            f"rule {family} {line}" for line in listed.stdout.splitlines() if f"{ROUTING_MARK:#x}" in line
        )


_LEFTOVERS = pytest.StashKey[Leftovers]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Look at the machine before the first test."""
    session.config.stash[_LEFTOVERS] = Leftovers()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look again after the last test; what is left fails the run."""
    leftovers = session.config.stash.get(_LEFTOVERS, None)
    if leftovers is None or session.config.option.collectonly:
        return
    leftovers.look()
    if leftovers.found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left behind."""
    leftovers = config.stash.get(_LEFTOVERS, None)
    if leftovers is None:
        return
    if leftovers.found:
        terminalreporter.section("left behind by the tests", red=True)
        terminalreporter.write_line("\n".join(leftovers.found))
    if leftovers.doubtful:
        terminalreporter.section("came up during the run, while another run was at work")
        terminalreporter.write_line("\n".join(leftovers.doubtful))
