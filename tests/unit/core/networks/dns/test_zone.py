"""The names of containers: found by network, forgotten with their endpoint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.core.networks.dns.zone import Zone

FRONT, BACK = "f" * 64, "b" * 64


@pytest.fixture
def zone() -> Zone:
    """Two networks: web on both, db on the back one."""
    made = Zone()
    made.set(FRONT, "e1", ["web", "w", "0123456789ab"], ["10.0.0.2", "fd00::2"], network="front")
    made.set(BACK, "e2", ["web"], ["10.1.0.2"], network="back.end")
    made.set(BACK, "e3", ["db", "my.sql"], ["10.1.0.3"], network="back.end")
    return made


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("web", "A", ("10.0.0.2",)),
        ("web", "AAAA", ("fd00::2",)),
        ("WEB.", "A", ("10.0.0.2",)),
        ("0123456789ab", "A", ("10.0.0.2",)),
        ("db", "A", ("10.1.0.3",)),
        ("db", "AAAA", ()),
        ("my.sql", "A", ("10.1.0.3",)),
        ("web.back.end", "A", ("10.1.0.2",)),
        ("my.sql.Back.End.", "A", ("10.1.0.3",)),
        ("web.other", "A", ()),
        ("front", "A", ()),
        ("", "A", ()),
    ],
)
def test_names_are_found(zone: Zone, name: str, kind: str, found: tuple[str, ...]) -> None:
    """By name, alias or id, with or without the network, in any case; the first network that has it counts."""
    assert zone.lookup([FRONT, BACK], name, kind) == found


def test_order_of_networks_decides(zone: Zone) -> None:
    """A name that several networks have is that of the first one."""
    assert zone.lookup([BACK, FRONT], "web", "A") == ("10.1.0.2",)


def test_other_networks_are_not_seen(zone: Zone) -> None:
    """Names exist only on the networks that the asker is on, also in their long form."""
    assert not zone.has_name([FRONT], "db")
    assert not zone.has_name([FRONT], "db.back.end")
    assert zone.lookup([FRONT], "db.back.end", "A") == ()
    assert zone.reverse([FRONT], "10.1.0.3") == ""


def test_known_names_without_address_are_known(zone: Zone) -> None:
    """A name exists although it has no address of the kind asked for."""
    assert zone.has_name([BACK], "DB.")
    assert zone.lookup([BACK], "db", "AAAA") == ()


def test_service_has_all_addresses_in_changing_order(zone: Zone) -> None:
    """Endpoints that share a name share its load."""
    for number in range(4, 9):
        zone.set(BACK, f"e{number}", [f"c{number}", "db"], [f"10.1.0.{number}"], network="back.end")
    answers = [zone.lookup([BACK], "db", "A") for _ in range(60)]
    assert {frozenset(answer) for answer in answers} == {frozenset(f"10.1.0.{n}" for n in range(3, 9))}
    assert len({answer[0] for answer in answers}) > 1


def test_reverse(zone: Zone) -> None:
    """An address leads to the container's name with that of the network, both families."""
    assert zone.reverse([FRONT, BACK], "10.1.0.3") == "db.back.end"
    assert zone.reverse([FRONT], "fd00::2") == "web.front"
    assert zone.reverse([FRONT], "10.9.9.9") == ""


def test_set_replaces_and_drop_forgets(zone: Zone) -> None:
    """An endpoint has what was said last; dropped, even twice, it has nothing."""
    zone.set(BACK, "e3", ["sql"], ["10.1.0.9"], network="back.end")
    assert not zone.has_name([BACK], "db")
    assert zone.reverse([BACK], "10.1.0.3") == ""
    assert zone.lookup([BACK], "sql", "A") == ("10.1.0.9",)
    zone.drop("e3")
    zone.drop("e3")
    assert not zone.has_name([BACK], "sql")


def test_an_address_that_moved_on_stays_with_its_new_owner(zone: Zone) -> None:
    """When an address was given anew before the old endpoint was dropped, the new one keeps it."""
    zone.set(BACK, "e4", ["new"], ["10.1.0.3"], network="back.end")
    zone.drop("e3")
    assert zone.reverse([BACK], "10.1.0.3") == "new.back.end"


@given(
    st.lists(
        st.tuples(
            st.sampled_from("123"), st.sampled_from(["n", "m"]), st.lists(st.sampled_from("abc"), max_size=3)
        )
    )
)
def test_zone_is_what_was_set_last(steps: list[tuple[str, str, list[str]]]) -> None:
    """After any history, a name leads to exactly the endpoints that have it; no names means dropped."""
    zone, model = Zone(), dict[str, tuple[str, list[str]]]()
    for endpoint, network, names in steps:
        if names:
            zone.set(network, endpoint, names, [f"10.0.0.{endpoint}"])
            model[endpoint] = (network, names)
        else:
            zone.drop(endpoint)
            model.pop(endpoint, None)
    for network in "nm":
        for name in "abc":
            expected = {
                f"10.0.0.{e}" for e, (where, names) in model.items() if where == network and name in names
            }
            assert set(zone.lookup([network], name, "A")) == expected
            assert zone.has_name([network], name) == bool(expected)
