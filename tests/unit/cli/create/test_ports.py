"""--publish and --expose."""

from typing import Any

import pytest

from corten.cli.create.ports import apply
from corten.cli.failure import Failure


def ports(publish: list[str], expose: list[str] | None = None) -> tuple[Any, Any]:
    """Bindings and exposed ports."""
    host: dict[str, Any] = {}
    body: dict[str, Any] = {}
    apply(publish, expose or [], host, body)
    return host.get("PortBindings"), body.get("ExposedPorts")


def binding(address: str, port: str) -> list[dict[str, str]]:
    """One binding."""
    return [{"HostIp": address, "HostPort": port}]


@pytest.mark.parametrize(
    ("text", "bindings"),
    [
        ("80", {"80/tcp": binding("", "")}),
        ("8080:80", {"80/tcp": binding("", "8080")}),
        ("53:53/udp", {"53/udp": binding("", "53")}),
        ("127.0.0.1:8080:80", {"80/tcp": binding("127.0.0.1", "8080")}),
        ("127.0.0.1::80", {"80/tcp": binding("127.0.0.1", "")}),
        ("[::1]:90:91", {"91/tcp": binding("::1", "90")}),
        ("::1:90:91", {"91/tcp": binding("::1", "90")}),
        ("[::]::91", {"91/tcp": binding("::", "")}),
        ("9000-9001:80-81", {"80/tcp": binding("", "9000"), "81/tcp": binding("", "9001")}),
        ("8000-8010:80", {"80/tcp": binding("", "8000-8010")}),
        ("target=80,published=8080,protocol=udp", {"80/udp": binding("", "8080")}),
    ],
)
def test_publishes(text: str, bindings: dict[str, Any]) -> None:
    """Address, host port, container port, protocol; what is published is exposed."""
    assert ports([text]) == (bindings, {port: {} for port in bindings})


def test_exposes() -> None:
    """Single ports and ranges."""
    assert ports([], ["80", "90-91/udp"]) == (None, {"80/tcp": {}, "90/udp": {}, "91/udp": {}})


def test_a_port_may_be_published_twice() -> None:
    """Both bindings are kept."""
    assert ports(["1:80", "2:80"])[0] == {"80/tcp": [*binding("", "1"), *binding("", "2")]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("99999:80", "invalid hostPort: 99999"),
        ("80:x", "invalid containerPort: x"),
        ("80:", "no port specified"),
        ("80/foo", "invalid proto: foo"),
        ("1-2:1-3", "invalid ranges specified"),
        ("2-1", "invalid containerPort: 2-1"),
        ("foo=1", "invalid port"),
        ("127.0.0.1:80", "invalid hostPort: 127.0.0.1"),
        ("1.2.3.400:80:80", "invalid IP address: 1.2.3.400"),
        ("[::x]:80:80", "invalid IP address: ::x"),
        ("[::1:80:80", "invalid IP address: "),
    ],
)
def test_refuses_what_is_no_port(text: str, message: str) -> None:
    """One line says what is wrong."""
    with pytest.raises(Failure, match=message):
        ports([text])
