"""What a container asks of networks, by Docker's rules. Pure: texts and records in, values out.

Which networks it joins and with what (``endpoints``), which of them its
traffic to elsewhere goes through (``gateway_of``), which ports are to be
published (``ports``), and by which names others find it (``names``).
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from corten.core.networks.ports.ports import Wish
from corten.engine.records.config import ContainerConfig, EndpointSettings, HostConfig, PortBinding
from corten.engine.records.container import Endpoint
from corten.engine.records.network import Network
from corten.errors import InvalidInput

SHORT_ID = 12  # hex digits
CONTAINER = "container:"
PROTOCOLS = ("tcp", "udp", "sctp")
HIGHEST = 65535
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_DEFAULT_KEYS = ("", "default")

Find = Callable[[str], Network]


def mode_of(config: ContainerConfig, host_config: HostConfig) -> str:
    """Return the network mode: ``bridge``, ``host``, ``none``, ``container:REF``, or a network's name or id."""
    if config.network_disabled:
        return "none"
    mode = host_config.network_mode
    return "bridge" if mode in _DEFAULT_KEYS else mode


def shared_with(mode: str) -> str:
    """Return the container whose network namespace *mode* names, empty for none."""
    return mode.removeprefix(CONTAINER) if mode.startswith(CONTAINER) else ""


def check(config: ContainerConfig, host_config: HostConfig) -> None:
    """Refuse wishes that contradict the network mode, in Docker's words.

    Raises:
        InvalidInput: with the words of Docker's daemon and client.
    """
    mode = mode_of(config, host_config)
    published = any(host_config.port_bindings or {}) or host_config.publish_all_ports
    if mode.startswith(CONTAINER):
        if not shared_with(mode):
            raise InvalidInput('invalid container format container:<name|id>: write "container:NAME"')
        refused = {
            "hostname": config.hostname,
            "links": host_config.links,
            "dns": host_config.dns,
            "custom host-to-IP mapping": host_config.extra_hosts,
            "mac-address": config.mac_address,
            "port publishing": published,
            "port exposing": config.exposed_ports and published,
        }
        for what, given in refused.items():
            if given:
                joint = "the container type network mode" if what.startswith("port") else "the network mode"
                raise InvalidInput(f"conflicting options: {what} and {joint}")
    if mode == "host" and host_config.links:
        raise InvalidInput(
            "conflicting options: host type networking can't be used with links. This would result in undefined behavior"
        )


def endpoints(
    mode: str,
    config: ContainerConfig,
    host_config: HostConfig,
    given: Mapping[str, EndpointSettings | None],
    find: Find,
) -> tuple[Endpoint, ...]:
    """Return the attachments that a container shall have, that of the network mode first.

    Args:
        mode: As ``mode_of`` gives it.
        config: The container's.
        host_config: The container's.
        given: Settings by network name or id, as sent.
        find: Returns the network of a name or id; NotFound for none.

    Raises:
        InvalidInput: settings that the network cannot meet, or two of one network.
        NotFound: there is no such network.
    """
    if mode.startswith(CONTAINER):
        return ()
    wanted: dict[str, EndpointSettings] = {mode: EndpointSettings()}
    for key, settings in given.items():
        name = mode if key in _DEFAULT_KEYS else key
        wanted[name] = settings or EndpointSettings()
    found: dict[str, Endpoint] = {}
    for name, asked in wanted.items():
        network = find(name)
        settings = _with_container_wishes(asked, name == mode, config, host_config)
        if network.id in found and name != mode and settings != EndpointSettings():
            found[network.id] = replace(found[network.id], wishes=settings)
            continue
        check_settings(network, settings)
        found.setdefault(network.id, endpoint(network, settings))
    if len(found) > 1 and any(e.network in ("host", "none") for e in found.values()):
        raise InvalidInput(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
        )
    return tuple(found.values())


def endpoint(network: Network, settings: EndpointSettings) -> Endpoint:
    """Return the attachment to *network* of a container that does not run."""
    return Endpoint(network=network.name, network_id=network.id, wishes=settings)


def _with_container_wishes(
    settings: EndpointSettings, main: bool, config: ContainerConfig, host_config: HostConfig
) -> EndpointSettings:
    """Return *settings* with what older clients say of the main network elsewhere in the request."""
    if not main:
        return settings
    return replace(
        settings,
        mac_address=settings.mac_address or config.mac_address,
        links=settings.links or host_config.links,
    )


def check_settings(network: Network, settings: EndpointSettings) -> None:
    """Refuse what *network* cannot give an endpoint.

    Raises:
        InvalidInput: in Docker's words.
    """
    asked = settings.ipam_config
    address = bool(asked and (asked.ipv4_address or asked.ipv6_address or asked.link_local_ips))
    if network.config_only:
        raise InvalidInput(f"network {network.name} is configuration-only: name a network made from it")
    if network.name in ("host", "none") and (address or settings.aliases):
        raise InvalidInput(f"the network {network.name} has no addresses or names to choose: leave them out")
    if network.name == "bridge" and address:
        raise InvalidInput(
            "invalid config for network bridge: invalid endpoint settings: "
            "user-configured static IP addresses are supported only on user defined networks: "
            "make one with 'corten network create'"
        )
    if network.name == "bridge" and settings.aliases:
        raise InvalidInput(
            "invalid endpoint settings: network-scoped aliases are only supported for user-defined networks: "
            "make one with 'corten network create'"
        )


def gateway_of(attached: Sequence[Endpoint], find: Find) -> Endpoint | None:
    """Return the attachment that the default routes lead through; None without a way out.

    The highest ``gw_priority`` counts, then Docker's order: by network name.
    """
    able = [e for e in attached if e.network not in ("host", "none") and not find(e.network_id).internal]
    return min(able, key=lambda e: (-(e.wishes.gw_priority if e.wishes else 0), e.network), default=None)


def ports(config: ContainerConfig, host_config: HostConfig) -> tuple[Wish, ...]:
    """Return the ports to publish: those bound, and with ``-P`` each exposed one.

    Raises:
        InvalidInput: a port or a range that makes no sense.
    """
    bindings = host_config.port_bindings or {}
    wanted: list[Wish] = []
    for port, places in bindings.items():
        number, protocol = port_of(port)
        wanted += [_wish(number, protocol, place) for place in places or (PortBinding(),)]
    if host_config.publish_all_ports:
        bound = {port_of(port) for port in bindings}
        for number, protocol in sorted(exposed(config.exposed_ports or ()) - bound):
            wanted.append(_wish(number, protocol, PortBinding()))
    return tuple(wanted)


def exposed(given: Iterable[str]) -> set[tuple[int, str]]:
    """Return each port of texts such as ``80/tcp`` and ``8000-8010/udp``."""
    found = set()
    for text in given:
        span, _, protocol = text.partition("/")
        first, last = _span(span, text)
        found |= {(number, _protocol(protocol, text)) for number in range(first, last + 1)}
    return found


def port_of(text: str) -> tuple[int, str]:
    """Return number and protocol of ``80/tcp``, ``80``."""
    number, _, protocol = text.partition("/")
    first, last = _span(number, text)
    if first != last or not first:
        raise InvalidInput(f"invalid port specification: {text!r}")
    return first, _protocol(protocol, text)


def _wish(number: int, protocol: str, place: PortBinding) -> Wish:
    first, last = _span(place.host_port, place.host_port) if place.host_port else (0, 0)
    return Wish(
        protocol=protocol, container_port=number, host_ip=_host_address(place.host_ip), first=first, last=last
    )


def _host_address(text: str) -> str:
    return text.strip("[]")


def _protocol(text: str, where: str) -> str:
    protocol = text.lower() or "tcp"
    if protocol not in PROTOCOLS:
        raise InvalidInput(f"invalid port specification: {where!r}: the protocol is tcp, udp or sctp")
    return protocol


def _span(text: str, where: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if not first <= last <= HIGHEST:
        raise InvalidInput(f"invalid port specification: {where!r}")
    return first, last


def names(container_id: str, name: str, hostname: str, attached: Endpoint) -> tuple[str, ...]:
    """Return the names by which others on a user network find a container, each once, Docker's order."""
    aliases = (attached.wishes.aliases if attached.wishes else None) or ()
    return tuple(dict.fromkeys((name, *aliases, container_id[:SHORT_ID], hostname)))


def links(attached: Iterable[Endpoint]) -> dict[str, str]:
    """Return alias -> container of ``--link`` (``name:alias``, or a name alone)."""
    found: dict[str, str] = {}
    for one in attached:
        for text in (one.wishes.links if one.wishes else None) or ():
            target, _, alias = text.partition(":")
            target = target.removeprefix("/")
            found[alias.rpartition("/")[2] or target] = target
    return found
