"""The name server on real sockets, without a namespace around them."""

import asyncio
import errno
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from corten.core.networks.dns import service, wire
from corten.core.networks.dns.forward import Forwarder
from corten.core.networks.dns.server import DnsServer
from corten.core.networks.dns.sockets import Resolver
from corten.core.networks.dns.view import Server, View
from tests.unit.core.networks.dns import oracle
from tests.unit.core.networks.dns.nameservers import Recording, always, datagram, streamed

LOCALHOST = ("127.0.0.1", 0)
INSIDE = View(networks=("n",))
Address = tuple[str, int]
Ask = Callable[[Address, bytes], Awaitable[bytes]]


async def one_streamed(server: Address, query: bytes) -> bytes:
    """Ask by TCP."""
    return (await streamed(server, query))[0]


def opened(tcp: socket.socket | None = None) -> Resolver:
    """Sockets for UDP and TCP on one port."""
    while True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        stream = tcp or socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        udp.bind(LOCALHOST)
        try:
            stream.bind(udp.getsockname())
        except OSError:
            udp.close()
            continue
        stream.listen()
        return Resolver(udp, stream)


@asynccontextmanager
async def serving(
    view: View = INSIDE, resolver: Resolver | None = None, forwarder: Forwarder | None = None
) -> AsyncIterator[tuple[DnsServer, Address]]:
    """A server with one container attached (``me``), and where it answers; db is on network n."""
    resolver = resolver or opened()
    address = resolver.udp.getsockname()
    server = DnsServer(forwarder)
    server.zone.set("n", "e1", ["db"], ["10.0.0.3"], network="front")
    server.attach("me", resolver, view)
    try:
        yield server, address
    finally:
        await server.close()


def outside(*recordings: Recording, external: bool = True) -> View:
    """A view of network n and of servers outside."""
    servers = tuple(Server(one.address, inside=False, port=one.port) for one in recordings)
    return View(networks=("n",), servers=servers, external=external)


@pytest.mark.parametrize("ask", [datagram, one_streamed])
def test_names_are_answered(ask: Ask) -> None:
    """By UDP and TCP; a client may remember the answer for a few seconds only."""

    async def scene() -> None:
        async with serving() as (_, address):
            seen = oracle.read(await ask(address, oracle.ask("DB.front")))
            assert seen.records == (("DB.front.", wire.A, service.LIFE, "10.0.0.3"),)

    asyncio.run(scene())


def test_many_questions_on_one_connection() -> None:
    """Questions sent together are answered one after the other."""

    async def scene() -> None:
        async with serving() as (_, address):
            queries = [oracle.ask("db", number=number) for number in range(20)]
            replies = await streamed(address, *queries)
            assert [oracle.read(reply).id for reply in replies] == list(range(20))

    asyncio.run(scene())


def test_update_changes_what_is_seen() -> None:
    """A view that is replaced counts from the next question on; nobody attached, nothing happens."""

    async def scene() -> None:
        async with serving(View()) as (server, address):
            assert oracle.read(await datagram(address, oracle.ask("db"))).rcode == wire.SERVFAIL
            server.update("me", INSIDE)
            assert oracle.addresses(await datagram(address, oracle.ask("db"))) == ["10.0.0.3"]
            server.update("nobody", INSIDE)

    asyncio.run(scene())


def test_detach_closes_the_sockets() -> None:
    """Once, and for good; a second time is nothing."""

    async def scene() -> None:
        resolver = opened()
        async with serving(resolver=resolver) as (server, address):
            server.detach("me")
            server.detach("me")
            assert (resolver.udp.fileno(), resolver.tcp.fileno(), resolver.fileno()) == (-1, -1, -1)
            with pytest.raises(ConnectionRefusedError):
                await datagram(address, oracle.ask("db"))

    asyncio.run(scene())


def test_sockets_belong_to_the_server_once_attached() -> None:
    """Closing what was attached does nothing, so that no watched descriptor goes behind the loop's back."""

    async def scene() -> None:
        resolver = opened()
        async with serving(resolver=resolver) as (_, address):
            resolver.close()
            assert oracle.addresses(await datagram(address, oracle.ask("db"))) == ["10.0.0.3"]
        assert resolver.fileno() == -1

    asyncio.run(scene())


def test_attach_again_replaces() -> None:
    """A container has one resolver: the last."""

    async def scene() -> None:
        first, second = opened(), opened()
        address = second.udp.getsockname()
        async with serving(resolver=first) as (server, _):
            server.attach("me", second, INSIDE)
            assert first.fileno() == -1
            assert oracle.addresses(await datagram(address, oracle.ask("db"))) == ["10.0.0.3"]

    asyncio.run(scene())


@pytest.mark.parametrize("ask", [datagram, one_streamed])
def test_other_names_are_asked_outside(ask: Ask) -> None:
    """What is not known here comes from the server outside, as it said it."""

    async def scene() -> None:
        with Recording(always("192.0.2.9")) as upstream:
            async with serving(outside(upstream)) as (_, address):
                assert oracle.addresses(await ask(address, oracle.ask("example.org"))) == ["192.0.2.9"]
                assert oracle.addresses(await ask(address, oracle.ask("db"))) == ["10.0.0.3"]
                assert upstream.names() == ["example.org"]

    asyncio.run(scene())


def test_internal_networks_ask_nobody() -> None:
    """Without a way out no server is asked, whatever the name and type; the name does not exist."""

    async def scene() -> None:
        with Recording(always("192.0.2.9")) as upstream:
            async with serving(outside(upstream, external=False)) as (_, address):
                for name in ("example.org", "web", "db.corp.example", "web.front", "9.0.0.10.in-addr.arpa"):
                    for kind in ("A", "AAAA", "MX", "PTR", "TXT"):
                        reply = oracle.read(await datagram(address, oracle.ask(name, kind)))
                        assert (reply.rcode, reply.records) == (wire.NXDOMAIN, ())
                assert (
                    oracle.read((await streamed(address, oracle.ask("example.org")))[0]).rcode
                    == wire.NXDOMAIN
                )
                assert oracle.addresses(await datagram(address, oracle.ask("db"))) == ["10.0.0.3"]
            assert upstream.asked == []

    asyncio.run(scene())


def test_answers_that_do_not_fit_come_by_stream() -> None:
    """A cut answer is handed on as it is; asked again by TCP, so is the server, and all of it comes."""
    many = [f"192.0.2.{number}" for number in range(100)]

    def reply(query: bytes, way: str) -> bytes:
        return oracle.answer(query, *many) if way == "tcp" else oracle.answer(query, truncated=True)

    async def scene() -> None:
        with Recording(reply) as upstream:
            async with serving(outside(upstream)) as (_, address):
                assert oracle.read(await datagram(address, oracle.ask("example.org"))).truncated
                assert oracle.addresses(await one_streamed(address, oracle.ask("example.org"))) == many
            assert [way for way, _ in upstream.asked] == ["udp", "tcp"]

    asyncio.run(scene())


@pytest.mark.parametrize(("size", "fits"), [(0, False), (4096, True)])
def test_client_never_gets_more_than_it_takes(size: int, fits: bool) -> None:
    """A server that sends more than the client announced is cut here."""
    many = [f"192.0.2.{number}" for number in range(60)]

    async def scene() -> None:
        with Recording(always(*many)) as upstream:
            async with serving(outside(upstream)) as (_, address):
                reply = await datagram(address, oracle.ask("example.org", size=size))
                assert oracle.read(reply).truncated is not fits
                assert (len(reply) > 512) is fits

    asyncio.run(scene())


def silent(query: bytes, way: str) -> None:
    """Say nothing."""


@pytest.mark.parametrize("ask", [datagram, one_streamed])
def test_failure_outside_is_told(ask: Ask) -> None:
    """Nobody to ask, or nobody who answers: SERVFAIL, so that the client can try elsewhere."""

    async def scene() -> None:
        with Recording(silent) as upstream:
            for view in (INSIDE, outside(upstream)):
                async with serving(view, forwarder=Forwarder(step=0.01, patience=0.03)) as (_, address):
                    assert oracle.read(await ask(address, oracle.ask("example.org"))).rcode == wire.SERVFAIL

    asyncio.run(scene())


def test_questions_outside_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With too many under way the next is refused, and names of containers are still answered."""
    monkeypatch.setattr(service, "MOST_OUTSIDE", 2)

    async def scene() -> None:
        with Recording(silent) as upstream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            async with serving(outside(upstream)) as (_, address):
                for _ in range(2):
                    client.sendto(oracle.ask("example.org"), address)
                assert oracle.read(await datagram(address, oracle.ask("example.org"))).rcode == wire.REFUSED
                assert oracle.addresses(await datagram(address, oracle.ask("db"))) == ["10.0.0.3"]

    asyncio.run(scene())


def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With too many open the next is closed; when one ends there is room again."""
    monkeypatch.setattr(service, "MOST_CONNECTIONS", 1)

    async def scene() -> None:
        async with serving() as (_, address):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"\0")
            second, unused = await asyncio.open_connection(*address)
            assert await second.read() == b""
            unused.close()
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            assert oracle.addresses(await one_streamed(address, oracle.ask("db"))) == ["10.0.0.3"]

    asyncio.run(scene())


@pytest.mark.parametrize("said", [b"", b"\0", b"\0\x20abc"])
def test_silent_connections_are_closed(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that says nothing, or stops in the middle, does not stay."""
    monkeypatch.setattr(service, "IDLE", 0.01)

    async def scene() -> None:
        async with serving() as (_, address):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(said)
            async with asyncio.timeout(5):
                assert await reader.read() == b""
            writer.close()

    asyncio.run(scene())


def test_close_ends_what_is_under_way() -> None:
    """Questions outside and open connections end with the server; nothing is left running."""

    async def scene() -> None:
        with Recording(silent) as upstream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            async with serving(outside(upstream)) as (server, address):
                reader, writer = await asyncio.open_connection(*address)
                client.sendto(oracle.ask("example.org"), address)
                assert oracle.addresses(await datagram(address, oracle.ask("db"))) == ["10.0.0.3"]
                await server.close()
                assert await reader.read() == b""
                writer.close()
                await writer.wait_closed()
                assert asyncio.all_tasks() == {asyncio.current_task()}
                await server.close()

    asyncio.run(scene())


def test_nonsense_harms_nothing() -> None:
    """After any rubbish, by UDP and TCP, the next question is answered."""
    chance = random.Random(1)
    rubbish = [chance.randbytes(chance.randrange(80)) for _ in range(300)]
    rubbish += [oracle.ask("db")[:cut] for cut in range(20)] + [b"\xff" * 5000]

    async def scene() -> None:
        async with serving() as (_, address):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                for data in rubbish:
                    client.sendto(data, address)
                    assert oracle.addresses(await datagram(address, oracle.ask("db"))) == ["10.0.0.3"]
            for data in rubbish[::20]:
                _, writer = await asyncio.open_connection(*address)
                writer.write(len(data).to_bytes(2, "big") + data)
                writer.close()
            assert oracle.addresses(await one_streamed(address, oracle.ask("db"))) == ["10.0.0.3"]

    asyncio.run(scene())


class Exhausted(socket.socket):
    """A listening socket for whose next connection there is no descriptor, once."""

    refusals = 1

    def accept(self) -> tuple[socket.socket, Address]:
        """Refuse, then do as always."""
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.EMFILE, "no descriptors")
        return super().accept()


def test_no_descriptors_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """When no connection can be taken it waits a moment, and goes on."""
    monkeypatch.setattr(service, "PAUSE", 0.01)

    async def scene() -> None:
        tcp = Exhausted(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        async with serving(resolver=opened(tcp)) as (_, address):
            assert oracle.addresses(await one_streamed(address, oracle.ask("db"))) == ["10.0.0.3"]

    asyncio.run(scene())


def test_a_mistake_of_ours_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A failure that nobody thought of costs one question, not the server."""

    class Broken(Forwarder):
        """Cannot be asked."""

        ask = None  # type: ignore[assignment]

    async def scene() -> None:
        view = View(networks=("n",), servers=(Server("192.0.2.1"),))
        async with serving(view, forwarder=Broken()) as (_, address):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(oracle.ask("example.org"), address)
                assert oracle.addresses(await datagram(address, oracle.ask("db"))) == ["10.0.0.3"]

    asyncio.run(scene())
    assert "a question about a name failed" in caplog.text
