"""corten version."""

from __future__ import annotations

import posix
import sys

from corten.cli.about import version
from corten.cli.client import VERSION
from corten.cli.failure import Failure
from corten.cli.filters import FORMAT_ONE
from corten.cli.flags import STRING
from corten.cli.output import compiled
from corten.cli.wire import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Show the version of client and daemon"
USAGE = "[OPTIONS]"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # uname(2) to OCI


def arguments(parser: Parser) -> None:
    """How to show it."""
    parser.words(0, 0)
    parser.flag("format", STRING, FORMAT_ONE, short="f")


def run(client: Client, args: Values) -> int:
    """GET /version; the client's part is shown also when no daemon answers."""
    render = dumps if args.format == "json" else compiled(args.format) if args.format else text
    problem, server = None, None
    try:
        server = client.get("/version")
    except Failure as error:
        problem = error
    sys.stdout.write(render({"Client": _client(), "Server": server}) + "\n")
    if problem:
        raise problem
    return 0


def _client() -> dict[str, Any]:
    machine = posix.uname().machine
    return {
        "Version": version(),
        "ApiVersion": VERSION.removeprefix("/v"),
        "PythonVersion": sys.version.partition(" ")[0],
        "Os": "linux",
        "Arch": ARCHITECTURES.get(machine, machine),
    }


def text(both: dict[str, Any]) -> str:
    """The versions for people."""
    client, server = both["Client"], both["Server"]
    lines = ["Client:", *_lines(client)]
    if server:
        lines += ["", f"Server: {(server.get('Platform') or {}).get('Name', '')}".rstrip(), *_lines(server)]
    return "\n".join(lines)


def _lines(part: dict[str, Any]) -> list[str]:
    names = {
        "Version:": part.get("Version"),
        "API version:": part.get("ApiVersion"),
        "Python version:": part.get("PythonVersion"),
        "Git commit:": part.get("GitCommit"),
        "OS/Arch:": f"{part.get('Os')}/{part.get('Arch')}",
        "Kernel:": part.get("KernelVersion"),
    }
    return [f" {name:<18}{value}" for name, value in names.items() if value]
