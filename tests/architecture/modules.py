"""Which modules the two small programs load: ``python -m tests.architecture.modules`` writes the lists anew.

The command line's start and the supervisor's memory are budgets. What they
load is committed, so that a change of it is seen and meant.
"""

import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from tests.architecture.source import ROOT

HERE = Path(__file__).parent
SOURCE = str(ROOT / "src")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]"
PS = "import sys; sys.path.insert(0, sys.argv.pop(1)); from corten.cli.main import main; main()"
SUPERVISOR = "import sys; sys.path.insert(0, sys.argv.pop(1)); import corten.serve.daemon.supervisor"


def _loaded(*arguments: str) -> list[str]:
    """Return the modules that an isolated interpreter without site imports, in order of names."""
    command = [sys.executable, "-I", "-S", "-X", "importtime", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    names = {line.rpartition("|")[2].strip() for line in lines}
    return sorted(names - {"imported package"})


def _beyond_a_bare_interpreter(*arguments: str) -> list[str]:
    """Return what is loaded more than by a program that does nothing."""
    bare = set(_loaded("-c", "pass"))
    return [name for name in _loaded(*arguments) if name not in bare]


def of_supervisor() -> list[str]:
    """Return the modules of the supervisor."""
    return _beyond_a_bare_interpreter("-c", SUPERVISOR, SOURCE)


def of_cli() -> list[str]:
    """Return the modules of ``corten ps`` with a daemon that answers an empty list."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = f"{folder}/corten.sock"
        listener.bind(path)
        listener.listen()
        listener.settimeout(30)
        daemon = threading.Thread(target=_answer, args=(listener,))
        daemon.start()
        try:
            return _beyond_a_bare_interpreter("-c", PS, SOURCE, "--host", f"unix://{path}", "ps")
        finally:
            daemon.join()


def _answer(listener: socket.socket) -> None:
    """Answer every request of one client."""
    connection, _ = listener.accept()
    with connection:
        while connection.recv(65536):
            connection.sendall(ANSWER)


LISTS = {"modules_cli.txt": of_cli, "modules_supervisor.txt": of_supervisor}


def main() -> None:
    """Write the lists."""
    for name, found in LISTS.items():
        (HERE / name).write_text("".join(f"{module}\n" for module in found()), encoding="utf-8")


if __name__ == "__main__":
    main()
