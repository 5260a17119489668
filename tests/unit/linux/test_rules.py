"""Rules of policy routing as bytes. No socket."""

import socket

from hypothesis import given
from hypothesis import strategies as st

from corten.linux.netlink_messages import attributes
from corten.linux.rules import FRA_FWMARK, Rule, add_rule, delete_rule, parse_rule

HEADER_SIZE = 12  # struct fib_rule_hdr
NUMBERS = st.integers(1, (1 << 32) - 1)

RULES = st.builds(
    Rule,
    priority=st.integers(0, 32766),
    action=st.integers(1, 3),
    table=st.just(0) | NUMBERS,
    goto=st.just(0) | NUMBERS,
    mark=NUMBERS,
    mask=NUMBERS,
    interface=st.sampled_from(["", "lo", "eth0"]),
    protocol=st.integers(0, 255),
)


@given(RULES, st.sampled_from([socket.AF_INET, socket.AF_INET6]))
def test_rule_comes_back(rule: Rule, family: int) -> None:
    """What asks for a rule, and what deletes it, decodes to it."""
    assert parse_rule(add_rule(family, rule).body) == rule
    assert parse_rule(delete_rule(family, rule).body) == rule


def test_rule_without_mask_asks_for_no_mark() -> None:
    """A rule that looks at no bit of the mark says nothing about it."""
    assert FRA_FWMARK not in attributes(add_rule(socket.AF_INET, Rule(100, 3)).body[HEADER_SIZE:])
