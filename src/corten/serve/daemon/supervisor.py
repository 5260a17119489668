"""The supervisor's entry: wires the log store's writer into it; see core/runtime/supervisor/main.py.

Started as ``PYTHON -I -S -c BOOT LIBRARY RUN PREFIX``; standard library and corten.linux only.
"""

import os
import sys

from corten.core.logs.writer import LogWriter
from corten.core.runtime.supervisor.main import reexec_read_only, serve

BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from corten.serve.daemon.supervisor import main; main()"


def command(interpreter: str, library: str, run: str, prefix: str) -> list[str]:
    """Return how to start the supervisor.

    Args:
        interpreter: Path of the Python program.
        library: Folder that holds the package.
        run: The engine's run directory.
        prefix: Folder of the engine's cgroups.
    """
    return [interpreter, "-I", "-S", "-c", BOOT, library, run, prefix]


def main() -> None:
    """Be the supervisor."""
    library, run, prefix = sys.argv[1:4]
    reexec_read_only(command(sys.executable, library, run, prefix), dict(os.environ))
    serve(run, prefix, LogWriter)
