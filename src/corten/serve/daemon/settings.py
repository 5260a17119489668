"""Settings: what the daemon is told by its command line and environment, and the names that follow from it.

Several engines can live on one host: everything that is seen outside of the
state and run directories carries a name derived from them.
"""

import argparse
import hashlib
import os
from dataclasses import dataclass

ROOT, RUN = "/var/lib/corten", "/run/corten"


@dataclass(frozen=True)
class Settings:
    """Where the engine lives, and when it leaves by itself (``idle_exit`` in seconds, 0 for never)."""

    root: str
    run: str
    idle_exit: float = 0.0
    debug: bool = False

    @property
    def suffix(self) -> str:
        """Return what tells this engine's kernel objects from another's; empty for the default places."""
        if (self.root, self.run) == (ROOT, RUN):
            return ""
        return hashlib.sha256(f"{self.root}\0{self.run}".encode()).hexdigest()[:8]

    @property
    def tag(self) -> str:
        """Return the name of the cgroup folder, and the tag of links."""
        return f"corten-{self.suffix}" if self.suffix else "corten"

    @property
    def bridge(self) -> str:
        """Return the name of the default bridge's link, at most 15 characters."""
        return f"ctbr{self.suffix}" if self.suffix else "corten0"

    @property
    def table(self) -> str:
        """Return the name of the nftables table."""
        return self.tag.replace("-", "_")


def parse(argv: list[str]) -> Settings:
    """Read the command line; what it leaves out comes from CORTEN_ROOT and CORTEN_RUN."""
    parser = argparse.ArgumentParser(
        prog="corten daemon", description="Run the corten engine in the foreground."
    )
    parser.add_argument("--root", default=os.environ.get("CORTEN_ROOT", ROOT), help="state directory")
    parser.add_argument("--run", default=os.environ.get("CORTEN_RUN", RUN), help="run directory")
    parser.add_argument(
        "--idle-exit", type=float, default=0.0, metavar="SECONDS", help="leave when nobody needs the engine"
    )
    parser.add_argument("-D", "--debug", action="store_true", help="log more")
    given = parser.parse_args(argv)
    return Settings(os.path.abspath(given.root), os.path.abspath(given.run), given.idle_exit, given.debug)
