"""Where the engine lives: the state, the sockets, and which daemon to speak with."""

from __future__ import annotations

import posix

from corten.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = "/var/lib/corten"
RUN = "/run/corten"


class Place:
    """The engine that a command speaks with.

    Attributes:
        root: Folder of the state.
        run: Folder of sockets and logs of the running engine.
        socket: Path of the socket to connect to.
        own: The socket is the one of *run*: a daemon may be started for it.
        debug: Show what is usually left out, such as tracebacks.
    """

    __slots__ = ("debug", "own", "root", "run", "socket")

    def __init__(self, root: str = "", run: str = "", host: str = "", *, debug: bool = False) -> None:
        """Take what is given, then the environment, then the defaults.

        Raises:
            Failure: *host* is not the address of a Unix socket.
        """
        env: Mapping[bytes, bytes] = posix.environ
        self.root = _absolute(root or _variable(env, b"CORTEN_ROOT") or ROOT)
        self.run = _absolute(run or _variable(env, b"CORTEN_RUN") or RUN)
        standard = self.run + "/corten.sock"
        if not run:  # a run folder that was typed names its own socket
            host = host or _variable(env, b"CORTEN_HOST")
        self.socket = _path(host) if host else standard
        self.own = self.socket == standard
        self.debug = debug


def _variable(env: Mapping[bytes, bytes], name: bytes) -> str:
    return env.get(name, b"").decode("utf-8", "surrogateescape")


def _absolute(path: str) -> str:
    whole = path if path.startswith("/") else f"{posix.getcwd()}/{path}"
    return whole.rstrip("/") or "/"


def _path(host: str) -> str:
    scheme, mark, rest = host.partition("://")
    if not mark and host.startswith("/"):
        return host
    if scheme != "unix" or not rest:
        raise Failure(
            f"cannot use the host {host!r}: corten listens on Unix sockets, for example unix:///run/corten/corten.sock"
        )
    return _absolute(rest)
