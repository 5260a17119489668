"""The DNS wire format, as much of it as a name server between containers and real servers needs. No I/O.

Only the question is ever understood in full. Answers of other servers are
handed on as the bytes that they are, so record types nobody here has heard of
work, and a hostile answer meets no parser of ours beyond its first lines.
What is written is a question repeated, and address and pointer records whose
owner is that question. That is little enough to have no library for it, which
would take longer to load than the whole of this engine's networks.

Source: RFC 1035 section 4 (format, compression), RFC 6891 (EDNS),
RFC 2181 section 9 (truncation), RFC 3596 (AAAA, ip6.arpa), RFC 7766 (TCP).
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

PORT = 53
A, PTR, AAAA, OPT, IXFR, AXFR, ANY = 1, 12, 28, 41, 251, 252, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16

QR, TC, RD, RA, CD = 0x8000, 0x0200, 0x0100, 0x0080, 0x0010
OPCODE, RCODE = 0x7800, 0x000F
DNSSEC_OK = 0x8000  # in the flags of an OPT record

PLAIN_SIZE = 512  # bytes of a UDP answer to who does not say more
LARGEST_UDP = 4096  # what is believed of who says more
LARGEST = 65535
OUR_SIZE = 1232  # bytes of UDP that are announced: below any path's MTU

_HEADER = struct.Struct("!HHHHHH")  # id, flags, counts of questions, answers, authorities, additionals
_RECORD = struct.Struct("!HHIH")  # type, class, time to live, length
_OWNER = b"\xc0\x0c"  # a pointer to the question's name
_MOST_RECORDS = 32  # in a query; one is usual
_LONGEST_NAME = 255
_REVERSED4, _REVERSED6 = ".in-addr.arpa", ".ip6.arpa"


class Malformed(ValueError):
    """Bytes that are no query; ``reply`` is what to answer, empty for nothing."""

    def __init__(self, message: str, reply: bytes = b"") -> None:
        super().__init__(message)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Query:
    """One question.

    ``name`` has its ASCII letters small, labels joined by dots (one within a
    label has a backslash before it) and no dot at the end; ``question`` is the
    section as it came; ``size`` is the most bytes of a UDP answer.
    """

    id: int
    flags: int
    name: str
    kind: int
    kind_class: int
    question: bytes
    size: int = PLAIN_SIZE
    edns: bool = False
    dnssec_ok: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """One answer to a question: its type and its data."""

    kind: int
    data: bytes


def address_record(address: str) -> Record:
    """Return the A or AAAA record of *address*; ValueError for what is none."""
    parsed = ip_address(address)
    return Record(A if parsed.version == 4 else AAAA, parsed.packed)


def pointer_record(name: str) -> Record:
    """Return the PTR record that leads to *name*; ValueError when it does not fit."""
    return Record(PTR, encode_name(name))


def parse_query(data: bytes) -> Query:
    """Read a query.

    Raises:
        Malformed: it is none, or one that nobody here understands.
    """
    if len(data) < _HEADER.size:
        raise Malformed("shorter than a header")
    number, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(data)
    if flags & QR:
        raise Malformed("an answer, not a question")  # answering it could begin a loop
    if flags & OPCODE:
        raise Malformed("not a plain query", _refusal(number, flags, NOTIMP))
    if questions != 1:
        raise Malformed("not one question", _refusal(number, flags, FORMERR))
    try:
        name, end = _name(data, _HEADER.size)
        kind, kind_class = struct.unpack_from("!HH", data, end)
        size, option = _option(data, end + 4, answers + authorities + additionals)
    except (struct.error, ValueError, IndexError) as error:
        raise Malformed(f"cannot be read: {error}", _refusal(number, flags, FORMERR)) from None
    query = Query(
        id=number,
        flags=flags,
        name=name,
        kind=kind,
        kind_class=kind_class,
        question=data[_HEADER.size : end + 4],
        size=min(max(size, PLAIN_SIZE), LARGEST_UDP),
        edns=option is not None,
        dnssec_ok=bool((option or 0) & DNSSEC_OK),
    )
    if ((option or 0) >> 16) & 0xFF:
        raise Malformed("EDNS of another version", reply_to(query, BADVERS))
    return query


def _name(data: bytes, at: int) -> tuple[str, int]:
    """Return the name at *at*, which has no pointers since nothing is before it, and where it ends."""
    labels, start = [], at
    while length := data[at]:
        if length > 63:
            raise ValueError("a pointer in the question")
        label = data[at + 1 : at + 1 + length]
        if len(label) < length:
            raise ValueError("a label that is cut off")
        labels.append(label.lower().replace(b".", b"\\."))
        at += 1 + length
    if at + 1 - start > _LONGEST_NAME:
        raise ValueError("a name that is too long")
    return b".".join(labels).decode("utf-8", "surrogateescape"), at + 1


def _option(data: bytes, at: int, records: int) -> tuple[int, int | None]:
    """Return UDP size and flags of the OPT record among those from *at* on; (0, None) without one."""
    if records > _MOST_RECORDS:
        raise ValueError("too many records")
    for _ in range(records):
        while (length := data[at]) and length < 64:
            at += 1 + length
        at += 1 if not length else 2
        kind, kind_class, life, length = _RECORD.unpack_from(data, at)
        if kind == OPT:
            return kind_class, life
        at += _RECORD.size + length
    return 0, None


def reply_to(
    query: Query, rcode: int, records: Iterable[Record] = (), *, life: int = 0, limit: int = 0
) -> bytes:
    """Return the answer to *query*; cut to whole records, and marked so, where it passes the limit.

    Args:
        query: What was asked.
        rcode: One of the codes above.
        records: Answers; their owner is the name asked for.
        life: Seconds that they may be remembered.
        limit: Bytes; 0 for what the client takes by UDP.
    """
    option = b""
    if query.edns:
        flags = ((rcode >> 4) << 24) | (DNSSEC_OK if query.dnssec_ok else 0)
        option = b"\0" + _RECORD.pack(OPT, OUR_SIZE, flags, 0)
    room = (limit or query.size) - _HEADER.size - len(query.question) - len(option)
    kept: list[bytes] = []
    cut = 0
    for record in records:
        text = _OWNER + _RECORD.pack(record.kind, IN, life, len(record.data)) + record.data
        room -= len(text)
        if room < 0:
            cut = TC
            break
        kept.append(text)
    flags = QR | cut | (query.flags & (RD | CD)) | RA | (rcode & RCODE)
    header = _HEADER.pack(query.id, flags, 1, len(kept), 0, int(query.edns))
    return b"".join((header, query.question, *kept, option))


def truncated(query: Query) -> bytes:
    """Return the answer that says to ask again by TCP."""
    reply = bytearray(reply_to(query, NOERROR))
    reply[2] |= TC >> 8
    return bytes(reply)


def _refusal(number: int, flags: int, rcode: int) -> bytes:
    """Return an answer without a question, to what could not be read."""
    return _HEADER.pack(number, QR | (flags & (OPCODE | RD)) | RA | rcode, 0, 0, 0, 0)


def renumbered(message: bytes, number: int) -> bytes:
    """Return *message* under another id."""
    return number.to_bytes(2, "big") + message[2:]


def answers(reply: bytes, number: int, query: Query) -> bool:
    """Tell whether *reply* answers *query* as it was sent under *number*.

    Who refuses may leave the question out.
    """
    if len(reply) < _HEADER.size:
        return False
    got, flags, questions = struct.unpack_from("!HHH", reply)
    if got != number or not flags & QR:
        return False
    if questions == 0:
        return rcode_of(reply) != NOERROR
    there = reply[_HEADER.size : _HEADER.size + len(query.question)]
    return questions == 1 and there.lower() == query.question.lower()


def rcode_of(reply: bytes) -> int:
    """Return the code of a reply that ``answers``."""
    return reply[3] & RCODE


def is_truncated(reply: bytes) -> bool:
    """Tell whether a reply that ``answers`` was cut."""
    return bool(reply[2] & (TC >> 8))


def encode_name(name: str) -> bytes:
    """Return *name* as labels without compression.

    Raises:
        ValueError: a label has no or more than 63 bytes, or all of them more than 255.
    """
    labels = name.removesuffix(".").encode("utf-8", "surrogateescape").split(b".")
    if not all(0 < len(label) < 64 for label in labels):
        raise ValueError(f"not a domain name: {name!r}")
    encoded = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    if len(encoded) > _LONGEST_NAME:
        raise ValueError(f"too long for a domain name: {name!r}")
    return encoded


def reversed_address(name: str) -> str:
    """Return the address that a name below in-addr.arpa or ip6.arpa stands for; empty for another name."""
    try:
        if name.endswith(_REVERSED4):
            return str(IPv4Address(".".join(reversed(name.removesuffix(_REVERSED4).split(".")))))
        if name.endswith(_REVERSED6):
            digits = name.removesuffix(_REVERSED6).split(".")
            if len(digits) == 32 and all(len(digit) == 1 for digit in digits):
                return str(IPv6Address(int("".join(reversed(digits)), 16)))
    except ValueError:
        pass  # a part of a network, or nonsense: a name like any other
    return ""
