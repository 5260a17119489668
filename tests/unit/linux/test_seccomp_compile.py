"""Profiles are checked, compiled once, and stored so that nothing broken is ever read back."""

from pathlib import Path
from typing import Any

import pytest

from corten.errors import InvalidInput, Unsupported
from corten.linux import seccomp, seccomp_compile
from corten.linux.capabilities import DEFAULT
from corten.linux.seccomp_compile import compile_profile, default_profile, filter_flags

ALLOW_ALL = {"defaultAction": "SCMP_ACT_ALLOW"}


def _with(**rule: Any) -> dict[str, Any]:
    """Return a profile with one rule about chmod."""
    return {**ALLOW_ALL, "syscalls": [{"names": ["chmod"], "action": "SCMP_ACT_ERRNO", **rule}]}


@pytest.fixture(autouse=True)
def _forget() -> None:
    """Start with nothing compiled in memory."""
    seccomp_compile._cached.clear()


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({}, "defaultAction"),
        ({"defaultAction": "SCMP_ACT_MAYBE"}, "SCMP_ACT_MAYBE"),
        ({**ALLOW_ALL, "architectures": ["SCMP_ARCH_Z80"]}, "z80"),
        (
            {**ALLOW_ALL, "architectures": ["SCMP_ARCH_X86"], "archMap": [{"architecture": "x"}]},
            "one of them",
        ),
        ({**ALLOW_ALL, "syscalls": [{"action": "SCMP_ACT_ERRNO"}]}, "name"),
        (_with(name="chmod"), "names only"),
        (_with(names="chmod"), "make them a list"),
        (_with(action="SCMP_ACT_NO"), "SCMP_ACT_NO"),
        (_with(args=[{"index": 6, "op": "SCMP_CMP_EQ", "value": 1}]), "index 0 to 5"),
        (_with(args=[{"index": 0, "op": "SCMP_CMP_LIKE", "value": 1}]), "SCMP_CMP_LIKE"),
        (_with(args=[{"index": 0, "op": "SCMP_CMP_EQ", "value": "one"}]), "bad seccomp profile"),
        (_with(includes={"minKernel": "new"}), "bad seccomp profile"),
        ({**ALLOW_ALL, "syscalls": "chmod"}, "bad seccomp profile"),
        ({**ALLOW_ALL, "note": {1, 2}}, "use JSON"),
    ],
)
def test_refuses_a_bad_profile(profile: dict[str, Any], words: str, tmp_path: Path) -> None:
    """What the specification does not allow is named, and nothing is stored."""
    with pytest.raises(InvalidInput, match=words):
        compile_profile(profile, (), str(tmp_path))

    assert list(tmp_path.iterdir()) == []


def test_notification_is_not_offered(tmp_path: Path) -> None:
    """A profile that needs a supervising process is refused, not half obeyed."""
    with pytest.raises(Unsupported, match="NOTIFY"):
        compile_profile(_with(action="SCMP_ACT_NOTIFY"), (), str(tmp_path))


def test_unknown_calls_are_skipped(tmp_path: Path) -> None:
    """A profile may name calls of kernels yet to come."""
    known = compile_profile(_with(), (), str(tmp_path))

    assert compile_profile(_with(names=["chmod", "call_of_tomorrow"]), (), str(tmp_path)) == known


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ({"includes": {"caps": ["CAP_KILL"]}}, True),
        ({"includes": {"caps": ["CAP_KILL", "CAP_BPF"]}}, False),
        ({"excludes": {"caps": ["CAP_KILL", "CAP_BPF"]}}, False),
        ({"excludes": {"caps": ["CAP_BPF"]}}, True),
        ({"includes": {"minKernel": "3.0"}}, True),
        ({"includes": {"minKernel": "999.0"}}, False),
        ({"includes": {"arches": ["no-such-machine"]}}, False),
        ({"excludes": {"arches": ["no-such-machine"]}}, True),
    ],
)
def test_rules_come_and_go_by_capability_kernel_and_machine(
    rule: dict[str, Any], kept: bool, tmp_path: Path
) -> None:
    """All of includes must hold, none of excludes may."""
    without = compile_profile(ALLOW_ALL, ["CAP_KILL"], str(tmp_path))

    assert (compile_profile(_with(**rule), ["CAP_KILL"], str(tmp_path)) != without) is kept


def test_capabilities_decide_about_the_default_profile(tmp_path: Path) -> None:
    """More capabilities open more calls, so they make another filter."""
    less = compile_profile(default_profile(), DEFAULT, str(tmp_path))

    assert compile_profile(default_profile(), (*DEFAULT, "CAP_SYS_ADMIN"), str(tmp_path)) != less
    assert compile_profile(default_profile(), reversed(DEFAULT), str(tmp_path)) == less


def test_a_stored_filter_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart the compiler is not needed for what it made before."""
    made = compile_profile(default_profile(), DEFAULT, str(tmp_path))
    seccomp_compile._cached.clear()
    monkeypatch.delattr(seccomp_compile, "_compile")

    assert compile_profile(default_profile(), DEFAULT, str(tmp_path)) == made


@pytest.mark.parametrize("keep", [0, 10, 40, -1])
def test_a_damaged_filter_is_made_anew(tmp_path: Path, keep: int) -> None:
    """Empty, cut or garbled files are noticed and replaced."""
    made = compile_profile(ALLOW_ALL, (), str(tmp_path))
    (stored,) = tmp_path.iterdir()
    good = stored.read_bytes()
    stored.write_bytes(good[:keep] if keep >= 0 else good[:-1] + bytes([good[-1] ^ 1]))
    seccomp_compile._cached.clear()

    assert compile_profile(ALLOW_ALL, (), str(tmp_path)) == made
    assert stored.read_bytes() == good


def test_flags_of_a_profile() -> None:
    """Named flags are joined; without any, speculation is left alone."""
    assert filter_flags({}) == seccomp.FLAG_SPEC_ALLOW
    assert filter_flags({"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]}) == 3
    with pytest.raises(InvalidInput, match="FLAG_FAST"):
        filter_flags({"flags": ["FLAG_FAST"]})
