"""A second reading of DNS messages, by another library, to compare ours with."""

from dataclasses import dataclass
from typing import Any

import dnslib  # type: ignore[import-untyped]


@dataclass(frozen=True)
class Message:
    """What the other library understands of an answer."""

    id: int
    rcode: int
    truncated: bool
    answer: bool
    recursion: tuple[bool, bool]
    questions: tuple[tuple[str, int], ...]
    records: tuple[tuple[str, int, int, str], ...]
    edns: bool


def read(data: bytes) -> Message:
    """Parse *data*; whatever the library raises for nonsense."""
    parsed: Any = dnslib.DNSRecord.parse(data)
    return Message(
        id=parsed.header.id,
        rcode=parsed.header.rcode,
        truncated=bool(parsed.header.tc),
        answer=bool(parsed.header.qr),
        recursion=(bool(parsed.header.rd), bool(parsed.header.ra)),
        questions=tuple((str(q.qname), int(q.qtype)) for q in parsed.questions),
        records=tuple((str(r.rname), int(r.rtype), int(r.ttl), str(r.rdata)) for r in parsed.rr),
        edns=any(r.rtype == 41 for r in parsed.ar),
    )


def addresses(data: bytes) -> list[str]:
    """The data of each answer, in order."""
    return [record[3] for record in read(data).records]


def ask(name: str, kind: str = "A", *, number: int = 0x1234, size: int = 0) -> bytes:
    """A query; with EDNS when *size* is given."""
    record: Any = dnslib.DNSRecord.question(name, kind)
    record.header.id = number
    if size:
        record.add_ar(dnslib.EDNS0(udp_len=size))
    packed: bytes = record.pack()
    return packed


def answer(query: bytes, *found: str, rcode: int = 0, truncated: bool = False) -> bytes:
    """An answer of a server to *query*, with A records of *found*."""
    asked: Any = dnslib.DNSRecord.parse(query)
    reply: Any = asked.reply()
    reply.header.rcode, reply.header.tc = rcode, int(truncated)
    for address in found:
        reply.add_answer(dnslib.RR(asked.q.qname, rdata=dnslib.A(address), ttl=60))
    packed: bytes = reply.pack()
    return packed


def question(data: bytes) -> str:
    """The name that a query asks for, without the dot at its end."""
    return str(dnslib.DNSRecord.parse(data).q.qname).removesuffix(".")
