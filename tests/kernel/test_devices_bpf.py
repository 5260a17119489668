"""The device program on a real version 2 cgroup: the kernel verifies it and asks it."""

import errno
import os
from collections.abc import Iterator

import pytest

from corten.linux import cgroups
from corten.linux.cgroups_v2 import CgroupV2
from corten.linux.devices_bpf import attached
from tests.kernel.forked import in_child

pytestmark = pytest.mark.root

DENY_ALL = {"allow": False, "access": "rwm"}


def _allow(minor: int, access: str) -> dict[str, object]:
    return {"allow": True, "type": "c", "major": 1, "minor": minor, "access": access}


@pytest.fixture
def cgroup() -> Iterator[CgroupV2]:
    """An empty cgroup in the version 2 hierarchy, whether that has controllers or not."""
    unified = cgroups.probe().unified
    if not unified:
        pytest.skip("no version 2 hierarchy is mounted")
    made = CgroupV2(unified, f"corten-test-devices-{os.getpid()}")
    os.mkdir(made.directory)
    yield made
    made.remove()


def _tries(cgroup: CgroupV2) -> str:
    """Return how a process in *cgroup* fares with reading and writing zero (1:5) and full (1:7)."""

    def work() -> object:
        cgroup.enter()
        answers = []
        for path in ("/dev/zero", "/dev/full"):
            for flags in (os.O_RDONLY, os.O_WRONLY):
                try:
                    os.close(os.open(path, flags))
                    answers.append("ok")
                except OSError as failure:
                    answers.append(errno.errorcode[failure.errno or 0])
        return " ".join(answers)

    return in_child(work)


def _attached(cgroup: CgroupV2) -> int:
    fd = os.open(cgroup.directory, os.O_RDONLY)
    try:
        return len(attached(fd))
    finally:
        os.close(fd)


def test_denies_what_no_rule_allows(cgroup: CgroupV2) -> None:
    """Of two devices only the allowed one can be opened."""
    cgroup.apply({"devices": [DENY_ALL, _allow(5, "rwm")]})

    assert _tries(cgroup) == "ok ok EPERM EPERM"


def test_access_is_allowed_by_kind(cgroup: CgroupV2) -> None:
    """Reading may be allowed without writing, also by several rules."""
    cgroup.apply({"devices": [DENY_ALL, _allow(5, "r"), _allow(7, "w"), _allow(7, "r")]})

    assert _tries(cgroup) == "ok EPERM ok ok"


def test_new_rules_replace_old_ones(cgroup: CgroupV2) -> None:
    """Applied again, the rules in force are the last ones, held by one program."""
    cgroup.apply({"devices": [DENY_ALL, _allow(5, "rwm")]})
    cgroup.apply({"devices": [DENY_ALL, _allow(7, "rwm")]})

    assert _tries(cgroup) == "EPERM EPERM ok ok"
    assert _attached(cgroup) == 1


def test_all_rules_of_a_container_are_accepted_by_the_verifier(cgroup: CgroupV2) -> None:
    """Rules of every shape make a program that the kernel takes."""
    shapes: list[dict[str, object]] = [
        {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}
        for kind in "abc"
        for major in (None, 10)
        for minor in (None, 229)
        for access in ("m", "rw", "rwm")
    ]
    cgroup.apply({"devices": [DENY_ALL, *shapes, {**shapes[-1], "allow": False, "access": "w"}]})
    cgroup.apply({"devices": [{"allow": True}]})

    assert _tries(cgroup) == "ok ok ok ok"
