"""Driver options in Docker's names: which there are, and what they say."""

from collections.abc import Mapping

from corten.errors import InvalidInput

PREFIX = "com.docker.network."
NAME, ICC, MTU = f"{PREFIX}bridge.name", f"{PREFIX}bridge.enable_icc", f"{PREFIX}driver.mtu"
PARENT, MACVLAN_MODE, IPVLAN_MODE, IPVLAN_FLAG = "parent", "macvlan_mode", "ipvlan_mode", "ipvlan_flag"

EVERY = (MTU, f"{PREFIX}container_iface_prefix", f"{PREFIX}enable_ipv4", f"{PREFIX}enable_ipv6")
KNOWN = {
    "bridge": (
        *(NAME, ICC, *EVERY),
        *(
            f"{PREFIX}bridge.{name}"
            for name in (
                "default_bridge",
                "enable_ip_masquerade",
                "gateway_mode_ipv4",
                "gateway_mode_ipv6",
                "host_binding_ipv4",
            )
        ),
    ),
    "macvlan": (PARENT, MACVLAN_MODE, *EVERY),
    "ipvlan": (PARENT, IPVLAN_MODE, IPVLAN_FLAG, *EVERY),
}

_BOOLEANS = {**dict.fromkeys(("1", "t", "true"), True), **dict.fromkeys(("0", "f", "false"), False)}
_SMALLEST_MTU, _LARGEST_MTU = 68, 65535  # bytes; the first as IPv4 wants (RFC 791)


def check(driver: str, options: Mapping[str, str]) -> None:
    """Refuse options that *driver* does not know; names of other makers' (``com.example.note``) pass.

    Raises:
        InvalidInput: naming those there are.
    """
    for name in options:
        if name not in KNOWN[driver] and ("." not in name or name.startswith("com.docker.")):
            raise InvalidInput(
                f"unknown option {name} of driver {driver}: choose from {', '.join(sorted(KNOWN[driver]))}"
            )


def boolean(options: Mapping[str, str], name: str, default: bool) -> bool:
    """Return an option that is true or false.

    Raises:
        InvalidInput: another value.
    """
    if name not in options:
        return default
    try:
        return _BOOLEANS[options[name].lower()]
    except KeyError:
        raise InvalidInput(f"option {name}={options[name]}: say true or false") from None


def mtu(options: Mapping[str, str]) -> int:
    """Return the largest packet in bytes that is asked for, 0 for none.

    Raises:
        InvalidInput: not a number, or none that a link can have.
    """
    text = options.get(MTU, "")
    if not text:
        return 0
    number = int(text) if text.isascii() and text.isdigit() else -1
    if number and not _SMALLEST_MTU <= number <= _LARGEST_MTU:
        raise InvalidInput(f"option {MTU}={text}: say bytes, {_SMALLEST_MTU} to {_LARGEST_MTU}")
    return number


def choice(options: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """Return an option that is one of *choices*, the first one by default.

    Raises:
        InvalidInput: another value.
    """
    value = options.get(name) or choices[0]
    if value not in choices:
        raise InvalidInput(f"option {name}={value}: choose from {', '.join(filter(None, choices))}")
    return value
