"""Fakes that write down what is asked of them, and fail where they are told to."""

import errno

from corten.core.networks.drivers.bridge import BridgeNetwork
from corten.core.networks.values import NetworkSpec, Subnet
from corten.linux.netlink import Request
from corten.linux.syscalls import KernelError

BRIDGE = NetworkSpec(
    id="ab" * 32, name="web", subnets=(Subnet(subnet="10.1.2.0/29"), Subnet(subnet="fd00:1::/64"))
)


class Recorder:
    """Writes down every step; the step of number *failing* fails."""

    def __init__(self, failing: int | None = None) -> None:
        self.steps: list[str] = []
        self._failing = failing

    def step(self, name: str) -> None:
        """Note *name*, or fail in its place."""
        if len(self.steps) == self._failing:
            self._failing = None
            self.steps.append(f"{name} FAILS")
            raise KernelError(errno.EPERM, name)
        self.steps.append(name)


class RecordingLinks(Recorder):
    """A ``Links`` that writes down the requests."""

    def execute(self, *requests: Request) -> None:
        """Note the first two words of what each request does."""
        for request in requests:
            self.step(" ".join(request.action.split()[:2]))


def bridge(spec: NetworkSpec = BRIDGE) -> BridgeNetwork:
    """A network that believes its bridge is there."""
    network = BridgeNetwork(spec, tag="corten", bridge="br0")
    network._index = 7
    return network
