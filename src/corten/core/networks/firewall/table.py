"""The text of our nftables table: the rules, which never change, and what fills them. Pure.

One table of the family inet, so that IPv4 and IPv6 are one transaction. The
way of a packet through it:

- ``clean``: loopback addresses on a wire are forged, whatever sysctls say.
- ``arrive``: what is for a host's address and a published port is translated.
  Not for internal networks, which reach nothing.
- ``admit``: policy routing drops what goes to a container and has no mark, so
  that an emptied table closes the containers instead of opening them (see
  the guard). The mark is given here: to answers, to published ports, to what
  stays within its network; and to what leaves one, where reverse path filters
  look the way back up with the mark of the packet.
- ``forward``: the same decision once more, for hosts where somebody else
  removed the routing rules, and for what is bridged: with br_netfilter, frames
  between two ports of one bridge come through here too.
- ``disguise``: what leaves gets the host's address; so does what a container
  sends to a published port of its own network, since the answer would go
  around us otherwise. Anybody else is seen by the service as who they are.

Published ports at the loopback address. The kernel neither routes a packet
from 127.0.0.1 out of the machine nor takes one to 127.0.0.1 from outside,
unless ``route_localnet`` allows both, also to attackers (CVE-2020-8558). It
decides by what stands in the packet, while connection tracking remembers what
stood there. So the address in the packet is changed behind the back of the
tracking: ``leave`` replaces the loopback source before the new route is looked
up, masquerading gives it a real one, ``admit`` puts that real address back
after the tracking restored 127.0.0.1, and ``enter`` restores it for good when
the kernel has let the packet in. No sysctl is needed, and it works for ::1.

Source: nft(8); netfilter packet flow; ip_route_me_harder in the kernel, which
takes any unicast source.
"""

import re
from collections.abc import Iterable, Mapping

from corten.core.networks.firewall.elements import Element, elements
from corten.core.networks.firewall.state import Opening, Side
from corten.core.networks.guard import MARK
from corten.errors import InvalidInput

# stand in for a loopback source until masquerading: documentation addresses (RFC 5737, RFC 3849), never on a wire
STAND_IN, STAND_IN6 = "192.0.2.1", "2001:db8::1"
_TABLE_NAME = re.compile(r"[A-Za-z][\w.-]{0,63}", re.ASCII)

_PORT = "inet_proto . inet_service"
# name -> what it is; the rest of each name is the version of IP where both have one
GROUPS: dict[str, str] = {
    "bridges": "set bridges { type ifname; }",
    "same": "set same { type ifname . ifname; }",
    "internal": "set internal { type ifname; }",
    "closed": "set closed { type ifname; }",
}
for _version in (4, 6):
    _ip = f"ipv{_version}_addr"
    for _name, _kind, _type in (
        ("subnets", "set", f"{_ip}; flags interval"),
        ("own", "set", f"ifname . {_ip}; flags interval"),
        ("masquerade", "set", f"{_ip}; flags interval"),
        ("routed", "set", f"{_ip}; flags interval"),
        ("ports", "map", f"{_ip} . {_PORT} : {_ip} . inet_service"),
        ("every", "map", f"{_PORT} : {_ip} . inet_service"),
        ("loop", "set", f"{_ip} . {_PORT}"),
        ("loopevery", "set", _PORT),
        ("open", "set", f"{_ip} . {_PORT}"),
    ):
        GROUPS[f"{_name}{_version}"] = f"{_kind} {_name}{_version} {{ type {_type}; }}"

# how many parts of a key are names of links
_NAMES = {"bridges": 1, "same": 2, "internal": 1, "closed": 1, "own4": 1, "own6": 1}

_KEY = "meta l4proto . th dport"
RULES = f"""\
    chain clean {{
        type filter hook prerouting priority raw; policy accept;
        iifname != "lo" ip saddr 127.0.0.0/8 drop
        iifname != "lo" ip daddr 127.0.0.0/8 drop
        iifname != "lo" ip6 saddr ::1 drop
        iifname != "lo" ip6 daddr ::1 drop
    }}
    chain translate {{
        dnat ip to ip daddr . {_KEY} map @ports4
        dnat ip to {_KEY} map @every4
        dnat ip6 to ip6 daddr . {_KEY} map @ports6
        dnat ip6 to {_KEY} map @every6
    }}
    chain arrive {{
        type nat hook prerouting priority dstnat; policy accept;
        iifname @internal return
        fib daddr type local jump translate
    }}
    chain admitted {{
        meta mark set meta mark or {MARK:#010x}
    }}
    chain inward {{
        ct state established,related goto admitted
        ct status dnat goto admitted
        iifname . ip daddr @own4 goto admitted
        iifname . ip6 daddr @own6 goto admitted
        ip daddr . {_KEY} @open4 goto admitted
        ip6 daddr . {_KEY} @open6 goto admitted
        ip daddr @routed4 meta l4proto icmp goto admitted
        ip6 daddr @routed6 meta l4proto ipv6-icmp goto admitted
    }}
    chain admit {{
        type filter hook prerouting priority -90; policy accept;
        iifname @bridges ip daddr 127.0.0.0/8 ct direction reply ip daddr set ct reply ip daddr
        iifname @bridges ip6 daddr ::1 ct direction reply ip6 daddr set ct reply ip6 daddr
        iifname @internal return
        ip daddr @subnets4 goto inward
        ip6 daddr @subnets6 goto inward
        iifname @bridges goto admitted
    }}
    chain enter {{
        type filter hook input priority 110; policy accept;
        iifname @bridges ct direction reply ct original ip saddr 127.0.0.0/8 ip daddr set ct original ip saddr
        iifname @bridges ct direction reply ct original ip6 saddr ::1 ip6 daddr set ::1
    }}
    chain leave {{
        type filter hook output priority mangle; policy accept;
        oifname != "lo" return
        ip saddr 127.0.0.0/8 ct direction original ct status dnat ip saddr set ct reply ip daddr return
        ip6 saddr ::1 ct direction original ct status dnat ip6 saddr set ct reply ip6 daddr return
        ct state != new return
        ip saddr 127.0.0.0/8 ip daddr . {_KEY} @loop4 ip saddr set {STAND_IN} return
        ip saddr 127.0.0.0/8 {_KEY} @loopevery4 ip saddr set {STAND_IN} return
        ip6 saddr ::1 ip6 daddr . {_KEY} @loop6 ip6 saddr set {STAND_IN6} return
        ip6 saddr ::1 {_KEY} @loopevery6 ip6 saddr set {STAND_IN6} return
    }}
    chain depart {{
        type nat hook output priority -100; policy accept;
        fib daddr type local jump translate
    }}
    chain within {{
        iifname != @closed accept
        ct status dnat accept
        drop
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname . oifname @same goto within
        iifname @internal drop
        oifname @internal drop
        oifname != @bridges return
        ct state established,related accept
        ct status dnat accept
        ip daddr . {_KEY} @open4 accept
        ip6 daddr . {_KEY} @open6 accept
        ip daddr @routed4 meta l4proto icmp accept
        ip6 daddr @routed6 meta l4proto ipv6-icmp accept
        drop
    }}
    chain disguise {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "lo" return
        oifname != @bridges ip saddr @masquerade4 masquerade
        oifname != @bridges ip6 saddr @masquerade6 masquerade
        ct status dnat oifname . ip saddr @own4 masquerade
        ct status dnat oifname . ip6 saddr @own6 masquerade
        ct original ip saddr 127.0.0.0/8 oifname @bridges masquerade
        ct original ip6 saddr ::1 oifname @bridges masquerade
    }}
"""


def checked_name(table: str) -> str:
    """Return *table*, the name of a table.

    Raises:
        InvalidInput: nft would not take it.
    """
    if not _TABLE_NAME.fullmatch(table):
        raise InvalidInput(f"table name {table!r}: begin with a letter; use letters, digits, '_', '.', '-'")
    return table


def whole(table: str, sides: Iterable[Side], openings: Iterable[Opening]) -> str:
    """Return the transaction that makes *table* exactly what it shall be, whatever it was.

    Raises:
        InvalidInput: a name, address, port or protocol that cannot be.
    """
    return made_of(table, elements(sides, openings))


def made_of(table: str, wished: Iterable[Element]) -> str:
    """Return the transaction that makes *table* hold exactly *wished*, whatever it was."""
    groups = "".join(f"    {text}\n" for text in GROUPS.values())
    return (
        f"add table inet {table}\ndelete table inet {table}\n"
        f"table inet {table} {{\n{groups}{RULES}}}\n{change(table, (), wished)}"
    )


def change(table: str, before: Iterable[Element], after: Iterable[Element]) -> str:
    """Return the transaction that leads from *before* to *after*; empty when they are the same."""
    old, new = set(before), set(after)
    removed, added = _by_group(old - new), _by_group(new - old)
    lines = [_line("delete", table, group, [_key(item) for item in held]) for group, held in removed]
    lines += [_line("add", table, group, [_text(item) for item in held]) for group, held in added]
    return "".join(lines)


def _by_group(chosen: set[Element]) -> list[tuple[str, list[Element]]]:
    grouped: Mapping[str, list[Element]] = {name: [] for name in GROUPS}
    for element in sorted(chosen):
        grouped[element.group].append(element)
    return [(name, held) for name, held in grouped.items() if held]


def _line(verb: str, table: str, group: str, items: list[str]) -> str:
    return f"{verb} element inet {table} {group} {{ {', '.join(items)} }}\n"


def _key(element: Element) -> str:
    quoted = _NAMES.get(element.group, 0)  # a name may begin with a digit
    return " . ".join(f'"{part}"' if place < quoted else part for place, part in enumerate(element.key))


def _text(element: Element) -> str:
    return f"{_key(element)} : {' . '.join(element.value)}" if element.value else _key(element)
