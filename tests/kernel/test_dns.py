"""The name server in real network namespaces: where it answers, what it leaves free, whom it asks."""

import asyncio
import errno
import os
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from corten.core.networks.dns import rewrite, wire
from corten.core.networks.dns.forward import Forwarder
from corten.core.networks.dns.server import DnsServer
from corten.core.networks.dns.sockets import USUAL_PORT, Resolver, open_resolver
from corten.core.networks.dns.view import ADDRESS, Server, View
from corten.core.networks.files import resolver_conf
from corten.linux.netlink import Netlink, add_address, create_veth, set_link
from corten.linux.nftables import Nftables
from corten.linux.syscalls import KernelError
from tests.descriptors import open_descriptors
from tests.kernel.isolated import DEADLINE, NEEDS, eventually, inside, isolated, new_namespace
from tests.unit.core.networks.dns import oracle
from tests.unit.core.networks.dns.nameservers import Recording, Reply, always, framed

pytestmark = NEEDS

OURS = (ADDRESS, 53)
QUERY = oracle.ask("db")
WAYS = ["udp", "tcp"]


@contextmanager
def container() -> Iterator[int]:
    """A namespace with loopback up, by its descriptor."""
    namespace = new_namespace()
    try:
        yield namespace
    finally:
        os.close(namespace)


@contextmanager
def recording(namespace: int, reply: Reply, address: str, port: int) -> Iterator[Recording]:
    """A name server in *namespace*, which remembers what it was asked."""
    server = Recording(reply, address, port)
    inside(namespace, server.start)
    try:
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def serving(namespace: int, view: View, forwarder: Forwarder | None = None) -> AsyncIterator[DnsServer]:
    """A server of this namespace for a container in *namespace*; db is on its network."""
    server = DnsServer(forwarder)
    server.zone.set("n", "e1", ["db", "sql"], ["10.0.0.3", "fd00::3"], network="front")
    server.attach("me", inside(namespace, open_resolver), view)
    try:
        yield server
    finally:
        await server.close()


def view(*servers: Server, external: bool = True) -> View:
    """A view of the one network."""
    return View(networks=("n",), servers=servers, external=external)


def ask_here(query: bytes, way: str, server: tuple[str, int] = OURS) -> bytes:
    """Ask from the namespace of this thread."""
    if way == "tcp":
        with socket.create_connection(server, timeout=DEADLINE) as connection:
            connection.sendall(len(query).to_bytes(2, "big") + query)
            return framed(connection)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(DEADLINE)
        asker.connect(server)  # an answer from elsewhere would not be received
        asker.send(query)
        return asker.recv(65535)


def ask_inside(namespace: int, query: bytes, way: str, server: tuple[str, int] = OURS) -> bytes:
    """Ask from within *namespace*."""
    return inside(namespace, lambda: ask_here(query, way, server))


async def ask(namespace: int, query: bytes, way: str, server: tuple[str, int] = OURS) -> bytes:
    """Ask from within *namespace* while the loop goes on."""
    return await asyncio.to_thread(ask_inside, namespace, query, way, server)


async def found(namespace: int, name: str, way: str = "udp") -> list[str]:
    """The addresses that *name* has in there."""
    return oracle.addresses(await ask(namespace, oracle.ask(name), way))


def rules(namespace: int) -> str:
    """The nftables rules in *namespace*."""

    def listed() -> str:
        with Nftables() as nft:
            return nft.run("list ruleset")

    return inside(namespace, listed)


@pytest.mark.parametrize("way", WAYS)
@isolated
def test_names_resolve_inside(way: str) -> None:
    """From inside, 127.0.0.11 port 53 answers by UDP and TCP: names, long names, reverse look-ups."""

    async def scene(namespace: int) -> None:
        async with serving(namespace, view()):
            assert await found(namespace, "db", way) == ["10.0.0.3"]
            assert await found(namespace, "SQL.Front.", way) == ["10.0.0.3"]
            reverse = oracle.ask("3.0.0.10.in-addr.arpa", "PTR")
            assert oracle.addresses(await ask(namespace, reverse, way)) == ["db.front."]
            assert oracle.addresses(await ask(namespace, oracle.ask("db", "AAAA"), way)) == ["fd00::3"]

    with container() as namespace:
        asyncio.run(scene(namespace))


@isolated
def test_container_serves_port_53_itself() -> None:
    """A program inside binds port 53 of all addresses, UDP and TCP, and both it and ours answer."""

    async def scene(namespace: int) -> None:
        async with serving(namespace, view()):
            with recording(namespace, always("192.0.2.7"), "0.0.0.0", 53) as own:
                for way in WAYS:
                    assert await found(namespace, "db", way) == ["10.0.0.3"]
                    theirs = await ask(namespace, QUERY, way, ("127.0.0.1", 53))
                    assert oracle.addresses(theirs) == ["192.0.2.7"]
            assert own.names() == ["db", "db"]

    with container() as namespace:
        asyncio.run(scene(namespace))


@isolated
def test_other_traffic_is_left_alone() -> None:
    """Port 53 of another host, and what uses our port elsewhere, goes unchanged."""
    with container() as namespace, Netlink() as netlink:
        netlink.execute(create_veth("host0", "eth0", namespace))
        plug("host0", "10.66.0.1/24")
        inside(namespace, lambda: plug("eth0", "10.66.0.2/24"))
        inside(namespace, open_resolver).close()
        with Recording(always("192.0.2.8"), "10.66.0.1", 53) as upstream:
            for way in WAYS:
                reply = ask_inside(namespace, QUERY, way, ("10.66.0.1", 53))
                assert oracle.addresses(reply) == ["192.0.2.8"]
            assert len(upstream.asked) == 2
        with recording(namespace, always("192.0.2.9"), "127.0.0.1", USUAL_PORT):
            for way in WAYS:
                reply = ask_inside(namespace, QUERY, way, ("127.0.0.1", USUAL_PORT))
                assert oracle.addresses(reply) == ["192.0.2.9"]


def plug(name: str, address: str) -> None:
    """Give a link an address and bring it up."""
    index = socket.if_nametoindex(name)
    with Netlink() as netlink:
        netlink.execute(add_address(index, IPv4Interface(address)), set_link(index, up=True))


@isolated
def test_next_daemon_opens_again() -> None:
    """After the sockets of one daemon are closed, those of the next one answer, through the same rules."""

    async def scene(namespace: int) -> None:
        before = ""
        for _ in range(3):
            async with serving(namespace, view()):
                for way in WAYS:
                    assert await found(namespace, "db", way) == ["10.0.0.3"]
                assert before in ("", rules(namespace))
                before = rules(namespace)
        assert before.count("table") == 1

    with container() as namespace:
        asyncio.run(scene(namespace))


@isolated
def test_open_twice_the_later_counts() -> None:
    """Opened while an earlier one is open, or when a program has taken the port: other ports, one table."""

    async def scene(namespace: int) -> None:
        first = inside(namespace, open_resolver)
        try:
            async with serving(namespace, view()):
                for way in WAYS:
                    assert await found(namespace, "db", way) == ["10.0.0.3"]
                listed = rules(namespace)
                assert listed.count("table") == 1
                assert str(USUAL_PORT) not in listed
        finally:
            first.close()

    with container() as namespace:
        asyncio.run(scene(namespace))


@isolated
def test_rules_at_the_output_hook() -> None:
    """A kernel without a hook at the loopback link gets the same rules where packets leave."""

    def without() -> Resolver:
        resolver = open_resolver()
        with Nftables() as nft:
            nft.run("flush ruleset")
        ports = resolver.udp.getsockname()[1], resolver.tcp.getsockname()[1]
        rewrite.ensure(*ports, families=(99, rewrite.NFPROTO_IPV4))
        rewrite.ensure(*ports, families=(99, rewrite.NFPROTO_IPV4))
        return resolver

    async def scene(namespace: int) -> None:
        server = DnsServer()
        server.zone.set("n", "e1", ["db"], ["10.0.0.3"])
        server.attach("me", inside(namespace, without), view())
        for way in WAYS:
            assert await found(namespace, "db", way) == ["10.0.0.3"]
        await server.close()

    with container() as namespace:
        asyncio.run(scene(namespace))
        assert "hook output priority raw" in rules(namespace)


@isolated
def test_a_kernel_without_hooks_is_named() -> None:
    """When there is no place for the rules the failure says what was tried, and no socket stays open."""
    with pytest.raises(KernelError, match=r"redirect 127\.0\.0\.11 port 53") as caught:
        rewrite.ensure(1, 2, families=(99,))
    assert caught.value.errno in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT)


@isolated
def test_servers_are_asked_from_inside_or_from_the_host() -> None:
    """Each server is asked from the namespace that it belongs to, by both protocols and address families."""

    async def scene(namespace: int) -> None:
        home = os.stat("/proc/thread-self/ns/net").st_ino
        with (
            recording(namespace, always("192.0.2.1"), "127.0.0.2", 53) as near,
            recording(namespace, always("192.0.2.2"), "::1", 5353) as near6,
            Recording(always("192.0.2.3"), "127.0.0.2", 5354) as far,
        ):
            async with serving(namespace, view(Server("127.0.0.2"))) as server:
                for way in WAYS:
                    assert await found(namespace, "example.org", way) == ["192.0.2.1"]
                server.update("me", view(Server("::1", port=5353)))
                for way in WAYS:
                    assert await found(namespace, "example.org", way) == ["192.0.2.2"]
                server.update("me", view(Server("127.0.0.2", inside=False, port=5354)))
                for way in WAYS:
                    assert await found(namespace, "example.org", way) == ["192.0.2.3"]
                threads = [thread.native_id for thread in threading.enumerate() if "dns" in thread.name]
                assert [os.stat(f"/proc/self/task/{thread}/ns/net").st_ino for thread in threads] == [home]
            assert [near.asked, near6.asked, far.asked] == [
                [("udp", "example.org"), ("tcp", "example.org")]
            ] * 3

    with container() as namespace:
        asyncio.run(scene(namespace))


def getent(namespace: int, conf: Path, name: str) -> list[str]:
    """What the C library inside finds for *name*, with *conf* for its resolv.conf."""
    script = f"mount --bind {conf} /etc/resolv.conf && exec getent -s dns ahosts {name}"
    ran = subprocess.run(
        ["nsenter", f"--net=/proc/self/fd/{namespace}", "unshare", "-m", "sh", "-c", script],
        pass_fds=[namespace],
        capture_output=True,
        text=True,
        timeout=DEADLINE * 6,
        check=False,
    )
    assert ran.returncode in (0, 2), ran.stderr  # 2: not found
    return sorted({line.split()[0] for line in ran.stdout.splitlines()})


@isolated
def test_internal_networks_leak_nothing(tmp_path: Path) -> None:
    """On internal networks alone no name server gets a query: neither the host's nor one inside, nor by search domains (CVE-2024-29018)."""

    async def scene(namespace: int) -> None:
        conf = tmp_path / "resolv.conf"
        with (
            recording(namespace, always("192.0.2.1"), "127.0.0.2", 53) as near,
            Recording(always("192.0.2.2"), "127.0.0.2", 53) as far,
        ):
            servers = (Server("127.0.0.2"), Server("127.0.0.2", inside=False))
            conf.write_text(resolver_conf("", ["127.0.0.2"], ["evil.example", "corp.example"]))
            async with serving(namespace, view(*servers, external=False)) as server:
                for name in ("secret.evil.example", "secret", "db.evil.example", "db.evil.example."):
                    assert await asyncio.to_thread(getent, namespace, conf, name) == []
                assert await asyncio.to_thread(getent, namespace, conf, "db") == ["10.0.0.3", "fd00::3"]
                for kind in ("A", "AAAA", "TXT", "MX", "SRV", "PTR", "ANY", "AXFR", "HTTPS"):
                    for way in WAYS:
                        reply = oracle.read(await ask(namespace, oracle.ask("a.evil.example", kind), way))
                        assert reply.rcode in (wire.NXDOMAIN, wire.REFUSED)
                assert (near.asked, far.asked) == ([], [])
                server.update("me", view(*servers))
                assert await asyncio.to_thread(getent, namespace, conf, "secret") == ["192.0.2.1"]
                assert near.names()[0] == "secret"

    with container() as namespace:
        asyncio.run(scene(namespace))


@isolated
def test_detached_containers_leave_nothing() -> None:
    """After detach no descriptor is left, and the namespace goes with its last process."""

    async def scene(namespace: int) -> None:
        async with serving(namespace, view(Server("127.0.0.2"))) as server:
            assert await found(namespace, "db") == ["10.0.0.3"]
            assert oracle.read(await ask(namespace, oracle.ask("example.org"), "udp")).rcode == wire.SERVFAIL
            server.detach("me")

    before = open_descriptors()
    with Netlink() as netlink:
        with container() as namespace:
            netlink.execute(create_veth("host0", "eth0", namespace))
            asyncio.run(scene(namespace))
            assert {link.name for link in netlink.links()} == {"lo", "host0"}
        assert eventually(lambda: {link.name for link in netlink.links()} == {"lo"})
    assert open_descriptors() == before


@isolated
def test_detached_while_asking_from_inside() -> None:
    """A container that goes while its questions are under way leaves no socket behind."""

    def forgetful(query: bytes, way: str) -> None:
        """Never answer."""

    async def scene(namespace: int) -> None:
        with recording(namespace, forgetful, "127.0.0.2", 53) as silent:
            async with serving(namespace, view(Server("127.0.0.2"))) as server:

                def send() -> None:
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
                        for number in range(50):
                            asker.sendto(oracle.ask("example.org", number=number), OURS)

                await asyncio.to_thread(inside, namespace, send)
                assert await asyncio.to_thread(eventually, lambda: silent.asked)
                server.detach("me")

    with container() as namespace:
        before = open_descriptors()
        asyncio.run(scene(namespace))
        assert open_descriptors() == before
