"""corten info."""

from __future__ import annotations

import sys

from corten.cli.about import version
from corten.cli.filters import FORMAT_ONE
from corten.cli.flags import STRING
from corten.cli.human import binary_size
from corten.cli.output import compiled
from corten.cli.wire import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Display what the engine and its host can do"
USAGE = "[OPTIONS]"
# label, field of the API; a label that begins with a space belongs to the one above
FIELDS = (
    ("Containers", "Containers"),
    (" Running", "ContainersRunning"),
    (" Paused", "ContainersPaused"),
    (" Stopped", "ContainersStopped"),
    ("Images", "Images"),
    ("Server Version", "ServerVersion"),
    ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
    ("Default Runtime", "DefaultRuntime"),
    ("Init Binary", "InitBinary"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Total Memory", "MemTotal"),
    ("Name", "Name"),
    ("ID", "ID"),
    ("Docker Root Dir", "DockerRootDir"),
)


def arguments(parser: Parser) -> None:
    """How to show it."""
    parser.words(0, 0)
    parser.flag("format", STRING, FORMAT_ONE, short="f")


def run(client: Client, args: Values) -> int:
    """GET /info."""
    facts = client.get("/info")
    if args.format:
        render = dumps if args.format == "json" else compiled(args.format)
        sys.stdout.write(render(facts) + "\n")
        return 0
    lines = ["Client:", f" Version:    {version()}", "", "Server:", *(f" {line}" for line in _lines(facts))]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stderr.write("".join(f"{warning}\n" for warning in facts.get("Warnings") or []))
    return 0


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    for label, field in FIELDS:
        value = facts.get(field)
        if value in (None, ""):
            continue
        yield f"{label}: {binary_size(value) if field == 'MemTotal' else value}"
        if field == "Driver":
            yield from (f" {name}: {said}" for name, said in facts.get("DriverStatus") or [])
    for option in facts.get("SecurityOptions") or []:
        yield f"Security Option: {option}"
    found = facts.get("Corten") or {}
    if found:
        yield "Found on this machine:"
    for what, how in found.items():
        yield f" {what}: {how}"
