"""Device rules: the assembled program decides as the rules say, read one by one."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.errors import InvalidInput, Unsupported
from corten.linux.devices_bpf import device_lines, program

DENY_ALL = {"allow": False, "access": "rwm"}
NULL = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}
ACCESS = {"m": 1, "r": 2, "w": 4}


def run(code: bytes, kind: int, access: int, major: int, minor: int) -> int:
    """Interpret the instructions that the assembler uses; the context is that of the kernel."""
    context = struct.pack("<III", access << 16 | kind, major, minor)
    registers = [0] * 11
    counter = 0
    while True:
        opcode, pair, offset, value = struct.unpack_from("<BBhi", code, counter * 8)
        target, source = pair & 15, pair >> 4
        counter += 1
        if opcode == 0x61:
            registers[target] = struct.unpack_from("<I", context, offset)[0]
        elif opcode == 0xBF:
            registers[target] = registers[source]
        elif opcode == 0xB7:
            registers[target] = value
        elif opcode == 0x57:
            registers[target] &= value
        elif opcode == 0x77:
            registers[target] >>= value
        elif opcode in (0x15, 0x55):
            counter += offset if (registers[target] == value) == (opcode == 0x15) else 0
        else:
            assert opcode == 0x95
            return registers[0]


def decide(rules: list[dict[str, Any]], kind: str, access: int, major: int, minor: int) -> int:
    """Say by the rules' own words: each kind of access is what the last rule about it says."""
    for letter, bit in ACCESS.items():
        if not access & bit:
            continue
        verdict = True
        for rule in rules:
            matches = rule.get("type", "a") in ("a", kind)
            matches = (
                matches and rule.get("major") in (None, -1, major) and rule.get("minor") in (None, -1, minor)
            )
            if matches and letter in rule.get("access", "rwm"):
                verdict = rule["allow"]
        if not verdict:
            return 0
    return 1


def _rule(allow: bool, kind: str, major: int | None, minor: int | None, access: str) -> dict[str, Any]:
    return {"allow": allow, "type": kind, "major": major, "minor": minor, "access": access}


numbers = st.sampled_from([None, -1, 0, 1, 3, 10])
rules_of_any_kind = st.lists(
    st.builds(
        _rule,
        st.booleans(),
        st.sampled_from("abc"),
        numbers,
        numbers,
        st.sampled_from(["r", "w", "m", "rw", "rm", "wm", "rwm"]),
    ),
    max_size=6,
)


@given(
    rules_of_any_kind,
    st.sampled_from("bc"),
    st.integers(1, 7),
    st.sampled_from([0, 1, 3, 10]),
    st.sampled_from([0, 1, 3, 10]),
)
def test_the_program_decides_as_the_rules_say(
    rules: list[dict[str, Any]], kind: str, access: int, major: int, minor: int
) -> None:
    """For any rules and any access, program and rules agree."""
    code = program(rules)

    assert run(code, 1 if kind == "b" else 2, access, major, minor) == decide(
        rules, kind, access, major, minor
    )


def test_rules_before_one_that_decides_everything_are_left_out() -> None:
    """Nothing is assembled that can never be reached: the kernel's verifier may refuse that."""
    assert program([NULL, NULL, DENY_ALL]) == program([DENY_ALL])
    assert device_lines([NULL, DENY_ALL]) == [(False, "a")]


def test_version_1_gets_one_line_for_each_rule() -> None:
    """Any number is written as a star, and a rule about both types as two lines."""
    rules = [
        DENY_ALL,
        NULL,
        {"allow": True, "type": "c", "major": 136, "access": "rw"},
        {"allow": True, "access": "m"},
    ]

    assert device_lines(rules) == [
        (False, "a"),
        (True, "c 1:3 rwm"),
        (True, "c 136:* rw"),
        (True, "b *:* m"),
        (True, "c *:* m"),
    ]


def test_version_1_cannot_take_back_a_part_of_a_rule() -> None:
    """A later rule that would be ignored by the kernel is refused, not silently too generous."""
    wide = {"allow": True, "type": "c", "major": 10, "access": "rwm"}
    fuse = {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"}

    with pytest.raises(Unsupported, match="one by one"):
        device_lines([DENY_ALL, wide, fuse])


def test_version_1_takes_docker_rules() -> None:
    """Taking back a device that only mknod was allowed for is fine: nobody can open it."""
    mknod = {"allow": True, "type": "c", "access": "m"}
    fuse = {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"}

    assert device_lines([DENY_ALL, mknod, fuse])[-1] == (False, "c 10:229 rwm")


@pytest.mark.parametrize("bad", [{"type": "x"}, {"access": "rx"}, {"type": "c", "access": "execute"}])
def test_refuses_rules_that_mean_nothing(bad: dict[str, Any]) -> None:
    """An unknown type or kind of access is refused."""
    with pytest.raises(InvalidInput, match="bad device rule"):
        program([{"allow": True, **bad}])
