"""Guard: nobody outside reaches a container without leave, even when the firewall is gone.

Rules of a packet filter fail open: flushed by hand, by a reload of firewalld,
or by a crash between two changes, they leave every port of every container to
whoever routes its subnet to this host, and ports published on 127.0.0.1 with
it (CVE-2025-54388, CVE-2025-54410). So the leave is asked for elsewhere. A
routing table of ours drops whatever goes to a subnet of containers, and is
asked before the main one:

    P    carries MARK          -> go to P+3    our firewall let it pass
    P+1  sent by this host     -> go to P+3
    P+2  look the table up: a blackhole for each subnet
    P+3  nothing

Only our nftables rules set the mark (answers, and what was translated to a
published port), so that a flush of them closes instead of opening. Traffic
within one bridge is not routed and never asks. The kernel clears marks of
packets that leave a network namespace: no container can forge one.

A reverse path filter (``rp_filter`` 1 or 2, as many distributions set it) asks
the same rules for the way back to the sender of each packet, as if that came
from where the packet goes to. For what leaves a container this would be a
blackhole, and the packet be dropped. Therefore bridges have
``src_valid_mark`` 1, and the firewall marks what leaves them as well.

Every rule carries the number of the table, which derives from the engine's
tag; that tells the rules of several engines apart even where they share
priorities. Rules and routes say that the kernel made them, because
systemd-networkd deletes those of anybody else when it starts.

An alternative, a default-deny chain in a table that is never touched, goes
with ``nft flush ruleset`` all the same.

Source: ip-rule(8); Documentation/networking/policy-routing.rst;
systemd.network(5), ManageForeignRoutingPolicyRules.
"""

import errno
import hashlib
import socket
import threading
from collections.abc import Iterable

from corten.linux.netlink import (
    IpNetwork,
    Netlink,
    Rule,
    add_rule,
    blackhole_route,
    delete_blackhole_route,
    delete_rule,
)
from corten.linux.routes import RTN_BLACKHOLE, RTPROT_KERNEL
from corten.linux.rules import FR_ACT_GOTO, FR_ACT_NOP, FR_ACT_TO_TBL
from corten.linux.syscalls import KernelError

MARK = 0x0C0DE000  # value and mask: the bits of a packet's mark that let it pass
# Behind the local table (0, or 100 where Cilium put it), before tables of virtual
# routers (1000), of tunnels (5000 and more) and the main one (32766).
_FIRST_PRIORITY, _SLOTS, _RULES = 128, 216, 4
_FIRST_TABLE = 0x0C000000
_FAMILIES = ((socket.AF_INET, 4), (socket.AF_INET6, 6))


class Guard:
    """The routing rules of one engine. Safe to share between threads.

    Made without touching the kernel. Works in the network namespace of the
    thread that calls.

    Args:
        tag: The engine's; one per engine and host.
    """

    def __init__(self, tag: str) -> None:
        seed = hashlib.sha256(tag.encode()).digest()
        self.table = table = _FIRST_TABLE + int.from_bytes(seed[:3], "big")
        first = _FIRST_PRIORITY + _RULES * (int.from_bytes(seed[3:5], "big") % _SLOTS)
        end, by = first + 3, RTPROT_KERNEL
        # in the order in which they are added: nothing is dropped before all is there
        self._rules = (
            Rule(end, FR_ACT_NOP, table, protocol=by),
            Rule(first, FR_ACT_GOTO, table, goto=end, mark=MARK, mask=MARK, protocol=by),
            Rule(first + 1, FR_ACT_GOTO, table, goto=end, interface="lo", protocol=by),
            Rule(first + 2, FR_ACT_TO_TBL, table, protocol=by),
        )
        self._lock = threading.Lock()

    def ensure(self, subnets: Iterable[IpNetwork]) -> None:
        """Guard exactly *subnets*; idempotent, also repairs what others removed.

        A family without subnets has no rules. A subnet is guarded before this
        returns; one that is guarded already stays so at every instant.

        Raises:
            KernelError: the kernel refused; EAFNOSUPPORT for subnets of IPv6 without IPv6.
        """
        wanted = set(subnets)
        with self._lock, Netlink() as netlink:
            for family, version in _FAMILIES:
                self._ensure(netlink, family, {subnet for subnet in wanted if subnet.version == version})

    def remove(self) -> None:
        """Take every rule and route of ours away; idempotent.

        Raises:
            KernelError: the kernel refused.
        """
        self.ensure(())

    def _ensure(self, netlink: Netlink, family: int, subnets: set[IpNetwork]) -> None:
        try:
            rules = [rule for rule in netlink.rules(family) if rule.table == self.table]
        except KernelError as failure:
            if subnets or failure.errno not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
                raise
            return  # a kernel without IPv6 has nothing to guard
        routes = {route.destination for route in netlink.routes(family, table=self.table, kind=RTN_BLACKHOLE)}
        wished = self._rules if subnets else ()
        extra, surplus = [rule for rule in rules if rule not in wished], routes - subnets
        netlink.execute(
            *(blackhole_route(subnet, self.table, protocol=RTPROT_KERNEL) for subnet in subnets - routes),
            *(add_rule(family, rule) for rule in wished if rule not in rules),
        )
        # the look-up goes first, then what leads around it
        netlink.execute(*(delete_rule(family, rule) for rule in sorted(extra, key=_look_up_first)))
        netlink.execute(*(delete_blackhole_route(subnet, self.table) for subnet in surplus))


def _look_up_first(rule: Rule) -> bool:
    return rule.action != FR_ACT_TO_TBL
