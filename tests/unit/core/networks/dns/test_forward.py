"""Asking outside: which servers, in which order, and which answer counts."""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import pytest

from corten.core.networks.dns import wire
from corten.core.networks.dns.forward import Forwarder
from corten.core.networks.dns.view import ADDRESS, Server
from tests.unit.core.networks.dns import oracle
from tests.unit.core.networks.dns.nameservers import Recording, always

QUERY = oracle.ask("example.org")
FAST = Forwarder(step=0.02, patience=0.2)
SLOW = Forwarder(step=60, patience=60)
PATIENT = Forwarder(step=0.02, patience=5)


async def make(server: Server, kind: int) -> socket.socket:
    """A socket where the test is."""
    return socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)


def ask(
    servers: Sequence[Server], forwarder: Forwarder = PATIENT, *, stream: bool = False
) -> oracle.Message | None:
    """Ask *servers*; the answer as another library reads it."""
    kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
    reply = asyncio.run(forwarder.ask(wire.parse_query(QUERY), QUERY, servers, make, kind=kind))
    return None if reply is None else oracle.read(reply)


def at(recording: Recording) -> Server:
    """Where it listens."""
    return Server(recording.address, port=recording.port)


def silent(query: bytes, way: str) -> None:
    """Say nothing."""


def nobody() -> Server:
    """A server that does not run."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return Server("127.0.0.1", port=probe.getsockname()[1])


@pytest.mark.parametrize("stream", [False, True])
def test_first_server_answers(stream: bool) -> None:
    """The answer comes back under the client's id, by the client's protocol; the second one is not asked."""
    with Recording(always("192.0.2.1")) as one, Recording(always("192.0.2.2")) as two:
        reply = ask([at(one), at(two)], SLOW, stream=stream)
        assert reply is not None
        assert reply.id == 0x1234
        assert [record[3] for record in reply.records] == ["192.0.2.1"]
        assert one.asked == [("tcp" if stream else "udp", "example.org")]
        assert two.asked == []


@pytest.mark.parametrize("stream", [False, True])
def test_next_server_when_one_does_not_run(stream: bool) -> None:
    """A refused connection is noticed at once."""
    with Recording(always("192.0.2.2")) as two:
        reply = ask([nobody(), at(two)], SLOW, stream=stream)
        assert reply is not None
        assert len(reply.records) == 1


@pytest.mark.parametrize("rcode", [wire.SERVFAIL, wire.REFUSED, wire.NOTIMP, wire.FORMERR])
def test_next_server_when_one_cannot(rcode: int) -> None:
    """A server that fails or refuses says nothing about the name."""
    with Recording(always(rcode=rcode)) as one, Recording(always("192.0.2.2")) as two:
        reply = ask([at(one), at(two)], SLOW)
        assert reply is not None
        assert (reply.rcode, len(reply.records)) == (0, 1)


def test_next_server_when_one_is_silent() -> None:
    """Silence counts as failure after a moment."""
    with Recording(silent) as one, Recording(always("192.0.2.2")) as two:
        reply = ask([at(one), at(two)])
        assert reply is not None
        assert len(reply.records) == 1
        assert one.names()


def test_a_name_that_does_not_exist_is_an_answer() -> None:
    """NXDOMAIN of the first server is final."""
    with Recording(always(rcode=wire.NXDOMAIN)) as one, Recording(always("192.0.2.2")) as two:
        reply = ask([at(one), at(two)], SLOW)
        assert reply is not None
        assert reply.rcode == wire.NXDOMAIN
        assert two.asked == []


def test_silent_servers_are_asked_again() -> None:
    """A lost datagram is sent a second time."""
    said: list[bytes] = []

    def second_time(query: bytes, way: str) -> bytes | None:
        said.append(query)
        return oracle.answer(query, "192.0.2.1") if len(said) == 2 else None

    with Recording(second_time) as one:
        assert ask([at(one)]) is not None
        assert len(one.asked) == 2
    assert said[0][:2] != said[1][:2], "each has an id of its own"


def test_nobody_answers() -> None:
    """When all are silent it ends; when all fail, the failure is handed on, each asked once."""
    with Recording(silent) as one:
        assert ask([at(one), nobody()], FAST) is None
    with Recording(always(rcode=wire.SERVFAIL)) as one, Recording(always(rcode=wire.REFUSED)) as two:
        reply = ask([at(one), at(two)], SLOW)
        assert reply is not None
        assert reply.rcode == wire.SERVFAIL
        assert (len(one.asked), len(two.asked)) == (1, 1)
    assert ask([]) is None


def test_at_most_three_servers() -> None:
    """As many as resolv.conf may have."""
    with ExitStack() as stack:
        many = [stack.enter_context(Recording(always(rcode=wire.REFUSED))) for _ in range(4)]
        ask([at(one) for one in many], SLOW)
        assert [len(one.asked) for one in many] == [1, 1, 1, 0]


def test_own_address_is_never_asked() -> None:
    """Our own address, as seen from inside, would be ourselves for ever."""
    assert ask([Server(ADDRESS)], SLOW) is None


def other_id(reply: bytes) -> bytes:
    """The same under another id."""
    return bytes([reply[0] ^ 1]) + reply[1:]


def other_name(reply: bytes) -> bytes:
    """The answer to another question."""
    return reply.replace(b"example", b"exbmple")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "forged", [other_id, other_name, lambda reply: reply[:7], lambda _: b"\xff" * 40, lambda reply: reply * 2]
)
def test_what_is_no_answer_is_passed_over(forged: Callable[[bytes], bytes], stream: bool) -> None:
    """Forged and broken answers are ignored; a good one after them counts."""
    first: list[bool] = []

    def reply(query: bytes, way: str) -> bytes:
        first.append(not first)
        good = oracle.answer(query, "192.0.2.1")
        return forged(good) if first[-1] else good

    with Recording(reply) as one, Recording(reply) as two:
        got = ask([at(one), at(two)], stream=stream)
        assert got is not None
        assert [record[3] for record in got.records][:1] == ["192.0.2.1"]


@pytest.mark.parametrize("said", [b"", b"\0", b"\0\x50abc"])
def test_streams_that_break(said: bytes) -> None:
    """A server that hangs up, also in the middle of an answer, is as good as none."""
    with socket.create_server(("127.0.0.1", 0)) as listening, Recording(always("192.0.2.2")) as two:

        def hang_up() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(2000)
                connection.sendall(said)

        thread = threading.Thread(target=hang_up)
        thread.start()
        one = Server("127.0.0.1", port=listening.getsockname()[1])
        got = ask([one, at(two)], SLOW, stream=True)
        thread.join()
        assert got is not None
        assert len(got.records) == 1
