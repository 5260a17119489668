"""Fabric: the recorded networks in the kernel, as desired state.

Each network has a driver object for its links and addresses. What holds for
all of them together, the firewall's table and the routes that keep subnets
closed when that table is gone, is kept in step here: closed before open when
something is made, open before closed when it goes.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from ipaddress import IPv4Network, IPv6Network, ip_network

from corten.core.networks.drivers import drivers, strays
from corten.core.networks.drivers.keeper import Keeper
from corten.core.networks.firewall.firewall import Firewall
from corten.core.networks.firewall.state import Opening, Side
from corten.core.networks.guard import Guard
from corten.core.networks.sandboxes.sandboxes import Sandboxes
from corten.core.networks.values import Network as Driver
from corten.core.networks.values import NetworkSpec, Subnet
from corten.engine.records.network import Network
from corten.errors import Conflict, CortenError, InvalidInput, NotFound

ICC, MASQUERADE = "com.docker.network.bridge.enable_icc", "com.docker.network.bridge.enable_ip_masquerade"
GATEWAY_MODE = "com.docker.network.bridge.gateway_mode_ipv4"
BOOLEANS = {**dict.fromkeys(("1", "t", "true"), True), **dict.fromkeys(("0", "f", "false"), False)}
WARM = 8  # networks of users with a sandbox ready

log = logging.getLogger("corten.networks")


class Fabric:
    """The networks in the kernel; one per engine.

    Args:
        tag: Begins the alias of every link of ours.
        bridge: Link name of the default bridge.
        sandboxes: Makes network namespaces, from stock for the default bridge and for none.
        firewall: The engine's table.
        guard: The engine's routes.
        stock: Sandboxes of each kind to keep ready.
    """

    def __init__(
        self, tag: str, bridge: str, sandboxes: Sandboxes, firewall: Firewall, guard: Guard, stock: int
    ) -> None:
        self.sandboxes, self.firewall = sandboxes, firewall
        self._tag, self._bridge, self._guard, self._stock = tag, bridge, guard, stock
        self._drivers: dict[str, Driver] = {}
        self._recorded: set[str] = set()  # also those that could not be made sense of
        self._sides: dict[str, Side] = {}
        self._warm: OrderedDict[str, Driver] = OrderedDict()
        self._keeper: Keeper | None = None
        self._changing = (
            threading.RLock()
        )  # one change of the kernel at a time: the keeper mends in its thread

    def know(self, networks: Iterable[Network]) -> None:
        """Learn of the recorded networks, without touching the kernel; one that cannot be is told in the log."""
        for network in networks:
            self._recorded.add(network.id)
            if _has_links(network):
                try:
                    self._know(network)
                except CortenError as failure:
                    log.warning("network %s is not up: %s", network.name, failure)

    def restore(self, openings: Mapping[str, Sequence[Opening]]) -> None:
        """Make the kernel what is known, at the start of the daemon; a network that fails is told in the log.

        Blocks for some milliseconds for each network.

        Args:
            openings: The published ports by container.
        """
        for name in strays.remove_networks(self._tag, {identifier[:12] for identifier in self._recorded}):
            log.info("bridge %s belonged to no network and was deleted", name)
        self._close()
        self.firewall.restore(self._sides.values(), openings)
        self._ensure_all()

    def _ensure_all(self) -> None:
        """Have each network up that can be; one that fails is told in the log and keeps no other one down."""
        for driver in tuple(self._drivers.values()):
            try:
                driver.ensure()
            except (CortenError, OSError) as failure:
                log.warning("network %s is not up: %s", driver.spec.name, failure)

    def fill(self) -> None:
        """Begin to keep sandboxes ready, and what others remove in place; after running containers were adopted."""
        self.firewall.watch()
        self._keeper = Keeper(self._is_wanted, self.repair)
        self.sandboxes.stock(None, self._stock)
        for driver in self._drivers.values():
            if driver.spec.name == "bridge":
                self.sandboxes.stock(driver, self._stock)

    def add(self, network: Network) -> None:
        """Bring a new network up: all of it, or nothing. Blocks for some milliseconds.

        Raises:
            InvalidInput, Unsupported: driver or options that cannot be.
            Conflict: its link exists and is not ours.
            KernelError: the kernel refused.
        """
        if not _has_links(network):
            return
        with self._changing:
            driver = self._know(network)
            try:
                self._close()
                if network.id in self._sides:
                    self.firewall.set_side(self._sides[network.id])
                driver.ensure()
            except BaseException:
                self.remove(network.id)
                raise

    def remove(self, network_id: str) -> None:
        """Take a network that nobody is on out of the kernel; idempotent. Blocks for some 20 ms."""
        with self._changing:
            driver, side = self._drivers.pop(network_id, None), self._sides.pop(network_id, None)
            warm = self._warm.pop(network_id, None)
            with ExitStack() as rest:  # each step is taken, also when one before it fails; the last one first
                rest.callback(self._close)
                if side is not None:
                    rest.callback(self.firewall.drop_side, side.bridge)
                if driver is not None:
                    rest.callback(_take_down, driver)
                if warm is not None:
                    rest.callback(self.sandboxes.stock, warm, 0)

    def driver(self, network_id: str) -> Driver:
        """Return the network to plug into.

        Raises:
            NotFound: it is not up, or has no links.
        """
        try:
            return self._drivers[network_id]
        except KeyError:
            raise NotFound("network", network_id) from None

    def warm(self, network_id: str) -> None:
        """Keep a sandbox ready for a network of a user that is in use, as for the default bridge.

        For the networks used last only: each one holds a namespace and an address.
        """
        if network_id not in self._sides or self._sides[network_id].internal:
            return
        driver = self._drivers[network_id]
        if driver.spec.name == "bridge":
            return
        if network_id not in self._warm:
            self.sandboxes.stock(driver, 1, names=True)
        self._warm[network_id] = driver
        self._warm.move_to_end(network_id)
        if len(self._warm) > WARM:
            _, former = self._warm.popitem(last=False)
            self.sandboxes.stock(former, 0)

    def bridge_of(self, network_id: str) -> str:
        """Return the bridge that ports of containers on a network are published through, empty for none."""
        side = self._sides.get(network_id)
        return "" if side is None or side.internal else side.bridge

    def reconcile(self, claimed: set[str]) -> None:
        """Delete links of ours that no running container in *claimed* (host links) has."""
        for driver in self._drivers.values():
            for name in driver.reconcile(claimed):
                log.info("link %s belonged to nobody and was deleted", name)

    def repair(self) -> None:
        """Make again what others removed; idempotent. What cannot be made is told in the log."""
        with self._changing:
            for mend in (self._close, self.firewall.check):
                try:
                    mend()
                except (CortenError, OSError) as failure:
                    log.warning("the networks could not be mended: %s", failure)
            self._ensure_all()

    def _is_wanted(self, link: str) -> bool:
        return not link or any(driver.link == link for driver in tuple(self._drivers.values()))

    def close(self) -> None:
        """Stop the threads; the kernel keeps all."""
        if self._keeper is not None:
            self._keeper.close()
        self.firewall.close()
        self.sandboxes.close()

    def vanish(self) -> None:
        """Take everything out of the kernel, when no container is left."""
        if self._keeper is not None:
            self._keeper.close()
        with self._changing, ExitStack() as rest:  # each step is taken, also when one before it fails
            rest.callback(self._guard.remove)
            rest.callback(self.firewall.remove)
            for driver in self._drivers.values():
                rest.callback(_take_down, driver)

    def _know(self, network: Network) -> Driver:
        bridge = self._bridge if network.name == "bridge" else ""
        driver = drivers.make(spec_of(network), tag=self._tag, bridge=bridge)
        self._check_link(driver)
        self._drivers[network.id] = driver
        if network.driver == "bridge":
            self._sides[network.id] = side_of(network, driver.link)
        return driver

    def _check_link(self, driver: Driver) -> None:
        """Refuse a bridge that another network has: what is told the firewall of one would hold for both."""
        for other in self._drivers.values() if driver.spec.driver == "bridge" else ():
            if other.link == driver.link and other.spec.id != driver.spec.id:
                raise Conflict(
                    f"bridge {driver.link} is that of network {other.spec.name}: choose another bridge name"
                )

    def _close(self) -> None:
        """Keep every subnet closed to the outside, whatever becomes of the firewall's table."""
        self._guard.ensure(net for side in self._sides.values() for net in _networks(side.subnets))


def _take_down(driver: Driver) -> None:
    """Delete the link of a network; idempotent. One of the same name that is not ours stays as it is."""
    with suppress(Conflict):
        driver.remove()


def _has_links(network: Network) -> bool:
    return network.driver not in ("host", "null") and not network.config_only


def _networks(texts: Iterable[str]) -> list[IPv4Network | IPv6Network]:
    return [ip_network(text) for text in texts]


def spec_of(network: Network) -> NetworkSpec:
    """Return what the kernel side of *network* shall be."""
    return NetworkSpec(
        id=network.id,
        name=network.name,
        driver=network.driver,
        subnets=tuple(
            Subnet(subnet=s.subnet, gateway=s.gateway, ip_range=s.ip_range, reserved=s.reserved)
            for s in network.subnets
        ),
        internal=network.internal,
        options=network.options,
    )


def side_of(network: Network, bridge: str) -> Side:
    """Return how the firewall sees a bridge network.

    Raises:
        InvalidInput: an option that is neither true nor false.
    """
    routed = network.options.get(GATEWAY_MODE) == "routed"
    return Side(
        bridge=bridge,
        subnets=tuple(s.subnet for s in network.subnets),
        internal=network.internal,
        icc=option(network.options, ICC),
        masquerade=option(network.options, MASQUERADE) and not routed,
        routed=routed,
    )


def option(options: Mapping[str, str], key: str) -> bool:
    """Return a driver option that is on unless switched off.

    Raises:
        InvalidInput: another value.
    """
    text = options.get(key, "true")
    if text.lower() not in BOOLEANS:
        raise InvalidInput(f"option {key}={text}: say true or false")
    return BOOLEANS[text.lower()]
