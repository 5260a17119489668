"""What a request makes of a container's record, but for its mounts and networks. Pure."""

from collections.abc import Mapping

from msgspec.structs import replace

from corten.engine.containers import defaults
from corten.engine.containers.host import Host
from corten.engine.containers.limits import relimited
from corten.engine.containers.update_request import Bindings, UpdateRequest
from corten.engine.records.config import ContainerConfig, HostConfig, PortBinding, RestartPolicy
from corten.engine.records.container import Container
from corten.errors import Conflict, NotFound


def revised(container: Container, request: UpdateRequest, host: Host) -> Container:
    """Return the record as *request* wants it; its mounts and endpoints are untouched.

    Raises:
        InvalidInput, Conflict, Unsupported: a limit or policy that cannot be.
        NotFound: a port to remove is not published.
    """
    limits = relimited(container.host_config, request.resources, host)
    policy = request.restart_policy
    if policy is not None and policy.name:
        if container.host_config.auto_remove and policy.name != "no":
            raise Conflict(
                f"Cannot update container {container.id}: "
                "Restart policy cannot be updated because AutoRemove is enabled for the container"
            )
        limits = replace(limits, restart_policy=_policy(policy, host))
    if request.changes_ports:
        limits = replace(limits, port_bindings=_bindings(limits.port_bindings or {}, request))
    return replace(container, config=_config(container.config, request), host_config=limits)


def _policy(wanted: RestartPolicy, host: Host) -> RestartPolicy:
    """Return a restart policy as a new container would get it."""
    _, completed = defaults.complete("", ContainerConfig(), HostConfig(restart_policy=wanted), host)
    return completed.restart_policy


def _config(config: ContainerConfig, request: UpdateRequest) -> ContainerConfig:
    """Return the configuration with other labels, and with what is published exposed."""
    if request.label_add or request.label_remove:
        gone = set(request.label_remove or ())
        labels = {key: value for key, value in (config.labels or {}).items() if key not in gone}
        config = replace(config, labels=labels | (request.label_add or {}))
    if request.publish_add:
        added: Mapping[str, dict[str, object]] = {_port(key): {} for key in request.publish_add}
        config = replace(config, exposed_ports={**(config.exposed_ports or {}), **added})
    return config


def _port(key: str) -> str:
    return key if "/" in key else f"{key}/tcp"


def _bindings(current: Bindings, request: UpdateRequest) -> Bindings:
    """Return all bindings: the present ones without the removed, with the added ones."""
    left = {_port(key): tuple(bindings or ()) for key, bindings in current.items()}
    for key, patterns in (request.publish_remove or {}).items():
        port = _port(key)
        for pattern in patterns or (PortBinding(),):
            kept = tuple(binding for binding in left.get(port, ()) if not _fits(pattern, binding))
            if len(kept) == len(left.get(port, ())):
                raise NotFound("published port", _told(port, pattern))
            left[port] = kept
    for key, bindings in (request.publish_add or {}).items():
        port = _port(key)
        known = left.get(port, ())
        left[port] = (*known, *(new for new in bindings or (PortBinding(),) if new not in known))
    return {port: bindings for port, bindings in left.items() if bindings}


def _fits(pattern: PortBinding, binding: PortBinding) -> bool:
    """Tell whether *pattern*, whose empty texts fit anything, means *binding*."""
    return pattern.host_ip in ("", binding.host_ip) and pattern.host_port in ("", binding.host_port)


def _told(port: str, pattern: PortBinding) -> str:
    return ":".join(part for part in (pattern.host_ip, pattern.host_port, port) if part)


def unchanged(now: HostConfig, then: HostConfig) -> bool:
    """Tell whether the same ports are to be published."""
    return (now.port_bindings or {}) == (then.port_bindings or {})
