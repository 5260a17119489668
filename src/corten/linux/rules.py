"""Rules of policy routing by rtnetlink: which routing table is asked for which packet. No socket.

Source: ip-rule(8), linux/fib_rules.h.
"""

import struct
from dataclasses import dataclass

from corten.linux.netlink_messages import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    Request,
    attribute,
    attributes,
    decode_text,
    decode_word,
    text,
    word,
)

RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
FRA_IIFNAME, FRA_GOTO, FRA_PRIORITY, FRA_FWMARK, FRA_TABLE, FRA_FWMASK, FRA_PROTOCOL = 3, 4, 6, 10, 15, 16, 21
FR_ACT_TO_TBL, FR_ACT_GOTO, FR_ACT_NOP = 1, 2, 3

_RULE = struct.Struct("=BBBBBBBBI")  # fib_rule_hdr: family, dst_len, src_len, tos, table, -, -, action, flags


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; rules are asked in the order of *priority*, 0 first.

    *action* is an FR_ACT_ number: look *table* up, go to the rule of priority
    *goto*, or nothing. A packet has to carry *mark* in the bits of *mask*, and
    to have come in by the link called *interface* ("lo" is what this host
    sends itself); zero and empty match everything. A rule that looks nothing
    up keeps *table* all the same, which tells whose it is. *protocol* is an
    RTPROT_ number that tells who made it.
    """

    priority: int
    action: int
    table: int = 0
    goto: int = 0
    mark: int = 0
    mask: int = 0
    interface: str = ""
    protocol: int = 0


def _body(family: int, rule: Rule) -> bytes:
    parts = [
        _RULE.pack(family, 0, 0, 0, 0, 0, 0, rule.action, 0),
        word(FRA_PRIORITY, rule.priority),
        word(FRA_TABLE, rule.table) if rule.table else b"",
        word(FRA_GOTO, rule.goto) if rule.goto else b"",
        word(FRA_FWMARK, rule.mark) + word(FRA_FWMASK, rule.mask) if rule.mask else b"",
        text(FRA_IIFNAME, rule.interface) if rule.interface else b"",
        attribute(FRA_PROTOCOL, bytes([rule.protocol])) if rule.protocol else b"",
    ]
    return b"".join(parts)


def add_rule(family: int, rule: Rule) -> Request:
    """Ask for a rule; fails with EEXIST when there is one exactly like it.

    A *goto* has to lead forward; its target may come later.
    """
    flags = NLM_F_CREATE | NLM_F_EXCL
    return Request(RTM_NEWRULE, flags, _body(family, rule), f"add routing rule {rule.priority}")


def delete_rule(family: int, rule: Rule) -> Request:
    """Ask for a rule to go; fails with ENOENT when it is not there."""
    return Request(RTM_DELRULE, 0, _body(family, rule), f"delete routing rule {rule.priority}")


def list_rules(family: int) -> Request:
    """Ask for the rules of *family*; fails with EAFNOSUPPORT when the kernel has not that family."""
    return Request(RTM_GETRULE, NLM_F_DUMP, _RULE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0), "list routing rules")


def parse_rule(body: bytes) -> Rule:
    """Decode the payload of an RTM_NEWRULE message."""
    _family, _dst, _src, _tos, table, _res1, _res2, action, _flags = _RULE.unpack_from(body)
    found = attributes(body[_RULE.size :])
    return Rule(
        priority=decode_word(found.get(FRA_PRIORITY)),
        action=action,
        table=decode_word(found.get(FRA_TABLE), table),
        goto=decode_word(found.get(FRA_GOTO)),
        mark=decode_word(found.get(FRA_FWMARK)),
        mask=decode_word(found.get(FRA_FWMASK)),
        interface=decode_text(found.get(FRA_IIFNAME, b"")),
        protocol=int.from_bytes(found.get(FRA_PROTOCOL, b""), "little"),
    )
