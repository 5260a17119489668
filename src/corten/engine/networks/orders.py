"""From a request to the record of a network, all but the addresses that the engine chooses. Pure."""

import re
from collections.abc import Mapping, Sequence

from corten.engine.networks.requests import NetworkRequest
from corten.engine.records.network import PREDEFINED, Network
from corten.engine.selection import has_label, moment, seconds
from corten.errors import Forbidden, InvalidInput, NotFound, Unsupported

DRIVERS = ("bridge", "macvlan", "ipvlan")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_FILTERS = frozenset({"until", "label", "label!"})


def record(request: NetworkRequest, lender: Network | None, identifier: str, created: str) -> Network:
    """Return the network that *request* asks for, its subnets as far as the user named them.

    Args:
        request: As sent.
        lender: The network that it takes its settings from, if any.
        identifier: 64 hex digits.
        created: RFC 3339.

    Raises:
        InvalidInput: a name or a combination that cannot be.
        Forbidden: a predefined name, or a second network of a kind.
        NotFound: no such driver.
        Unsupported: networks over several machines.
    """
    _check(request)
    if lender is not None:
        return _borrowed(request, lender, identifier, created)
    return Network(
        id=identifier,
        name=request.name,
        created=created,
        driver=request.driver or "bridge",
        ipv4=request.enable_ipv4 is not False,
        ipv6=bool(request.enable_ipv6),
        ipam_driver=request.ipam.driver or "default",
        ipam_options=request.ipam.options,
        subnets=request.ipam.config,
        internal=request.internal,
        attachable=request.attachable,
        config_only=request.config_only,
        options=request.options,
        labels=request.labels,
    )


def _borrowed(request: NetworkRequest, lender: Network, identifier: str, created: str) -> Network:
    """Return a network with the settings of *lender*, which was made to lend them."""
    if not lender.config_only:
        raise InvalidInput(
            f"network {lender.name} is not configuration-only: name one made with --config-only"
        )
    if request.options or request.ipam.config or request.config_only:
        raise InvalidInput(
            "user specified configurations are not supported if the network depends on a configuration network: "
            "leave options and subnets out"
        )
    return Network(
        id=identifier,
        name=request.name,
        created=created,
        driver=request.driver or "bridge",
        ipv4=lender.ipv4,
        ipv6=lender.ipv6,
        ipam_driver=lender.ipam_driver,
        ipam_options=lender.ipam_options,
        subnets=lender.subnets,
        internal=lender.internal or request.internal,
        attachable=lender.attachable or request.attachable,
        config_from=lender.name,
        options=lender.options,
        labels={**lender.labels, **request.labels},
    )


def _check(request: NetworkRequest) -> None:
    driver = request.driver or "bridge"
    if request.name in PREDEFINED:
        raise Forbidden(
            f"operation is not permitted on predefined {request.name} network: choose another name"
        )
    if not _NAME.fullmatch(request.name):
        raise InvalidInput(
            f"invalid network name: {request.name!r}: begin with a letter or digit; use letters, digits, '_', '.', '-'"
        )
    if driver in ("host", "null", "none"):
        raise Forbidden(f'only one instance of "{driver}" network is allowed')
    if driver == "overlay" or request.scope == "swarm" or request.ingress:
        raise Unsupported(
            "networks over several machines are not available: use driver bridge, macvlan or ipvlan"
        )
    if driver not in DRIVERS:
        raise NotFound("network driver", driver)
    if request.ipam.driver not in ("", "default", "null"):
        raise NotFound("IPAM driver", request.ipam.driver)
    if request.enable_ipv4 is False and not request.enable_ipv6:
        raise InvalidInput("IPv4 or IPv6 must be enabled: leave --ipv4=false out, or add --ipv6")


def default_bridge(identifier: str, created: str, link: str) -> Network:
    """Return the network that containers are on when nobody says otherwise, around the bridge *link*."""
    prefix = "com.docker.network.bridge"
    options = {
        f"{prefix}.default_bridge": "true",
        f"{prefix}.enable_icc": "true",
        f"{prefix}.enable_ip_masquerade": "true",
        f"{prefix}.host_binding_ipv4": "0.0.0.0",
        f"{prefix}.name": link,
    }
    return Network(id=identifier, name="bridge", created=created, options=options)


def chosen(networks: Sequence[Network], filters: Mapping[str, Sequence[str]]) -> list[Network]:
    """Return the networks that the filters of a prune let through.

    Raises:
        InvalidInput: an unknown filter, or a malformed one.
    """
    for key in filters:
        if key not in _FILTERS:
            raise InvalidInput(f"invalid filter '{key}'")
    limits = [moment(text) for text in filters.get("until", ())]
    return [
        network
        for network in networks
        if all(seconds(network.created) < limit for limit in limits)
        and all(has_label(network.labels, text) for text in filters.get("label", ()))
        and not any(has_label(network.labels, text) for text in filters.get("label!", ()))
    ]
