"""Published ports against the real kernel: who reaches them, by which address, and who the service sees."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from corten.core.networks.firewall.firewall import Firewall
from corten.core.networks.firewall.state import Opening, Side
from tests.kernel.isolated import NEEDS, eventually, isolated
from tests.kernel.neighbourhood import (
    HOST,
    HOST2,
    HOST6,
    HOST6_2,
    NEIGHBOUR,
    NEIGHBOUR6,
    address,
    exchange,
    host,
    opening,
    reached,
    service,
    side,
)

pytestmark = [*NEEDS, pytest.mark.slow]

PORT = 8080
PROTOCOLS = pytest.mark.parametrize("protocol", ["tcp", "udp"])
VERSIONS = pytest.mark.parametrize("version", [4, 6])
BRIDGED = pytest.mark.parametrize("filter_bridged", [True, False])

ALL = {4: "0.0.0.0", 6: "::"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
HOSTS = {4: (HOST, HOST2), 6: (HOST6, HOST6_2)}
NEIGHBOURS = {4: NEIGHBOUR, 6: NEIGHBOUR6}


@contextmanager
def firewall(*openings: Opening, sides: tuple[Side, ...] = (side(1), side(2))) -> Iterator[Firewall]:
    """A firewall in force."""
    made = Firewall("corten_test")
    try:
        made.restore(sides, {"web": openings})
        yield made
    finally:
        made.remove()
        made.close()


@isolated
@PROTOCOLS
@VERSIONS
def test_published_on_all_addresses(protocol: str, version: int) -> None:
    """Outside, host and other networks reach it by every address of the host; each is seen as who it is."""
    own, second = HOSTS[version]
    with (
        host(1, 2) as around,
        firewall(opening(protocol, ALL[version], PORT)),
        service(around.containers[1, 2], protocol, version) as server,
    ):
        for target in HOSTS[version]:
            assert exchange(server, around.outside, protocol, target, PORT) == NEIGHBOURS[version]
        assert exchange(server, None, protocol, own, PORT) in HOSTS[version]
        assert exchange(server, None, protocol, second, PORT) in HOSTS[version]
        gateway = address(1, 1, version)
        assert exchange(server, None, protocol, LOOPBACK[version], PORT) == gateway
        other = around.containers[2, 2]
        assert exchange(server, other, protocol, own, PORT) == address(2, 2, version)
        assert exchange(server, other, protocol, address(2, 1, version), PORT) == address(2, 2, version)


@isolated
@PROTOCOLS
@VERSIONS
@BRIDGED
def test_hairpin(protocol: str, version: int, filter_bridged: bool) -> None:
    """A container reaches a port of its own network, even its own port, by the host's address; the service sees the gateway."""
    own, _ = HOSTS[version]
    with (
        host(1, filter_bridged=filter_bridged) as around,
        firewall(opening(protocol, ALL[version], PORT)),
        service(around.containers[1, 2], protocol, version) as server,
    ):
        for number in (3, 2):
            seen = exchange(server, around.containers[1, number], protocol, own, PORT)
            assert seen == address(1, 1, version)


@isolated
@PROTOCOLS
@VERSIONS
def test_published_on_loopback(protocol: str, version: int) -> None:
    """Only the host itself reaches it, without any sysctl, and the answer comes from the address that was asked."""
    with (
        host(1, 2) as around,
        firewall(opening(protocol, LOOPBACK[version], PORT)),
        service(around.containers[1, 2], protocol, version) as server,
    ):
        for _ in range(3):
            assert exchange(server, None, protocol, LOOPBACK[version], PORT) == address(1, 1, version)
        for target in (*HOSTS[version], address(1, 1, version)):
            for client in (around.outside, around.containers[2, 2], around.containers[1, 3]):
                assert not reached(server, client, protocol, target, PORT)


@isolated
@PROTOCOLS
@VERSIONS
def test_published_on_one_address(protocol: str, version: int) -> None:
    """It answers at that address alone."""
    chosen, other = HOSTS[version]
    with (
        host(1, 2) as around,
        firewall(opening(protocol, chosen, PORT)),
        service(around.containers[1, 2], protocol, version) as server,
    ):
        assert exchange(server, around.outside, protocol, chosen, PORT) == NEIGHBOURS[version]
        assert exchange(server, None, protocol, chosen, PORT) in HOSTS[version]
        assert not reached(server, around.outside, protocol, other, PORT)
        assert not reached(server, None, protocol, LOOPBACK[version], PORT)


def asked(client: socket.socket, server: socket.socket, target: str) -> bool:
    """Send one question; tell whether *server* got it soon, and answered."""
    client.sendto(b"question", (target, PORT))
    server.settimeout(0.02)
    try:
        server.sendto(b"answer", server.recvfrom(100)[1])
    except TimeoutError:
        return False
    return True


@isolated
@VERSIONS
def test_client_that_never_stops_sending_follows_changes(version: int) -> None:
    """A UDP client with one socket gets no answer before, then that of the first container, then of the second."""
    own, _ = HOSTS[version]
    with (
        host(1) as around,
        firewall() as made,
        service(around.containers[1, 2], "udp", version) as first,
        service(around.containers[1, 3], "udp", version) as second,
        service(around.outside, "udp", version, 5555) as client,
    ):
        client.sendto(b"to nobody", (own, PORT))
        for server, number in ((first, 2), (second, 3)):
            made.publish("web", [opening("udp", ALL[version], PORT, 1, number)])
            assert eventually(partial(asked, client, server, own))
            assert client.recvfrom(100)[1][:2] == (own, PORT)
