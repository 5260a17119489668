"""Fakes of what a workbench works with: namespaces, a network and a resolver that write down what is asked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

from corten.core.networks.dns.sockets import Resolver
from corten.core.networks.sandboxes.workbench import Workbench
from corten.core.networks.values import Attachment, Endpoint, Links, NetworkSpec, Wishes
from corten.linux.netlink import IpInterface, Request
from tests.unit.core.networks.drivers.recording import BRIDGE, Recorder

ENDPOINT = Endpoint(
    network="web",
    network_id=BRIDGE.id,
    endpoint_id="cd" * 32,
    host_link="ct00000000",
    interface="eth0",
    mac="02:00:00:00:00:02",
    address="10.1.2.2",
    prefix=29,
    gateway="10.1.2.1",
)


class FakeResolver:
    """Counts how often it is closed."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        """Count."""
        self.closed += 1


class Recording(Recorder):
    """A ``Namespaces``, a ``Network`` and a ``Links`` at once."""

    spec: NetworkSpec = BRIDGE
    link = "br0"

    def __init__(self, failing: int | None = None, endpoint: Endpoint = ENDPOINT) -> None:
        super().__init__(failing)
        self.endpoint = endpoint
        self.opened: list[Resolver] = []

    @contextmanager
    def fresh(self) -> Iterator[int]:
        """Note entering and leaving."""
        self.step("enter")
        try:
            yield 99
        finally:
            self.step("leave")

    @contextmanager
    def entered(self, descriptor: int) -> Iterator[int]:
        """Note entering and leaving."""
        self.step(f"enter {descriptor}")
        try:
            yield descriptor
        finally:
            self.step("leave")

    def close(self, descriptor: int) -> None:
        """Note the descriptor."""
        self.step(f"close {descriptor}")

    def prepare(self) -> None:
        """Note it."""
        self.step("prepare")

    def bring_up(self, endpoint: Endpoint, further: Sequence[IpInterface], *, default: bool) -> None:
        """Note all of it."""
        words = ["bring up", endpoint.interface, *map(str, further), *(["default"] if default else [])]
        self.step(" ".join(words))

    def announce(self, endpoint: Endpoint) -> None:
        """Note the interface."""
        self.step(f"announce {endpoint.interface}")

    def lead_out(self, endpoint: Endpoint | None) -> None:
        """Note the interface."""
        self.step(f"lead out {endpoint.interface if endpoint else None}")

    def unplug(self, endpoint: Endpoint) -> None:
        """Note the interface."""
        self.step(f"unplug {endpoint.interface}")

    def execute(self, *requests: Request) -> None:
        """Note what each request does."""
        for request in requests:
            self.step(request.action)

    def ensure(self) -> None:
        """Note it."""
        self.step("ensure")

    def remove(self) -> None:
        """Note it."""
        self.step("remove")

    def plug(self, links: Links, namespace: int, wishes: Wishes) -> Endpoint:
        """Note the namespace and a wish, and give a fixed endpoint."""
        assert links
        self.step(f"plug {namespace} {wishes.address}".strip())
        return self.endpoint

    def release(self, endpoint: Endpoint) -> None:
        """Note the address."""
        self.step(f"release {endpoint.address}")

    def adopt(self, endpoint: Endpoint) -> None:
        """Note the address."""
        self.step(f"adopt {endpoint.address}")

    def reconcile(self, claimed: set[str]) -> list[str]:
        """Note them."""
        self.step(f"reconcile {claimed}")
        return []

    def open_resolver(self) -> Resolver:
        """Note it and give one that counts."""
        self.step("resolver")
        self.opened.append(cast(Resolver, FakeResolver()))
        return self.opened[-1]

    def bench(self) -> Workbench:
        """A workbench with these tools."""
        return Workbench(self, self, self.open_resolver)

    def attachment(self, wishes: Wishes = Wishes(), *, default: bool = True) -> Attachment:  # noqa: B008 - frozen
        """An attachment to this network."""
        return Attachment(network=self, wishes=wishes, default=default)
