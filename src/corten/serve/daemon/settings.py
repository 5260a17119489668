"""Settings: what the daemon is told by its command line and environment, and the names that follow from it.

Several engines can live on one host: everything that is seen outside of the
state and run directories carries a name derived from them.
"""

import argparse
import hashlib
import os
import re
from dataclasses import dataclass

ROOT, RUN = "/var/lib/corten", "/run/corten"
REGISTRIES = "/etc/corten/registries.toml"
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)i?b?(?:/s)?", re.IGNORECASE)
_SCALE = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True)
class Settings:
    """Where the engine lives, when it leaves by itself, and what it is told about registries.

    Attributes:
        root: Folder of the state.
        run: Folder of sockets and pipes.
        idle_exit: Seconds without need until it leaves; 0 for never.
        debug: Log more.
        registries: File about registries; one that is absent says nothing.
        mirrors: Of Docker's registry, asked before it.
        insecure: Registries, or networks of such, that need no checked certificate.
        limit_rate: Bytes per second of all downloads; None for what the file says.
    """

    root: str
    run: str
    idle_exit: float = 0.0
    debug: bool = False
    registries: str = REGISTRIES
    mirrors: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()
    limit_rate: int | None = None

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
    _registry_flags(parser)
    given = parser.parse_args(argv)
    return Settings(
        root=os.path.abspath(given.root),
        run=os.path.abspath(given.run),
        idle_exit=given.idle_exit,
        debug=given.debug,
        registries=os.path.abspath(given.registries),
        mirrors=tuple(given.registry_mirror),
        insecure=tuple(given.insecure_registry),
        limit_rate=given.limit_rate,
    )


def _registry_flags(parser: argparse.ArgumentParser) -> None:
    """Declare what can be said about registries."""
    parser.add_argument(
        "--registries",
        default=REGISTRIES,
        metavar="FILE",
        help="settings of registries; certs.d is beside it",
    )
    parser.add_argument(
        "--registry-mirror", action="append", default=[], metavar="URL", help="mirror of Docker's registry"
    )
    parser.add_argument(
        "--insecure-registry",
        action="append",
        default=[],
        metavar="HOST",
        help="registry, or network of such, that needs no checked certificate",
    )
    parser.add_argument(
        "--limit-rate", type=rate, metavar="RATE", help="most bytes per second of all downloads, such as 10M"
    )


def rate(text: str) -> int:
    """Read bytes per second, such as ``500k`` or ``10MB/s``, in powers of 1024.

    Raises:
        ValueError: *text* is no rate.
    """
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"invalid rate {text!r}: give bytes per second, such as 500k or 10M")
    return int(float(found[1]) * _SCALE[found[2].lower()])
