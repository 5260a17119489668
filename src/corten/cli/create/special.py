"""Flags of run and create that are rewritten on their way into the request."""

from __future__ import annotations

from corten.cli.create.fields import pairs
from corten.cli.create.values import size
from corten.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.flags import Values

RATES = {
    "device_read_bps": "BlkioDeviceReadBps",
    "device_read_iops": "BlkioDeviceReadIOps",
    "device_write_bps": "BlkioDeviceWriteBps",
    "device_write_iops": "BlkioDeviceWriteIOps",
}
HEALTH = {
    "health_interval": "Interval",
    "health_timeout": "Timeout",
    "health_start_period": "StartPeriod",
    "health_start_interval": "StartInterval",
    "health_retries": "Retries",
}


def apply(args: Values, host: dict[str, Any], body: dict[str, Any]) -> None:
    """Write the rewritten values into the bodies of the request.

    Raises:
        Failure: a value makes no sense, or a file cannot be read.
    """
    given = args.given
    for flag, field in (("annotation", "Annotations"), ("sysctl", "Sysctls"), ("storage_opt", "StorageOpt")):
        if flag in given:
            host[field] = pairs(getattr(args, flag))
    for flag, field in (("cap_add", "CapAdd"), ("cap_drop", "CapDrop")):
        if flag in given:
            host[field] = capabilities(getattr(args, flag))
    if "tmpfs" in given:
        host["Tmpfs"] = {path: options for path, _, options in (text.partition(":") for text in args.tmpfs)}
    if "add_host" in given:
        host["ExtraHosts"] = [extra_host(text) for text in args.add_host]
    if "log_driver" in given or "log_opt" in given:
        host["LogConfig"] = {"Type": args.log_driver, "Config": pairs(args.log_opt)}
    if args.memory_swappiness != -1:
        host["MemorySwappiness"] = args.memory_swappiness
    if "restart" in given:
        host["RestartPolicy"] = restart_policy(args.restart, rm=args.rm)
    if "security_opt" in given:
        _security(args.security_opt, host)
    _devices(args, host)
    _health(args, body)


def capabilities(names: list[str]) -> list[str]:
    """Names in the kernel's form: ``net_admin`` is CAP_NET_ADMIN."""
    upper = [name.strip().upper() for name in names]
    return [name if name in ("ALL", "RESET") else f"CAP_{name.removeprefix('CAP_')}" for name in upper]


def extra_host(text: str) -> str:
    """``name:ip`` of ``name=ip`` too; brackets around an address are taken away.

    Raises:
        Failure: it is neither.
    """
    mark = "=" if "=" in text and ":" not in text.partition("=")[0] else ":"
    name, found, address = text.partition(mark)
    if not found or not name or not address:
        raise Failure(f'invalid argument "{text}" for --add-host: bad format for add-host: "{text}"')
    return f"{name}:{address.removeprefix('[').removesuffix(']')}"


def restart_policy(text: str, *, rm: bool = False) -> dict[str, Any]:
    """``on-failure:3`` as the API has it; *rm* says that the container goes when it exits.

    Raises:
        Failure: with Docker's words.
    """
    name, colon, count = text.partition(":")
    if colon and not name:
        raise Failure("invalid restart policy format: no policy provided before colon")
    if count and not (count.isdigit() and count.isascii()):
        raise Failure("invalid restart policy format: maximum retry count must be an integer")
    if rm and name not in ("no", ""):
        raise Failure("conflicting options: cannot specify both --restart and --rm")
    return {"Name": name, "MaximumRetryCount": int(count or "0")}


def _security(options: list[str], host: dict[str, Any]) -> None:
    kept = []
    for option in options:
        key, mark, value = option.partition("=")
        if not mark:
            key, mark, value = option.partition(":")  # an old form that Docker still takes
        if not mark and key not in ("no-new-privileges", "writable-cgroups"):
            raise Failure(f'invalid --security-opt: "{option}"')
        if key == "systempaths" and value == "unconfined":
            host["MaskedPaths"] = host["ReadonlyPaths"] = []
        elif key == "seccomp" and value not in ("unconfined", "builtin"):
            kept.append(f"seccomp={_profile(value)}")
        else:
            kept.append(f"{key}={value}" if mark else key)
    host["SecurityOpt"] = kept


def _profile(name: str) -> str:
    """The seccomp profile in the file *name* as one line of JSON."""
    from corten.cli.create.files import read
    from corten.cli.wire import dumps, loads

    try:
        return dumps(loads(read(name)))
    except ValueError as error:
        raise Failure(f"compacting json for seccomp profile ({name}) failed: {error}") from None
    except Failure as error:
        raise Failure(f"opening seccomp profile ({name}) failed: {error}") from None


def _devices(args: Values, host: dict[str, Any]) -> None:
    plain = [text for text in args.device if not is_cdi(text)]
    cdi = [text for text in args.device if is_cdi(text)]
    if plain:
        host["Devices"] = [device(text) for text in plain]
    requests = list(args.gpus)
    if cdi:
        requests.append({"Driver": "cdi", "DeviceIDs": cdi})
    if requests:
        host["DeviceRequests"] = requests
    if args.blkio_weight_device:
        host["BlkioWeightDevice"] = [_throttle(text, "Weight") for text in args.blkio_weight_device]
    for flag, field in RATES.items():
        if flag in args.given:
            host[field] = [_throttle(text, "Rate") for text in getattr(args, flag)]


def is_cdi(text: str) -> bool:
    """Whether *text* is a name of the Container Device Interface: ``vendor.com/class=name``."""
    kind, equals, _ = text.partition("=")
    return bool(equals) and not text.startswith("/") and "/" in kind


def device(text: str) -> dict[str, str]:
    """``/dev/a[:/dev/b][:rwm]`` as the API has it.

    Raises:
        Failure: too many parts.
    """
    parts = text.split(":")
    if len(parts) > 3 or not parts[0]:
        raise Failure(f"invalid device specification: {text}")
    source, target, permissions = parts[0], parts[0], "rwm"
    if len(parts) == 3:
        target, permissions = parts[1] or source, parts[2]
    elif len(parts) == 2 and parts[1].strip("rwm"):
        target = parts[1]
    elif len(parts) == 2:
        permissions = parts[1]
    if not permissions or permissions.strip("rwm"):
        raise Failure(f"invalid device mode: {permissions}: write a combination of r, w and m")
    return {"PathOnHost": source, "PathInContainer": target, "CgroupPermissions": permissions}


def _throttle(text: str, field: str) -> dict[str, Any]:
    path, colon, number = text.rpartition(":")
    if not colon or not path.startswith("/dev/"):
        raise Failure(f"bad format for device path: {text}: write /dev/NAME:NUMBER")
    try:
        return {"Path": path, field: size(number)}
    except ValueError:
        raise Failure(f"invalid rate for device: {text}: write /dev/NAME:NUMBER") from None


def _health(args: Values, body: dict[str, Any]) -> None:
    settings = {HEALTH[flag]: getattr(args, flag) for flag in HEALTH if flag in args.given}
    if args.health_cmd:
        settings["Test"] = ["CMD-SHELL", args.health_cmd]
    if args.no_healthcheck:
        if settings:
            raise Failure("--no-healthcheck conflicts with --health-* options")
        settings["Test"] = ["NONE"]
    for name, value in settings.items():
        if name != "Test" and value < 0:
            raise Failure(f"--health-{name.lower()} cannot be negative")
    if settings:
        body["Healthcheck"] = settings
