"""corten port."""

from __future__ import annotations

import sys

from corten.cli.client import quote
from corten.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "List port mappings or a specific mapping for the container"
USAGE = "CONTAINER [PRIVATE_PORT[/PROTO]]"


def arguments(parser: Parser) -> None:
    """A container, and perhaps one of its ports."""
    parser.words(1, 2)


def run(client: Client, args: Values) -> int:
    """Print what ``NetworkSettings.Ports`` of GET /containers/{id}/json says."""
    name, *wanted = args.words
    found = client.get(f"/containers/{quote(name)}/json")["NetworkSettings"]["Ports"] or {}
    lines = _one(found, wanted[0], name) if wanted else _all(found)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _one(found: dict[str, Any], wanted: str, name: str) -> list[str]:
    """Where one port is published."""
    number, _, protocol = wanted.partition("/")
    if not (number.isdigit() and int(number) < 65536):
        raise Failure(
            f"Error: invalid port ({wanted}): write a number from 1 to 65535, and perhaps /tcp or /udp"
        )
    bindings = found.get(f"{int(number)}/{protocol.lower() or 'tcp'}")
    if not bindings:
        raise Failure(f"Error: No public port '{wanted}' published for {name}")
    return [_place(binding) for binding in bindings]


def _all(found: dict[str, Any]) -> list[str]:
    """Every port that is published, in the order of the numbers."""
    ports = sorted(found, key=lambda port: (int(port.partition("/")[0]), port))
    return [f"{port} -> {_place(binding)}" for port in ports for binding in found[port] or ()]


def _place(binding: dict[str, str]) -> str:
    address = binding["HostIp"]
    return f"{f'[{address}]' if ':' in address else address}:{binding['HostPort']}"
