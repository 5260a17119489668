"""What is answered here, what is asked outside, and what is refused."""

import pytest

from corten.core.networks.dns import wire
from corten.core.networks.dns.resolve import Answer, resolve
from corten.core.networks.dns.view import View
from corten.core.networks.dns.wire import Record, address_record, parse_query, pointer_record
from corten.core.networks.dns.zone import Zone
from tests.unit.core.networks.dns import oracle

VIEW = View(networks=("n",), links={"Sql": "db", "gone": "nobody"})
INTERNAL = View(networks=("n",), external=False)


@pytest.fixture
def zone() -> Zone:
    """One network with one container, which has IPv4 alone."""
    made = Zone()
    made.set("n", "e", ["db"], ["10.0.0.3"], network="front")
    return made


@pytest.mark.parametrize(
    ("name", "kind", "records"),
    [
        ("db", "A", (address_record("10.0.0.3"),)),
        ("db", "AAAA", ()),
        ("db", "ANY", (address_record("10.0.0.3"),)),
        ("db", "MX", ()),
        ("db", "HTTPS", ()),
        ("db.front", "TXT", ()),
        ("sql", "A", (address_record("10.0.0.3"),)),
        ("3.0.0.10.in-addr.arpa", "PTR", (pointer_record("db.front"),)),
    ],
)
def test_known_names_are_answered_here(zone: Zone, name: str, kind: str, records: tuple[Record, ...]) -> None:
    """A known name is answered whatever is asked for, with nothing where there is nothing."""
    assert resolve(parse_query(oracle.ask(name, kind)), zone, VIEW) == Answer(wire.NOERROR, records)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("web", "A"),
        ("db.example.org", "A"),
        ("gone", "A"),
        ("9.0.0.10.in-addr.arpa", "PTR"),
        ("example.org", "MX"),
    ],
)
def test_other_names_are_asked_outside_or_do_not_exist(zone: Zone, name: str, kind: str) -> None:
    """What is not known here is for other servers; without a way out it does not exist."""
    query = parse_query(oracle.ask(name, kind))
    assert resolve(query, zone, VIEW) is None
    assert resolve(query, zone, INTERNAL) == Answer(wire.NXDOMAIN)


@pytest.mark.parametrize("kind", ["AXFR", "IXFR"])
def test_transfers_are_refused(zone: Zone, kind: str) -> None:
    """Nobody gets a whole zone, neither ours nor another's."""
    assert resolve(parse_query(oracle.ask("example.org", kind)), zone, VIEW) == Answer(wire.REFUSED)


def test_other_classes_are_refused(zone: Zone) -> None:
    """Questions about servers (class CHAOS) go nowhere."""
    data = oracle.ask("version.bind", "TXT")[:-1] + b"\x03"
    assert resolve(parse_query(data), zone, VIEW) == Answer(wire.REFUSED)


def test_a_name_that_no_packet_can_carry(zone: Zone) -> None:
    """A reverse look-up of a container with such a name is answered with nothing."""
    zone.set("n", "e2", ["x" * 80], ["10.0.0.4"], network="front")
    assert resolve(parse_query(oracle.ask("4.0.0.10.in-addr.arpa", "PTR")), zone, VIEW) == Answer()
