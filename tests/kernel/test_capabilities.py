"""Capabilities of a real thread, as the kernel shows them in /proc/self/status."""

import os
from pathlib import Path

import pytest

from corten.linux import capabilities
from tests.kernel.forked import in_child

pytestmark = pytest.mark.root

SETS = {
    "CapInh": "inheritable",
    "CapPrm": "permitted",
    "CapEff": "effective",
    "CapBnd": "bounding",
    "CapAmb": "ambient",
}


def _status() -> dict[str, int]:
    """Return the masks of the calling process by the names of the specification."""
    lines = (line.partition(":\t") for line in Path("/proc/self/status").read_text().splitlines())
    return {SETS[name]: int(value, 16) for name, _, value in lines if name in SETS}


def test_knows_the_last_capability_of_the_kernel() -> None:
    """The number agrees with the kernel's own."""
    assert capabilities.last_cap() == int(Path("/proc/sys/kernel/cap_last_cap").read_text())


def test_reads_the_sets_of_the_process() -> None:
    """The five sets are those of /proc/self/status."""
    found = {name: capabilities.mask(names) for name, names in capabilities.current().items()}

    assert found == _status()


def test_a_container_gets_the_default_and_no_more() -> None:
    """Bounding, permitted and effective show Docker's mask, the others are empty."""

    def confine() -> object:
        capabilities.set_bounding(capabilities.DEFAULT)
        capabilities.set_process(capabilities.DEFAULT, capabilities.DEFAULT, ())
        capabilities.set_ambient(())
        return {name: f"{bits:x}" for name, bits in _status().items()}

    mask = "a80425fb"
    expected = {"inheritable": "0", "permitted": mask, "effective": mask, "bounding": mask, "ambient": "0"}
    assert in_child(confine) == str(expected)


def test_ambient_capabilities_pass_to_another_user() -> None:
    """Kept over a change of user and made ambient, a capability survives into a program."""

    def become_user() -> object:
        names = ["CAP_NET_BIND_SERVICE"]
        capabilities.keep_capabilities(True)
        os.setresuid(1000, 1000, 1000)
        capabilities.set_process(names, names, names)
        capabilities.set_ambient(names)
        return _status()["ambient"], _status()["effective"]

    assert in_child(become_user) == "(1024, 1024)"


def test_without_keeping_nothing_is_left_to_another_user() -> None:
    """A change from user 0 empties the permitted set."""

    def become_user() -> object:
        capabilities.keep_capabilities(False)
        os.setresuid(1000, 1000, 1000)
        return _status()["permitted"]

    assert in_child(become_user) == "0"


def test_what_is_not_permitted_cannot_be_taken() -> None:
    """The kernel's refusal names what was tried."""

    def grow() -> object:
        capabilities.set_process((), (), ())
        capabilities.set_process(["CAP_KILL"], (), ())
        return "grown"

    assert "set the capabilities of the process: Operation not permitted" in in_child(grow)


def test_no_new_privileges_is_shown() -> None:
    """The flag is set for the process."""

    def forbid() -> object:
        capabilities.set_no_new_privileges()
        return "NoNewPrivs:\t1" in Path("/proc/self/status").read_text()

    assert in_child(forbid) == "True"
