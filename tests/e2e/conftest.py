"""An engine of its own for the tests of a file, driven by the real ``docker`` client, and looked after to the end.

Each engine lives in a temporary folder and in a network namespace of its own,
so that neither another engine nor the host's network is ever touched. When it
is done with, ``corten system reset`` has to leave nothing: no process, cgroup,
link, firewall table, mount or file.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from corten.linux import cgroups
from corten.serve.daemon.settings import Settings
from tests.e2e.images import ROOT_ROW, Tree, shell_parts
from tests.e2e.tools import ALONE, FOREVER, container
from tests.kernel.isolated import new_namespace

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Callable, Iterator
    from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = REPOSITORY / ".venv" / "bin"
DEADLINE = 20.0  # seconds until a daemon has to answer, or a process to be gone
PAUSE = 0.005  # seconds between two looks


class Engine:
    """One engine: its folders, its daemon, and the clients that talk to it.

    ``environment`` is what a client needs to find it; ``netns`` the descriptor of
    the network namespace that the daemon lives in.
    """

    def __init__(self) -> None:
        self.base = tempfile.mkdtemp(prefix="corten-t", dir="/tmp")  # short: a socket's path has 107 bytes
        self.root, self.run = f"{self.base}/root", f"{self.base}/run"
        self.socket = f"{self.run}/corten.sock"
        self.settings = Settings(self.root, self.run)
        self.netns = new_namespace()
        self.daemon: subprocess.Popen[bytes] | None = None
        os.mkdir(f"{self.base}/docker")
        self.environment = {
            **os.environ,
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": f"{self.base}/docker",
            "CORTEN_ROOT": self.root,
            "CORTEN_RUN": self.run,
        }

    # the daemon and the supervisor

    def start(self, *flags: str) -> None:
        """Start the daemon and wait until it answers."""
        with open(f"{self.base}/daemon.log", "ab") as log:
            self.daemon = subprocess.Popen(
                [*self._inside, BIN / "corten", "daemon", *flags],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._answers, "the daemon to answer")

    def _answers(self) -> bool:
        assert self.daemon is not None
        assert self.daemon.poll() is None, f"the daemon has ended: {self.logs}"
        with suppress(OSError):
            return self.api("GET", "/_ping")[0] == 200
        return False

    @property
    def _inside(self) -> tuple[str, ...]:
        """What a command line begins with that shall run in the engine's network namespace."""
        return ("nsenter", f"--net=/proc/{os.getpid()}/fd/{self.netns}", "--")

    def kill_daemon(self, number: int = signal.SIGKILL) -> None:
        """Signal the daemon and wait for its end."""
        assert self.daemon is not None
        self.daemon.send_signal(number)
        self.daemon.wait(DEADLINE)

    def restart_daemon(self, number: int = signal.SIGTERM) -> None:
        """End the daemon by a signal, and start another one."""
        self.kill_daemon(number)
        self.start()

    @property
    def supervisor(self) -> int:
        """The supervisor's process id, 0 when there is none."""
        with suppress(FileNotFoundError, ValueError):
            pid = int(Path(self.run, "supervisor.lock").read_text(encoding="ascii"))
            if pid in self.pids:
                return pid
        return 0

    def kill_supervisor(self, number: int = signal.SIGKILL) -> None:
        """Signal the supervisor and wait until it is gone."""
        until(lambda: self.supervisor, "a supervisor to be there")  # one may be about to come
        pid = self.supervisor
        os.kill(pid, number)
        until(lambda: not is_alive(pid), "the supervisor to be gone")

    @property
    def pids(self) -> list[int]:
        """The processes that have the run directory in their command line: daemon, supervisor, parked children."""
        found = []
        for folder in glob.glob("/proc/[0-9]*"):
            with suppress(OSError):
                words = Path(folder, "cmdline").read_bytes()
                pid = int(folder.rpartition("/")[2])
                if self.run.encode() in words and b"corten.serve.daemon" in words and is_alive(pid):
                    found.append(pid)
        return sorted(found)

    @property
    def logs(self) -> str:
        """What daemon and supervisor have said."""
        text = ""
        for path in (f"{self.base}/daemon.log", f"{self.run}/supervisor.log"):
            with suppress(FileNotFoundError):
                text += Path(path).read_text(encoding="utf-8", errors="replace")
        return text

    # clients

    def docker(
        self,
        *args: str,
        check: bool = True,
        input: bytes | str | None = None,  # noqa: A002 - as subprocess.run names it
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[Any]:
        """Run the real docker client; output is text unless *input* is bytes."""
        if shutil.which("docker") is None:
            pytest.skip("the docker client is not installed")
        return self._client(("docker", *args), check, input, timeout)

    def corten(
        self,
        *args: str,
        check: bool = True,
        input: bytes | str | None = None,  # noqa: A002 - as subprocess.run names it
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[Any]:
        """Run our own client; output is text unless *input* is bytes."""
        return self._client((*self._inside, str(BIN / "corten"), *args), check, input, timeout)

    def _client(
        self, argv: tuple[str, ...], check: bool, data: bytes | str | None, timeout: float
    ) -> subprocess.CompletedProcess[Any]:
        done: subprocess.CompletedProcess[Any] = subprocess.run(
            argv,
            input=data,
            capture_output=True,
            text=not isinstance(data, bytes),
            timeout=timeout,
            env=self.environment,
            check=False,
        )
        assert not check or done.returncode == 0, f"{' '.join(argv)}: {done.returncode}: {done.stderr!r}"
        return done

    def api(
        self, method: str, path: str, body: object = None, file: Path | None = None, **query: str
    ) -> tuple[int, Any]:
        """Send one request; returns the status and the decoded answer.

        Args:
            method: Of HTTP.
            path: Without version.
            body: Sent as JSON.
            file: Sent as it is, instead of *body*.
            query: Of the address.
        """
        connection = _Connection(self.socket)
        address = f"{path}?{urlencode(query)}" if query else path
        try:
            if file is not None:
                headers = {"Content-Type": "application/x-tar", "Content-Length": str(file.stat().st_size)}
                with file.open("rb") as stream:
                    connection.request(method, address, stream, headers)
            else:
                text = None if body is None else json.dumps(body)
                connection.request(method, address, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(data) if data else None
        except ValueError:
            return answer.status, data

    def load(self, archive: Path) -> None:
        """Load an image archive."""
        status, answer = self.api("POST", "/images/load", file=archive, quiet="1")
        assert status == 200, answer

    def import_tree(self, tree: Path, name: str) -> None:
        """Make an image of a root tar."""
        status, answer = self.api("POST", "/images/create", file=tree, fromSrc="-", repo=name)
        assert status == 200, answer

    # the end

    def close(self) -> None:
        """Reset the engine; nothing may be left of it, and it may not have stumbled over an error of its own."""
        logs = self.logs
        try:
            self.corten("system", "reset", "-f")
            if self.daemon is not None:
                self.daemon.wait(DEADLINE)
            logs = self.logs if "Traceback" not in logs else logs
            assert self.leftovers() == []
            assert "Traceback" not in logs, logs
        finally:
            os.close(self.netns)
            shutil.rmtree(self.base, ignore_errors=True)

    def leftovers(self) -> list[str]:
        """Return what a reset should have removed."""
        return [
            *(f"process {pid}" for pid in self.pids),
            *(f"folder {path}" for path in (self.root, self.run) if os.path.exists(path)),
            *(f"cgroup {path}" for path in self.groups()),
            *(f"link {name}" for name in self.links()),
            *(f"table {line}" for line in self.tables()),
            *(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if self.base in line),
        ]

    def groups(self, below: str = "") -> list[str]:
        """Return the folders of the engine's cgroups, in every hierarchy."""
        layout = cgroups.probe()
        roots = {layout.unified, *layout.controllers.values()} - {None, ""}
        found = (f"{root}/{self.settings.tag}{below}" for root in sorted(map(str, roots)))
        return [path for pattern in found for path in glob.glob(pattern) if os.path.isdir(path)]

    def links(self) -> list[str]:
        """Return the engine's links that can be seen in its network namespace."""
        listed = json.loads(self.inside("ip", "-json", "link", "show"))
        return [link["ifname"] for link in listed if link["ifname"].startswith("ct")]

    def tables(self) -> list[str]:
        """Return the engine's firewall tables."""
        return [line for line in self.inside("nft", "list", "tables").splitlines() if "corten" in line]

    def inside(self, *argv: str) -> str:
        """Run a program in the engine's network namespace; returns what it said."""
        return subprocess.run([*self._inside, *argv], check=True, capture_output=True, text=True).stdout


class _Connection(HTTPConnection):
    """HTTP over the engine's socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def until(holds: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
    """Wait until *holds* is true; AssertionError when it never is."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(PAUSE)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
        return state not in (b"Z", b"X")
    return False


@contextmanager
def running_engine() -> Iterator[Engine]:
    """Lend an engine that has no image."""
    engine = Engine()
    try:
        engine.start()
        yield engine
    finally:
        engine.close()


@pytest.fixture(scope="session")
def image_archive() -> Path:
    """A Debian image as ``docker save`` writes it."""
    path = Path(os.environ.get("CORTEN_TEST_IMAGE", REPOSITORY / ".cache" / "debian.tar"))
    if not path.exists():
        pytest.fail(f"{path} is missing: run `make image`", pytrace=False)
    return path


@pytest.fixture(scope="module")
def engine(image_archive: Path) -> Iterator[Engine]:
    """An engine with the image ``debian``, for all tests of a file."""
    with running_engine() as engine:
        engine.load(image_archive)
        yield engine


@pytest.fixture
def fresh_engine(image_archive: Path) -> Iterator[Engine]:
    """An engine with the image ``debian``, for one test."""
    with running_engine() as engine:
        engine.load(image_archive)
        yield engine


@pytest.fixture(scope="session")
def shell(image_archive: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    """The parts of a tree that has a shell and a few tools: see images.Tree."""
    return shell_parts(image_archive)


@pytest.fixture(scope="session")
def small_tar(shell: list[tuple[tarfile.TarInfo, bytes]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root tar of a few megabytes with a shell, for engines that need an image quickly."""
    tree = Tree(shell).file("etc/passwd", ROOT_ROW).file("etc/group", "root:x:0:\n").folder("tmp", 0o1777)
    return tree.save(tmp_path_factory.mktemp("small") / "small.tar")


@pytest.fixture(scope="module")
def lasting(engine: Engine) -> Iterator[str]:
    """A container that runs as long as the tests of this file."""
    with container(engine, "debian", *FOREVER) as name:
        yield name


@pytest.fixture(params=["run", "exec"])
def inside(request: pytest.FixtureRequest, engine: Engine, lasting: str) -> tuple[str, ...]:
    """How a command line begins that runs something in a container as it is by default."""
    return ("exec", lasting) if request.param == "exec" else ("run", "--rm", *ALONE, "debian")
