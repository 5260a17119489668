"""From records to Docker's JSON: networks, attachments and ports. Pure functions, one per form.

Source: Docker Engine API 1.51, NetworkInspect, EndpointSettings, PortMap.
What a client may tell apart stays apart: null where nothing was said, an empty
object or text where Docker has one.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from corten.engine.records.config import EndpointSettings
from corten.engine.records.container import Container, Endpoint, Published
from corten.engine.records.network import IpamSubnet, Network

RUNNING = frozenset({"running", "paused", "restarting"})
_SHARED = ("host", "none")  # networks on which a container has no ports of its own


def network(network: Network, members: Sequence[Container] = ()) -> dict[str, Any]:
    """Return a network as ``GET /networks/{id}`` answers it, with the containers on it."""
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Scope": network.scope,
        "Driver": network.driver,
        "EnableIPv4": network.ipv4,
        "EnableIPv6": network.ipv6,
        "IPAM": _ipam(network),
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": network.ingress,
        "ConfigFrom": {"Network": network.config_from},
        "ConfigOnly": network.config_only,
        "Containers": {c.id: _member(c, e) for c in members for e in c.endpoints if _on(e, network)},
        "Options": network.options,
        "Labels": network.labels,
    }


def _ipam(network: Network) -> dict[str, Any]:
    """Return ``IPAM`` of a network; what was never asked is null."""
    return {
        "Driver": network.ipam_driver,
        "Options": None if network.predefined else network.ipam_options,
        "Config": [_subnet(subnet) for subnet in network.subnets] or None,
    }


def _subnet(subnet: IpamSubnet) -> dict[str, Any]:
    """Return one member of ``IPAM.Config``, without what is empty."""
    members: dict[str, Any] = {
        "Subnet": subnet.subnet,
        "IPRange": subnet.ip_range,
        "Gateway": subnet.gateway,
        "AuxiliaryAddresses": subnet.reserved,
    }
    return {name: value for name, value in members.items() if value}


def _on(endpoint: Endpoint, network: Network) -> bool:
    """Tell whether *endpoint* is on *network*; old records know the name alone."""
    if endpoint.network_id:
        return endpoint.network_id == network.id
    return endpoint.network == network.name


def _member(container: Container, endpoint: Endpoint) -> dict[str, str]:
    """Return one member of ``Containers`` of a network."""
    return {
        "Name": container.name,
        "EndpointID": endpoint.endpoint_id,
        "MacAddress": endpoint.mac,
        "IPv4Address": f"{endpoint.address}/{endpoint.prefix}" if endpoint.address else "",
        "IPv6Address": f"{endpoint.address6}/{endpoint.prefix6}" if endpoint.address6 else "",
    }


def endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """Return one member of ``NetworkSettings.Networks``: what was asked for, and what it has now."""
    asked = endpoint.wishes or EndpointSettings()
    return {
        "IPAMConfig": None if asked.ipam_config is None else msgspec.to_builtins(asked.ipam_config),
        "Links": asked.links or None,
        "Aliases": asked.aliases or None,
        "MacAddress": endpoint.mac,
        "DriverOpts": asked.driver_opts or None,
        "GwPriority": asked.gw_priority,
        "NetworkID": endpoint.network_id,
        "EndpointID": endpoint.endpoint_id,
        "Gateway": endpoint.gateway,
        "IPAddress": endpoint.address,
        "IPPrefixLen": endpoint.prefix,
        "IPv6Gateway": endpoint.gateway6,
        "GlobalIPv6Address": endpoint.address6,
        "GlobalIPv6PrefixLen": endpoint.prefix6,
        "DNSNames": endpoint.names or None,
    }


def networks(container: Container) -> dict[str, dict[str, Any]]:
    """Return ``NetworkSettings.Networks``."""
    return {each.network: endpoint(each) for each in container.endpoints}


def network_settings(container: Container) -> dict[str, Any]:
    """Return ``NetworkSettings`` of ``inspect``, with the old members of the default bridge."""
    bridge = next((e for e in container.endpoints if e.network == "bridge"), Endpoint("bridge"))
    running = container.state.status in ("running", "paused")
    return {
        "Bridge": "",
        "SandboxID": container.id if running else "",
        "SandboxKey": f"/proc/{container.state.pid}/ns/net" if running else "",
        "Ports": port_map(container),
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": bridge.endpoint_id,
        "Gateway": bridge.gateway,
        "GlobalIPv6Address": bridge.address6,
        "GlobalIPv6PrefixLen": bridge.prefix6,
        "IPAddress": bridge.address,
        "IPPrefixLen": bridge.prefix,
        "IPv6Gateway": bridge.gateway6,
        "MacAddress": bridge.mac,
        "Networks": networks(container),
    }


def port_map(container: Container) -> dict[str, list[dict[str, str]] | None]:
    """Return ``NetworkSettings.Ports``: bindings by ``80/tcp``, null for a port that is exposed alone."""
    if container.state.status not in RUNNING:
        return {}
    found: dict[str, list[dict[str, str]] | None] = {}
    for name in sorted(_exposed(container), key=_number):
        found[name] = None
    for port in sorted(container.published, key=_binding_order):
        bindings = found.get(f"{port.container_port}/{port.protocol}") or []
        bindings.append({"HostIp": port.host_ip, "HostPort": str(port.host_port)})
        found[f"{port.container_port}/{port.protocol}"] = bindings
    return found


def ports(container: Container) -> list[dict[str, Any]]:
    """Return ``Ports`` of the container list: one entry for each binding, or for a port without any."""
    found: list[dict[str, Any]] = []
    for name, bindings in port_map(container).items():
        number, _, protocol = name.partition("/")
        inner = {"PrivatePort": int(number), "Type": protocol}
        if not bindings:
            found.append(inner)
        for binding in bindings or ():
            outer = {"IP": binding["HostIp"], "PublicPort": int(binding["HostPort"])}
            found.append({"IP": outer["IP"], **inner, "PublicPort": outer["PublicPort"]})
    return found


def _exposed(container: Container) -> list[str]:
    """Return the exposed ports, ranges taken apart, with their protocol; none where it has no network of its own."""
    if not any(endpoint.network not in _SHARED for endpoint in container.endpoints):
        return []
    found = []
    for text in container.config.exposed_ports or ():
        numbers, _, protocol = text.partition("/")
        first, _, last = numbers.partition("-")
        if first.isdigit() and (last or first).isdigit():
            found += [f"{number}/{protocol or 'tcp'}" for number in range(int(first), int(last or first) + 1)]
    return found


def _number(name: str) -> tuple[int, str]:
    number, _, protocol = name.partition("/")
    return int(number), protocol


def _binding_order(port: Published) -> tuple[int, str, bool, str, int]:
    """Return what orders bindings: by port, those of IPv4 first."""
    return port.container_port, port.protocol, ":" in port.host_ip, port.host_ip, port.host_port


def reach(way: Any) -> dict[str, Any]:
    """Return one member of ``GET /corten/networks/ports``."""
    return {
        "Container": way.container,
        "Network": way.network,
        "Protocol": way.protocol,
        "ContainerPort": way.container_port,
        "HostIp": way.host_ip,
        "HostPort": way.host_port,
        "Who": way.who,
    }
