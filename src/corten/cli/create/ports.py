"""``--publish`` and ``--expose``: ``[ip:][host[-end]:]container[-end][/protocol]``."""

from __future__ import annotations

import _socket

from corten.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROTOCOLS = ("tcp", "udp", "sctp")
HIGHEST = 65535


def apply(publish: list[str], expose: list[str], host: dict[str, Any], body: dict[str, Any]) -> None:
    """Write the ports into the bodies of the request.

    Raises:
        Failure: a port or a range makes no sense.
    """
    exposed: dict[str, Any] = {}
    bindings: dict[str, list[dict[str, str]]] = {}
    for text in publish:
        for port, binding in _published(text):
            exposed[port] = {}
            bindings.setdefault(port, []).append(binding)
    for text in expose:
        if ":" in text:
            raise Failure(f"invalid port format for --expose: {text}")
        ports, protocol = _protocol(text)
        first, last = _range(ports, "range format for --expose")
        exposed.update({f"{number}/{protocol}": {} for number in range(first, last + 1)})
    if exposed:
        body["ExposedPorts"] = exposed
    if bindings:
        host["PortBindings"] = bindings


def _published(text: str) -> list[tuple[str, dict[str, str]]]:
    """Each container port of one --publish with its binding."""
    rest, protocol = _protocol(_long_form(text) if "=" in text else text)
    rest, _, inner = rest.rpartition(":")
    address, _, outer = rest.rpartition(":")
    address = _address(address)
    if not inner:
        raise Failure(f"no port specified: {text}<empty>")
    first, last = _range(inner, "containerPort")
    if not outer:
        return [(f"{port}/{protocol}", _binding(address, "")) for port in range(first, last + 1)]
    start, end = _range(outer, "hostPort")
    if end - start != last - first:
        if first != last:
            raise Failure(f"invalid ranges specified for container and host Ports: {inner} and {outer}")
        return [(f"{first}/{protocol}", _binding(address, f"{start}-{end}"))]
    return [
        (f"{port}/{protocol}", _binding(address, str(start + port - first)))
        for port in range(first, last + 1)
    ]


def _address(text: str) -> str:
    """An address of the host, IPv6 in brackets or without; empty for all of them."""
    address = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        if address:
            _socket.inet_pton(_socket.AF_INET6 if ":" in address else _socket.AF_INET, address)
    except OSError:
        raise Failure(f"invalid IP address: {address}") from None
    return address


def _long_form(text: str) -> str:
    """``target=80,published=8080,protocol=tcp`` in the short form."""
    fields = {
        key.strip(): value.strip() for key, _, value in (part.partition("=") for part in text.split(","))
    }
    unknown = set(fields) - {"target", "published", "protocol", "mode"}
    if unknown or "target" not in fields:
        raise Failure(f"invalid port {text!r}: write target=PORT,published=PORT,protocol=tcp|udp|sctp")
    published = f"{fields['published']}:" if "published" in fields else ""
    return f"{published}{fields['target']}/{fields.get('protocol', 'tcp')}"


def _binding(address: str, port: str) -> dict[str, str]:
    return {"HostIp": address, "HostPort": port}


def _protocol(text: str) -> tuple[str, str]:
    ports, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in PROTOCOLS:
        raise Failure(f"invalid proto: {protocol}")
    return ports, protocol


def _range(text: str, what: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    numbers = (first, last or first)
    if not all(number.isdigit() and int(number) <= HIGHEST for number in numbers):
        raise Failure(f"invalid {what}: {text}")
    if int(numbers[1]) < int(numbers[0]):
        raise Failure(f"invalid {what}: {text}")
    return int(numbers[0]), int(numbers[1])
