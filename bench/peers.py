"""The engines that measurements compare, each on folders of its own, and what is measured of any of them."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
CORTEN = str(HERE.parent / ".venv" / "bin" / "corten")
_TICKS = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """What one command took: seconds of the clock, of all processors, and MB at the highest."""

    wall: float
    cpu: float
    peak: float


class Peer:
    """An engine that is driven by its command line."""

    def __init__(
        self,
        name: str,
        command: list[str],
        pids: Callable[[], list[int]],
        options: tuple[str, ...] = (),
        removal: tuple[str, ...] = ("rm", "-f"),
    ) -> None:
        self.name, self.command, self.pids, self.options = name, command, pids, options
        self.removal = removal

    def run(self, *arguments: str) -> str:
        """Run one command; its output."""
        words = [arguments[0], *(self.options if arguments[0] == "run" else ()), *arguments[1:]]
        result = subprocess.run([*self.command, *words], capture_output=True, text=True, check=False)
        if result.returncode:
            raise RuntimeError(f"{self.name} {' '.join(arguments)}: {result.stderr.strip()}")
        return result.stdout.strip()

    def cost(self, *arguments: str) -> Cost:
        """Run one command; what client and engine took together."""
        pids = self.pids()
        for pid in pids:
            _reset_peak(pid)
        before, begin = sum(map(_cpu, pids)), time.perf_counter()
        client = subprocess.Popen(
            [*self.command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert client.stderr is not None
        said = client.stderr.read()
        _, status, usage = os.wait4(client.pid, 0)
        wall = time.perf_counter() - begin
        client.returncode = os.waitstatus_to_exitcode(status)
        client.stderr.close()
        if status:
            raise RuntimeError(f"{self.name} {' '.join(arguments)}: {said.strip()[-300:]}")
        now = self.pids()
        cpu = usage.ru_utime + usage.ru_stime + sum(map(_cpu, now)) - before
        return Cost(wall, cpu, usage.ru_maxrss / 1024 + sum(map(_peak, now)))


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that *work* takes."""
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1000


@contextmanager
def corten(folder: Path, archive: str) -> Iterator[Peer]:
    """An engine of ours on a folder of its own."""
    root, run = str(folder / "root"), str(folder / "run")
    command = [CORTEN, "--root", root, "--run", run]
    subprocess.run([*command, "load", "-q", "-i", archive], check=True, stdout=subprocess.DEVNULL)
    try:
        yield Peer("corten", command, lambda: holders(run))
    finally:
        subprocess.run([*command, "system", "reset", "-f"], check=True)


def holders(run: str) -> list[int]:
    """Process numbers of daemon, supervisor and parked children of the engine at *run*."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                line = Path(f"/proc/{entry}/cmdline").read_bytes()
            except OSError:
                continue
            if run.encode() in line and b"corten.serve.daemon" in line:
                found.append(int(entry))
    return found


@contextmanager
def dockerd(folder: Path, archive: str) -> Iterator[Peer | None]:
    """Debian's dockerd, if it is installed, on a folder of its own."""
    program = shutil.which("dockerd")
    if program is None or shutil.which("docker") is None:
        yield None
        return
    host = f"unix://{folder}/docker.sock"
    log = (folder / "dockerd.log").open("wb")
    options = ["-H", host, "--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")]
    process = subprocess.Popen([program, *options, "-p", str(folder / "pid")], stdout=log, stderr=log)
    command = ["docker", "-H", host]
    try:
        for _ in range(200):
            if subprocess.run([*command, "info"], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.1)
        else:
            print(f"  dockerd does not start here: {(folder / 'dockerd.log').read_text()[-300:]}")
            yield None
            return
        subprocess.run([*command, "load", "-q", "-i", archive], check=True, stdout=subprocess.DEVNULL)
        yield Peer("docker", command, lambda: descendants(process.pid))
    finally:
        process.terminate()
        process.wait()
        log.close()


def descendants(pid: int) -> list[int]:
    """*pid* and every process below it, containerd's shims included, which leave their parent."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            names[int(entry)] = fields[fields.index("(") + 1 : fields.rindex(")")]
            parents[int(entry)] = int(fields.rpartition(")")[2].split()[1])
    wanted = {pid}
    while more := {p for p, parent in parents.items() if parent in wanted and p not in wanted}:
        wanted |= more
    shims = {p for p, name in names.items() if name.startswith("containerd-shim")}
    return sorted(p for p in wanted | shims if names.get(p, "").startswith(("dockerd", "containerd")))


@contextmanager
def podman(folder: Path, archive: str) -> Iterator[Peer | None]:
    """Debian's podman, if it is installed."""
    program = shutil.which("podman")
    if program is None:
        yield None
        return
    command = [
        program,
        "--root",
        str(folder / "proot"),
        "--runroot",
        str(folder / "prun"),
        "--cgroup-manager=cgroupfs",
        "--runtime=runc",
    ]
    if subprocess.run([*command, "load", "-q", "-i", archive], capture_output=True, check=False).returncode:
        print("  podman does not work here")
        yield None
        return
    try:
        # without CAP_SYS_RESOURCE the high limits that it sets by itself are refused
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
        yield Peer("podman", command, conmons, limits, ("rm", "-f", "-t", "0"))
    finally:
        subprocess.run([*command, "rm", "-fa"], capture_output=True, check=False)


def conmons() -> list[int]:
    """The monitors that podman leaves, one per container."""
    found = subprocess.run(["pgrep", "-x", "conmon"], capture_output=True, text=True, check=False).stdout
    return [int(pid) for pid in found.split()]


def proportional(pids: list[int]) -> float:
    """Memory of processes in MB, each shared page counted by its share; see proc_pid_smaps(5)."""
    total = 0
    for pid in pids:
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total / 1024


def _cpu(pid: int) -> float:
    """Seconds of processor time of a process and of its children that it has waited for; see proc_pid_stat(5)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def _reset_peak(pid: int) -> None:
    """Let VmHWM begin anew; see proc_pid_clear_refs(5)."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError:
        return


def _peak(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
