"""The kernel side of networks as fakes: they note what they are asked for, in one list, in order."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from corten.core.networks.firewall.state import Opening, Side
from corten.core.networks.values import Attachment, NetworkSpec, Subnet
from corten.core.networks.values import Endpoint as Plugged
from corten.engine.records.network import Network
from corten.errors import NotFound

Acts = list[tuple[str, ...]]


@dataclass
class MemoryDriver:
    """A network that gives endpoints; *broken* makes ``ensure`` and ``remove`` fail."""

    spec: NetworkSpec
    acts: Acts
    link: str = ""
    broken: BaseException | None = None
    plugged: dict[str, Plugged] = field(default_factory=dict)

    def ensure(self) -> None:
        """Be up."""
        self._act("ensure")

    def remove(self) -> None:
        """Be down."""
        self._act("take down")

    def _act(self, what: str) -> None:
        self.acts.append((what, self.spec.name))
        if self.broken is not None:
            raise self.broken

    def plug(self, attachment: Attachment) -> Plugged:
        """Give an endpoint."""
        made = Plugged(
            network=self.spec.name,
            network_id=self.spec.id,
            endpoint_id=f"{len(self.plugged) + 1:064}",
            host_link=f"ct{self.spec.name}",
            interface=attachment.wishes.interface,
            mac="02:00",
            address=attachment.wishes.address or "10.0.0.2",
        )
        self.plugged[made.endpoint_id] = made
        return made

    def release(self, endpoint: Plugged) -> None:
        """Take it back."""
        self.acts.append(("release", self.spec.name))
        self.plugged.pop(endpoint.endpoint_id, None)

    def adopt(self, endpoint: Plugged) -> None:
        """Count it as given."""
        if self.broken is not None:
            raise self.broken
        self.plugged[endpoint.endpoint_id] = endpoint

    def reconcile(self, claimed: set[str]) -> list[str]:
        """Delete what nobody has."""
        self.acts.append(("reconcile", self.spec.name, *sorted(claimed)))
        return []


@dataclass
class MemorySandbox:
    """A namespace that is none."""

    endpoints: tuple[Plugged, ...]
    acts: Acts
    resolver: Any = None
    release_fails: bool = False

    def fileno(self) -> int:
        """Return a number that nobody uses."""
        return 1_000_000

    def close(self) -> None:
        """Drop the descriptor."""
        self.acts.append(("close sandbox",))

    def release(self) -> None:
        """Give all back."""
        self.acts.append(("release sandbox",))
        if self.release_fails:
            raise OSError("the kernel refused")


@dataclass
class MemorySandboxes:
    """Makes such, and changes living namespaces."""

    acts: Acts
    release_fails: bool = False
    meanwhile: Callable[[], None] = lambda: None

    def take(self, attachments: Sequence[Attachment], *, names: bool = False) -> MemorySandbox:
        """Plug a new one."""
        self.acts.append(("take", "with names" if names else "without names"))
        made = tuple(_driver(attachment).plug(attachment) for attachment in attachments)
        return MemorySandbox(made, self.acts, "a resolver" if names else None, self.release_fails)

    def stock(self, network: MemoryDriver | None, size: int, *, names: bool = False) -> None:
        """Keep some ready."""
        self.acts.append(("stock", network.spec.name if network else "", str(size), "names" if names else ""))

    def disconnect(self, _namespace: int, network: MemoryDriver, endpoint: Plugged) -> None:
        """Take a link out."""
        self.acts.append(("disconnect", network.spec.name, endpoint.interface))
        self.meanwhile()
        network.release(endpoint)

    def set_default(self, _namespace: int, endpoint: Plugged | None) -> None:
        """Lead out."""
        self.acts.append(("lead out", endpoint.network if endpoint else "nowhere"))

    def resolver(self, _namespace: int) -> str:
        """Open sockets."""
        return "a resolver"

    def close(self) -> None:
        """Stop."""
        self.acts.append(("close sandboxes",))


def _driver(attachment: Attachment) -> MemoryDriver:
    return cast("MemoryDriver", attachment.network)


@dataclass
class MemoryFirewall:
    """A table of sides and openings."""

    acts: Acts
    sides: dict[str, Side] = field(default_factory=dict)
    openings: dict[str, Sequence[Opening]] = field(default_factory=dict)
    broken: BaseException | None = None

    def restore(self, sides: Iterable[Side], openings: dict[str, Sequence[Opening]]) -> None:
        """Be exactly this."""
        self.acts.append(("restore firewall",))
        self.sides, self.openings = {side.bridge: side for side in sides}, dict(openings)

    def set_side(self, side: Side) -> None:
        """Know a bridge."""
        self.acts.append(("set side", side.bridge))
        self.sides[side.bridge] = side

    def drop_side(self, bridge: str) -> None:
        """Forget it."""
        self.acts.append(("drop side", bridge))
        self.sides.pop(bridge, None)

    def check(self) -> None:
        """Compare with the kernel."""
        self.acts.append(("check firewall",))
        if self.broken is not None:
            raise self.broken

    def watch(self) -> None:
        """Begin to watch."""
        self.acts.append(("watch firewall",))

    def remove(self) -> None:
        """Take the table away."""
        self.acts.append(("remove firewall",))

    def close(self) -> None:
        """Stop."""
        self.acts.append(("close firewall",))


@dataclass
class MemoryGuard:
    """Subnets that are closed."""

    acts: Acts
    closed: set[str] = field(default_factory=set)
    broken: BaseException | None = None

    def ensure(self, subnets: Iterable[object]) -> None:
        """Close exactly these."""
        self.acts.append(("guard",))
        if self.broken is not None:
            raise self.broken
        self.closed = {str(subnet) for subnet in subnets}

    def remove(self) -> None:
        """Open all."""
        self.acts.append(("remove guard",))
        self.closed = set()


def driver(of: Network, acts: Acts, link: str = "") -> MemoryDriver:
    """Return the driver of a recorded network."""
    subnets = tuple(Subnet(subnet=s.subnet, gateway=s.gateway) for s in of.subnets)
    return MemoryDriver(
        NetworkSpec(id=of.id, name=of.name, driver=of.driver, subnets=subnets, options=of.options), acts, link
    )


class MemoryFabric:
    """Networks that are up, by id."""

    def __init__(self, *networks: Network) -> None:
        self.acts: Acts = []
        self.sandboxes = MemorySandboxes(self.acts)
        self.drivers = {network.id: driver(network, self.acts) for network in networks}

    def driver(self, network_id: str) -> MemoryDriver:
        """Return the network to plug into."""
        with suppress(KeyError):
            return self.drivers[network_id]
        raise NotFound("network", network_id)

    def warm(self, network_id: str) -> None:
        """Keep one ready."""
        self.acts.append(("warm", self.drivers[network_id].spec.name))

    def add(self, network: Network) -> None:
        """Bring a network up."""
        self.acts.append(("add", network.name))
        self.drivers[network.id] = driver(network, self.acts)

    def remove(self, network_id: str) -> None:
        """Take it down."""
        self.acts.append(("remove", self.drivers.pop(network_id).spec.name))
