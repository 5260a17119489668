"""Devices: the nodes in a container's /dev, and the rules of its device cgroup. Pure.

Source: runtime-spec config-linux.md "Devices", "Default Devices", "Allowed
Device list"; Docker's forms of ``--device`` and ``--device-cgroup-rule``.
"""

import re

import msgspec

from corten.engine.containers.host import DevicesAt
from corten.engine.records.config import DeviceMapping, HostConfig
from corten.errors import InvalidInput, Unsupported
from corten.oci.spec import Device, DeviceRule

DEFAULT_DEVICES = tuple(
    Device(f"/dev/{name}", "c", major, minor, 0o666, 0, 0)
    for name, major, minor in (
        *(("null", 1, 3), ("zero", 1, 5), ("full", 1, 7)),
        *(("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)),
    )
)

# In this order: Docker's, then what its runtime adds for making nodes, /dev/full, ptmx and terminals.
DEFAULT_RULES = (
    DeviceRule(allow=False),
    *(DeviceRule(True, "c", *number) for number in ((1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1))),
    DeviceRule(False, "c", 10, 229),
    *(DeviceRule(True, kind, access="m") for kind in ("c", "b")),
    *(DeviceRule(True, "c", *number) for number in ((1, 7), (5, 2), (136, None))),
)
_ALLOW_ALL = (DeviceRule(allow=True),)
_RULE = re.compile(r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})")


def devices(
    host_config: HostConfig, devices_at: DevicesAt
) -> tuple[tuple[Device, ...], tuple[DeviceRule, ...]]:
    """Return the nodes to make and the rules of the device cgroup, in order.

    A privileged container has every device of the host and may use them all.

    Raises:
        InvalidInput: a malformed mapping or rule.
        NotFound: a device does not exist on the host.
        Unsupported: a name of the Container Device Interface.
    """
    nodes = {node.path: node for node in DEFAULT_DEVICES}
    if host_config.privileged:
        nodes.update((node.path, node) for node in devices_at("/dev"))
    rules: list[DeviceRule] = []
    for mapping in host_config.devices or ():
        access = _access(mapping)
        for node in _mapped(mapping, devices_at):
            nodes[node.path] = node
            rules.append(DeviceRule(True, node.type, node.major, node.minor, access))
    rules += [_rule(text) for text in host_config.device_cgroup_rules or ()]
    if host_config.privileged:
        return tuple(nodes.values()), _ALLOW_ALL
    return tuple(nodes.values()), (*DEFAULT_RULES, *rules)


def _access(mapping: DeviceMapping) -> str:
    """Return the rights on a device, ``rwm`` unless given."""
    access = mapping.cgroup_permissions or "rwm"
    if not set(access) <= set("rwm") or len(set(access)) != len(access):
        raise InvalidInput(f"invalid device mode: {access}: use r, w and m, each at most once")
    return access


def _mapped(mapping: DeviceMapping, devices_at: DevicesAt) -> tuple[Device, ...]:
    """Return the nodes of one mapping with their paths in the container."""
    source = mapping.path_on_host
    if "=" in source and not source.startswith("/"):
        raise Unsupported(f"CDI devices are not available: name the nodes of {source} by path")
    target = mapping.path_in_container or source
    if not target.startswith("/"):
        raise InvalidInput(f"{target} is not an absolute path: name the device's place below /dev")
    return tuple(
        msgspec.structs.replace(node, path=target + node.path.removeprefix(source))
        for node in devices_at(source)
    )


def _rule(text: str) -> DeviceRule:
    """Read a rule such as ``c 13:* rwm``."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise InvalidInput(f"invalid device cgroup rule format: '{text}'")
    kind, major, minor, access = match.groups()
    return DeviceRule(True, kind, _number(major), _number(minor), access)


def _number(text: str) -> int | None:
    """Return a device number, None for any."""
    return None if text == "*" else int(text)
