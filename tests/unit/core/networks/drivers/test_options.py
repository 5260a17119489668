"""Driver options: known ones are understood, others refused."""

import pytest

from corten.core.networks.drivers import options
from corten.errors import InvalidInput


def test_known_options_and_notes_of_others_pass() -> None:
    """Docker's names pass, and so do names of other makers, which mean nothing to us."""
    options.check("bridge", {options.NAME: "br0", options.ICC: "false", "com.example.note": "x"})
    options.check("macvlan", {"parent": "eth0", options.MTU: "1400"})


@pytest.mark.parametrize(
    ("driver", "name"),
    [("bridge", "parent"), ("bridge", "mtu"), ("macvlan", "com.docker.network.bridge.name"), ("ipvlan", "x")],
)
def test_unknown_option_is_refused_naming_those_there_are(driver: str, name: str) -> None:
    """A slip is found at once, and the line says what can be said instead."""
    with pytest.raises(InvalidInput, match=f"unknown option {name} .*{options.MTU}"):
        options.check(driver, {name: "1"})


@pytest.mark.parametrize(("text", "value"), [("1", True), ("True", True), ("t", True), ("FALSE", False)])
def test_boolean(text: str, value: bool) -> None:
    """Booleans are written in the ways that Docker takes."""
    assert options.boolean({"x": text}, "x", not value) is value
    assert options.boolean({}, "x", value) is value


def test_bad_values_are_one_clear_line() -> None:
    """What is no boolean, no size of a packet, or none of the choices says so."""
    with pytest.raises(InvalidInput, match="say true or false"):
        options.boolean({"x": "maybe"}, "x", True)
    for text in ("67", "65536", "-1", "big", "1e3"):
        with pytest.raises(InvalidInput, match="say bytes"):
            options.mtu({options.MTU: text})
    with pytest.raises(InvalidInput, match="choose from l2, l3"):
        options.choice({"x": "l4"}, "x", ("l2", "l3"))


def test_defaults() -> None:
    """Nothing said is no MTU, and the first choice."""
    assert options.mtu({}) == options.mtu({options.MTU: "0"}) == 0
    assert options.choice({}, "x", ("l2", "l3")) == "l2"
