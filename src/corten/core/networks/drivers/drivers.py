"""From what a network shall be to the object that makes it."""

from corten.core.networks.drivers import options
from corten.core.networks.drivers.bridge import BridgeNetwork
from corten.core.networks.drivers.macvlan import MacvlanNetwork
from corten.core.networks.values import Network, NetworkSpec
from corten.errors import NotFound


def link_name(network_id: str) -> str:
    """Return the name of the bridge of a network, as Docker does."""
    return f"br-{network_id[:12]}"


def make(spec: NetworkSpec, *, tag: str, bridge: str = "") -> Network:
    """Return the network that *spec* describes; the kernel is not asked yet.

    Args:
        spec: What it shall be.
        tag: Begins the alias of every link of ours; one per engine and host.
        bridge: Name of the bridge link, where it is not the usual one.

    Raises:
        NotFound: there is no such driver.
        InvalidInput: a subnet or an option that cannot be.
    """
    if spec.driver not in options.KNOWN:
        raise NotFound("plugin", spec.driver)
    options.check(spec.driver, spec.options)
    if spec.driver == "bridge":
        return BridgeNetwork(spec, tag=tag, bridge=bridge or link_name(spec.id))
    return MacvlanNetwork(spec, tag=tag)
