"""The wire format: what is understood, what is refused, what is written."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.core.networks.dns import wire
from corten.core.networks.dns.wire import Malformed, Query, Record, parse_query, reply_to
from tests.unit.core.networks.dns import oracle

LABELS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", min_size=1, max_size=20)
NAMES = st.lists(LABELS, min_size=1, max_size=6).map(".".join)
ADDRESSES = st.ip_addresses().map(str)


def query(name: str = "db", kind: str = "A", size: int = 0) -> Query:
    """A query as read."""
    return parse_query(oracle.ask(name, kind, size=size))


def outcome(data: bytes) -> Query | bytes:
    """The query that *data* is, or what is answered to it for not being one."""
    try:
        return parse_query(data)
    except Malformed as failure:
        return failure.reply


def refused(data: bytes) -> bytes:
    """What is answered to bytes that are no query."""
    reply = outcome(data)
    assert isinstance(reply, bytes)
    return reply


def test_query_is_read() -> None:
    """Name in small letters without a last dot, type, class, id; 512 bytes when nothing else is said."""
    asked = query("Db.Front", "AAAA")
    assert (asked.id, asked.name, asked.kind, asked.kind_class) == (0x1234, "db.front", wire.AAAA, wire.IN)
    assert (asked.size, asked.edns) == (512, False)


@pytest.mark.parametrize(("said", "taken"), [(512, 512), (100, 512), (1232, 1232), (65000, 4096)])
def test_edns_size(said: int, taken: int) -> None:
    """The size that a client announces counts, within reason."""
    asked = query(size=said)
    assert (asked.size, asked.edns) == (taken, True)


def test_question_keeps_its_letters() -> None:
    """The answer repeats the question letter by letter: clients that mix cases compare."""
    reply = oracle.read(reply_to(query("dB.FrOnT"), wire.NOERROR, [wire.address_record("10.0.0.1")]))
    assert reply.questions == (("dB.FrOnT.", wire.A),)
    assert reply.records == (("dB.FrOnT.", wire.A, 0, "10.0.0.1"),)


@given(NAMES, st.lists(ADDRESSES, max_size=8), st.sampled_from([0, 512, 1232, 4096]), st.integers(0, 600))
def test_answers_are_read_alike_by_another_library(
    name: str, addresses: list[str], size: int, life: int
) -> None:
    """What is written is read by an independent parser as what was meant."""
    records = [wire.address_record(address) for address in addresses]
    reply = reply_to(query(name, size=size), wire.NOERROR, records, life=life)
    seen = oracle.read(reply)
    assert (seen.id, seen.rcode, seen.answer, seen.recursion) == (0x1234, 0, True, (True, True))
    assert seen.edns == bool(size)
    assert [(kind, ttl) for _, kind, ttl, _ in seen.records] == [(record.kind, life) for record in records]
    assert not seen.truncated
    assert [record[3] for record in seen.records] == addresses


@given(st.integers(0, 200), st.sampled_from([0, 600, 1232, 4096]))
def test_large_answers_are_cut_to_whole_records(count: int, size: int) -> None:
    """An answer never passes the client's limit; what is cut is marked, what is left can be used."""
    asked = query("service", size=size)
    reply = reply_to(asked, wire.NOERROR, [wire.address_record("10.0.0.1")] * count)
    seen = oracle.read(reply)
    assert len(reply) <= asked.size
    assert seen.truncated == (len(seen.records) < count)
    assert len(seen.records) == min(count, (asked.size - len(reply_to(asked, 0))) // 16)


def test_stream_answers_are_not_cut() -> None:
    """By TCP there is room for all."""
    reply = reply_to(query(), wire.NOERROR, [wire.address_record("10.0.0.1")] * 500, limit=wire.LARGEST)
    assert len(oracle.read(reply).records) == 500


def test_truncated_answer() -> None:
    """An answer that says to come again by TCP has no records."""
    seen = oracle.read(wire.truncated(query()))
    assert (seen.truncated, seen.records, seen.rcode) == (True, (), 0)


def test_pointer_record() -> None:
    """A PTR record leads to a name."""
    asked = query("5.0.0.10.in-addr.arpa", "PTR")
    seen = oracle.read(reply_to(asked, wire.NOERROR, [wire.pointer_record("db.front")]))
    assert [record[3] for record in seen.records] == ["db.front."]


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64, ".".join(["abcdefgh"] * 30)])
def test_names_that_no_packet_can_carry(name: str) -> None:
    """Empty and long labels, and long names, are refused."""
    with pytest.raises(ValueError, match="domain name"):
        wire.pointer_record(name)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("5.0.0.10.in-addr.arpa", "10.0.0.5"),
        ("1." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa", "2001:db8::1"),
        ("0.0.10.in-addr.arpa", ""),
        ("x.0.0.10.in-addr.arpa", ""),
        ("300.0.0.10.in-addr.arpa", ""),
        ("1.ip6.arpa", ""),
        ("x" + ".0" * 31 + ".ip6.arpa", ""),
        ("db.front", ""),
    ],
)
def test_reversed_addresses(name: str, address: str) -> None:
    """Only a whole address counts; parts of networks and nonsense are names like others."""
    assert wire.reversed_address(name) == address


@pytest.mark.parametrize("data", [b"", b"x" * 11, oracle.answer(oracle.ask("db"), "10.0.0.1")])
def test_no_answer_where_none_is_deserved(data: bytes) -> None:
    """Fragments and answers get nothing, so that no two servers talk for ever."""
    assert refused(data) == b""


def patched(offset: int, value: bytes) -> bytes:
    """A query with some bytes replaced."""
    data = bytearray(oracle.ask("db", size=1232))
    data[offset : offset + len(value)] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "rcode"),
    [
        (patched(2, b"\x28"), wire.NOTIMP),  # an update
        (patched(4, b"\0\0"), wire.FORMERR),  # no question
        (patched(4, b"\0\2"), wire.FORMERR),  # two
        (patched(12, b"\xc0\x0c"), wire.FORMERR),  # a name that points to itself
        (patched(12, b"\x3f"), wire.FORMERR),  # a label longer than the packet
        (patched(10, b"\xff\xff"), wire.FORMERR),  # records that are not there
        (oracle.ask("db")[:-1], wire.FORMERR),
        (struct.pack("!6H", 7, 0, 1, 0, 0, 0) + b"\x3f" + b"a" * 63, wire.FORMERR),
        (struct.pack("!6H", 7, 0, 1, 0, 0, 0) + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1", wire.FORMERR),
    ],
)
def test_what_cannot_be_read_is_refused(data: bytes, rcode: int) -> None:
    """The header of a broken query is enough to say so."""
    assert oracle.read(refused(data)).rcode == rcode


def test_other_versions_of_edns() -> None:
    """Version 1 of EDNS is answered with BADVERS, which needs the bits of an OPT record."""
    data = bytearray(oracle.ask("db", size=1232))
    data[-5] = 1
    reply = refused(bytes(data))
    assert (reply[3] & 15, reply[-6]) == (0, 1)
    assert oracle.read(reply).edns


@given(st.binary(max_size=600))
def test_any_bytes_are_a_query_or_malformed(data: bytes) -> None:
    """No bytes lead to anything else, and each answer to them is one."""
    asked = outcome(data)
    if isinstance(asked, bytes):
        assert not asked or asked[:2] == data[:2]
    else:
        assert len(reply_to(asked, wire.NXDOMAIN)) <= asked.size


@given(NAMES, st.integers(0, 4096), st.data())
def test_damaged_queries_are_a_query_or_malformed(name: str, size: int, data: st.DataObject) -> None:
    """A query with bytes changed, cut or added harms nothing."""
    packet = bytearray(oracle.ask(name, size=size))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    packet = packet[: data.draw(st.integers(0, len(packet)))] + data.draw(st.binary(max_size=20))
    asked = outcome(bytes(packet))
    if isinstance(asked, bytes):
        assert len(asked) <= 512
    else:
        reply = reply_to(asked, wire.NOERROR, [Record(wire.A, b"\x0a\0\0\1")])
        assert reply[:2] == packet[:2]
        assert asked.question in reply


def test_labels_with_dots_and_odd_bytes() -> None:
    """A dot within a label is no border, and bytes beyond ASCII stay what they are."""
    odd = struct.pack("!6H", 7, 0, 1, 0, 0, 0) + b"\x03a.b\x02\xc3\xa9\x01\xff\0\0\1\0\1"
    assert parse_query(odd).name == "a\\.b.é.\udcff"


@pytest.mark.parametrize(
    ("change", "good"),
    [
        (lambda reply: reply, True),
        (lambda reply: reply[:12] + reply[12:].upper(), True),
        (lambda reply: b"\0\0" + reply[2:], False),
        (lambda reply: reply[:2] + b"\0\0" + reply[4:], False),
        (lambda reply: reply[:11], False),
        (lambda reply: reply[:13] + b"xx" + reply[15:], False),
        (lambda reply: reply[:3] + b"\x85\0\0" + reply[6:12], True),
        (lambda reply: reply[:3] + b"\x80\0\0" + reply[6:12], False),
    ],
)
def test_only_an_answer_to_the_question_counts(change, good) -> None:  # type: ignore[no-untyped-def]
    """Id, direction and question have to agree; without a question only a refusal does."""
    data = oracle.ask("db")
    assert wire.answers(change(oracle.answer(data, "10.0.0.1")), 0x1234, parse_query(data)) is good


@given(st.binary(max_size=100))
def test_any_bytes_are_an_answer_or_not(data: bytes) -> None:
    """Whatever a server sends is only looked at."""
    assert wire.answers(data, 0x1234, query()) in (True, False)
