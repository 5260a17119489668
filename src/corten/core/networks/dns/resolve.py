"""What a question is answered with from the names that the engine knows. Pure.

Names of containers never leave: whatever type of record is asked for, a name
that is known here is answered here, with nothing where there is nothing.
"""

from dataclasses import dataclass

from corten.core.networks.dns import wire
from corten.core.networks.dns.view import View
from corten.core.networks.dns.wire import Query, Record
from corten.core.networks.dns.zone import Zone, fold

_TRANSFERS = (wire.AXFR, wire.IXFR)
_FAMILIES = {wire.A: ("A",), wire.AAAA: ("AAAA",), wire.ANY: ("A", "AAAA")}


@dataclass(frozen=True, slots=True)
class Answer:
    """A code and the records of an answer."""

    rcode: int = wire.NOERROR
    records: tuple[Record, ...] = ()


def resolve(query: Query, zone: Zone, view: View) -> Answer | None:
    """Return the answer to *query* as *view* allows; None when a server outside has to be asked.

    Without a way out, every name that is not known here does not exist: that
    ends a search at once, where a refusal would be asked again.
    """
    if query.kind_class != wire.IN or query.kind in _TRANSFERS:
        return Answer(wire.REFUSED)
    local = _pointer(query.name, zone, view) if query.kind == wire.PTR else None
    local = local or _addresses(query, zone, view)
    if local is None and not view.external:
        return Answer(wire.NXDOMAIN)
    return local


def _addresses(query: Query, zone: Zone, view: View) -> Answer | None:
    name = query.name
    links = {fold(alias): target for alias, target in view.links.items()}
    if name in links and zone.has_name(view.networks, links[name]):
        name = links[name]
    elif not zone.has_name(view.networks, name):
        return None
    kinds = _FAMILIES.get(query.kind, ())
    found = (address for kind in kinds for address in zone.lookup(view.networks, name, kind))
    return Answer(records=tuple(wire.address_record(address) for address in found))


def _pointer(name: str, zone: Zone, view: View) -> Answer | None:
    address = wire.reversed_address(name)
    target = zone.reverse(view.networks, address) if address else ""
    if not target:
        return None
    try:
        return Answer(records=(wire.pointer_record(target),))
    except ValueError:
        return Answer()  # a name that the network knows, but no packet can carry
