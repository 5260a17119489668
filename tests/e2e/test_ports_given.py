"""Published ports as users give them: ranges, ``-P``, free ones, taken ones, several addresses; and what becomes of them.

The engine's host has two neighbours (``hosts``); the outside one asks.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import docker
import pytest

from tests.e2e.conftest import until
from tests.e2e.hosts import (
    HOST,
    HOST2,
    HOST6,
    KINDS,
    OUTSIDE,
    OUTSIDE6,
    Neighbours,
    ask,
    idler,
    neighbours,
    network,
    pid_of,
    refused,
    service,
    silent,
    started,
)
from tests.e2e.tools import unique
from tests.kernel.isolated import inside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module")
def around(engine: Engine) -> Iterator[Neighbours]:
    """The neighbours of the engine's host."""
    with neighbours(engine) as made:
        yield made


def ports_of(engine: Engine, name: str) -> dict[str, list[str]]:
    """Return the places of each published port, as ``docker port`` tells them, of IPv4 alone."""
    found: dict[str, list[str]] = {}
    for line in engine.docker("port", name).stdout.splitlines():
        port, _, where = line.partition(" -> ")
        if not where.startswith("["):
            found.setdefault(port, []).append(where)
    return found


def test_ranges(engine: Engine, around: Neighbours) -> None:
    """A range maps one to one; one port to a range takes a free one; two at once take different ones."""
    flags = ("-p", "9000-9002:80-82", "-p", "127.0.0.1:9000-9002:80-82/udp")
    with service(engine, *flags, ports=(80, 81, 82)) as name:
        assert ports_of(engine, name) == {
            **{f"{80 + number}/tcp": [f"0.0.0.0:{9000 + number}"] for number in range(3)},
            **{f"{80 + number}/udp": [f"127.0.0.1:{9000 + number}"] for number in range(3)},
        }
        for number in range(3):
            assert ask(around.outside, "tcp", HOST, 9000 + number) == f"{name} {OUTSIDE}"
            assert ask(engine.netns, "udp", "127.0.0.1", 9000 + number).startswith(name)
            assert silent(around.outside, "udp", HOST, 9000 + number)
    with idler(engine, "-p", "9000-9001:80") as first, idler(engine, "-p", "9000-9001:80") as second:
        assert ports_of(engine, first) == {"80/tcp": ["0.0.0.0:9000"]}
        assert ports_of(engine, second) == {"80/tcp": ["0.0.0.0:9001"]}
        line = refused(engine, 125, "run", "--rm", "-p", "9000-9001:80", "debian", "true")
        assert line == "Bind for 0.0.0.0:9000-9001 failed: all ports are allocated: choose another range"


def test_all_exposed_ports(engine: Engine, around: Neighbours) -> None:
    """``-P`` publishes what is exposed, ranges and udp too, at ports of the kernel's choice, which answer."""
    with service(engine, "-P", "--expose", "80", "--expose", "81-82/udp", ports=(80, 81, 82)) as name:
        ports = ports_of(engine, name)
        assert set(ports) == {"80/tcp", "81/udp", "82/udp"}
        for port, (where,) in ports.items():
            number = int(where.removeprefix("0.0.0.0:"))
            assert number >= 1024
            assert ask(around.outside, port.partition("/")[2], HOST, number) == f"{name} {OUTSIDE}"


def test_an_ephemeral_port(engine: Engine, around: Neighbours) -> None:
    """``-p 80`` and ``-p 127.0.0.1::80`` take free ports, the same for both families where there are both."""
    with (
        network(engine, "--ipv6") as own,
        service(engine, "--network", own, "-p", "80", "-p", "127.0.0.1::81", ports=(80, 81)) as name,
    ):
        ports = ports_of(engine, name)
        number = int(ports["80/tcp"][0].removeprefix("0.0.0.0:"))
        assert ask(around.outside, "tcp", HOST6, number) == f"{name} {OUTSIDE6}"
        assert ask(around.outside, "tcp", HOST, number) == f"{name} {OUTSIDE}"
        local = int(ports["81/tcp"][0].removeprefix("127.0.0.1:"))
        assert ask(engine.netns, "tcp", "127.0.0.1", local).startswith(name)
        assert silent(around.outside, "tcp", HOST, local)


def test_a_port_in_use_by_a_container(engine: Engine, around: Neighbours) -> None:
    """It is refused with the owner's name; the container stays created, and starts when the port is free."""
    name = unique()
    with idler(engine, "-p", "9100:80/udp") as owner:
        line = refused(
            engine, 125, "run", "-d", "--name", name, "-p", "9100:80/udp", "debian", "sleep", "1000"
        )
        assert line.startswith("Bind for 0.0.0.0:9100 failed: port is already allocated")
        assert owner in line
        assert refused(engine, 1, "start", name).startswith("Bind for 0.0.0.0:9100 failed")
    try:
        engine.docker("start", name)
        assert ports_of(engine, name) == {"80/udp": ["0.0.0.0:9100"]}
    finally:
        engine.docker("rm", "-f", name)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_port_in_use_by_a_program(engine: Engine, protocol: str) -> None:
    """A program of the host that has the port is named; what is published is not free for programs either."""

    def bind(port: int) -> socket.socket:
        made = socket.socket(socket.AF_INET, KINDS[protocol])
        try:
            made.bind(("127.0.0.1", port))
            if protocol == "tcp":
                made.listen()
        except BaseException:
            made.close()
            raise
        return made

    with inside(engine.netns, lambda: bind(9200)):
        line = refused(engine, 125, "run", "--rm", "-p", f"9200:80/{protocol}", "debian", "true")
        assert "9200" in line
        assert "process" in line
    with idler(engine, "-p", f"9200:80/{protocol}"), pytest.raises(OSError, match="in use"):
        inside(engine.netns, lambda: bind(9200))
    inside(engine.netns, lambda: bind(9200)).close()


def test_an_address_that_is_not_the_hosts(engine: Engine, around: Neighbours) -> None:
    """It cannot be published on; the line names it."""
    assert "192.0.2.99" in refused(engine, 125, "run", "--rm", "-p", "192.0.2.99:9300:80", "debian", "true")


def test_the_same_port_on_two_addresses(engine: Engine, around: Neighbours) -> None:
    """Two containers share a port's number where each has an address of its own."""
    with service(engine, "-p", f"{HOST}:9400:80") as one, service(engine, "-p", f"{HOST2}:9400:80") as two:
        assert ask(around.outside, "tcp", HOST, 9400) == f"{one} {OUTSIDE}"
        assert ask(around.outside, "tcp", HOST2, 9400) == f"{two} {OUTSIDE}"
        assert one in refused(engine, 125, "run", "--rm", "-p", f"{HOST}:9400:80", "debian", "true")


def test_ports_follow_stop_and_start(engine: Engine, around: Neighbours) -> None:
    """A stopped container's port is silent and free; started again it answers there, at whatever address it has."""
    with service(engine, "-p", "9500:80") as name:
        assert ask(around.outside, "tcp", HOST, 9500) == f"{name} {OUTSIDE}"
        engine.docker("stop", "-t", "5", name)
        assert silent(around.outside, "tcp", HOST, 9500)
        assert engine.docker("port", name).stdout == ""
        with service(engine, "-p", "9500:80") as other:
            assert ask(around.outside, "tcp", HOST, 9500) == f"{other} {OUTSIDE}"
        with idler(engine):  # likely to get the address that was given back
            engine.docker("start", name)
            until(lambda: not silent(around.outside, "tcp", HOST, 9500), "the service to answer")
            assert ask(around.outside, "tcp", HOST, 9500) == f"{name} {OUTSIDE}"


def test_ports_follow_the_networks(engine: Engine, around: Neighbours) -> None:
    """A living container that moves to another network keeps its ports; without any, they are silent."""
    with (
        network(engine, "--ipv6") as first,
        network(engine) as second,
        service(engine, "--network", first, "-p", "9600:80") as name,
    ):
        pid = pid_of(engine, name)
        assert ask(around.outside, "tcp", HOST6, 9600) == f"{name} {OUTSIDE6}"
        engine.docker("network", "connect", second, name)
        engine.docker("network", "disconnect", first, name)
        assert ask(around.outside, "tcp", HOST, 9600) == f"{name} {OUTSIDE}"
        engine.docker("network", "disconnect", second, name)
        assert silent(around.outside, "tcp", HOST, 9600)
        engine.docker("network", "connect", first, name)
        assert ask(around.outside, "tcp", HOST, 9600) == f"{name} {OUTSIDE}"
        assert pid_of(engine, name) == pid


def test_docker_py_publishes(engine: Engine, around: Neighbours) -> None:
    """Numbers, pairs, lists and None of the Python client's ``ports`` mean what they mean with Docker."""
    client = docker.DockerClient(base_url=engine.environment["DOCKER_HOST"], timeout=30)
    wanted = {"80/tcp": 9801, "81/udp": ("127.0.0.1", 9802), "82/tcp": [9803, 9804], "83/tcp": None}
    made = client.containers.run("debian", ["sleep", "1000"], detach=True, ports=wanted)
    try:
        made.reload()
        found = {port: sorted(int(p["HostPort"]) for p in places) for port, places in made.ports.items()}
        (chosen,) = found.pop("83/tcp")
        assert chosen >= 1024
        assert found == {"80/tcp": [9801], "81/udp": [9802], "82/tcp": [9803, 9804]}
        assert made.ports["81/udp"] == [{"HostIp": "127.0.0.1", "HostPort": "9802"}]
    finally:
        made.remove(force=True)
        client.close()


def test_a_restarted_container_keeps_its_port(engine: Engine, around: Neighbours) -> None:
    """``docker restart`` leaves a port that the user chose where it was, and it answers again."""
    with service(engine, "-p", "9900:80") as name:
        engine.docker("restart", "-t", "5", name)
        until(lambda: not silent(around.outside, "tcp", HOST, 9900), "the service to answer")
        assert ask(around.outside, "tcp", HOST, 9900) == f"{name} {OUTSIDE}"


@pytest.mark.parametrize("text", ["99999:80", "80:99999", "abc:80", "9000-8000:80", "80:80/icmp"])
def test_ports_that_cannot_be(engine: Engine, text: str) -> None:
    """The API refuses a published port that makes no sense, with 400 and one line."""
    host, _, port = text.partition(":")
    bindings = {port if "/" in port else f"{port}/tcp": [{"HostPort": host}]}
    body = {"Image": "debian", "HostConfig": {"PortBindings": bindings}}
    status, answer = engine.api("POST", "/containers/create", body)
    assert status == 400, answer
    assert len(answer["message"].splitlines()) == 1


def test_sctp_is_published(engine: Engine) -> None:
    """A port of sctp is listed as one; whether it carries anything is up to the kernel."""
    with started(engine, "-p", "9950:80/sctp", "debian", "sleep", "1000") as name:
        assert ports_of(engine, name) == {"80/sctp": ["0.0.0.0:9950"]}


def test_where_a_network_publishes(engine: Engine, around: Neighbours) -> None:
    """A network's ``host_binding_ipv4`` is where ports are published that name no address."""
    with (
        network(engine, "-o", "com.docker.network.bridge.host_binding_ipv4=127.0.0.1") as own,
        service(engine, "--network", own, "-p", "9970:80", "-p", f"{HOST}:9971:80") as name,
    ):
        assert ports_of(engine, name) == {"80/tcp": ["127.0.0.1:9970", f"{HOST}:9971"]}
        assert silent(around.outside, "tcp", HOST, 9970)
        assert ask(around.outside, "tcp", HOST, 9971) == f"{name} {OUTSIDE}"
        assert ask(engine.netns, "tcp", "127.0.0.1", 9970).startswith(name)
