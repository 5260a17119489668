"""Single values of run and create: sizes, CPUs, limits, graphics cards.

Every function raises ValueError with Docker's words for what it cannot read.
"""

from __future__ import annotations

from corten.cli.create.fields import pairs, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNITS = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}  # powers of 1024
LIMITS = frozenset(
    (
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    )
)
SYSCTLS = frozenset(
    f"kernel.{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)
NANO, BILLION = 9, 1_000_000_000  # decimal places of a CPU


def size(text: str) -> int:
    """Bytes of ``64m``, ``1.5GiB``, ``100``."""
    wrong = ValueError(f"invalid size: '{text}'")
    rest = text.strip().lower()
    digits = rest[: len(rest) - len(rest.lstrip("0123456789."))]
    unit = rest[len(digits) :].strip()
    if unit and unit[0] in UNITS and unit[1:] in (("",) if unit[0] == "b" else ("", "b", "ib")):
        power = UNITS[unit[0]]
    elif not unit:
        power = 0
    else:
        raise wrong
    factor: int = 1024**power
    try:
        return int(float(digits) * factor) if "." in digits else int(digits) * int(factor)
    except ValueError:
        raise wrong from None


def swap_size(text: str) -> int:
    """As `size`; ``-1`` is no limit."""
    return -1 if text == "-1" else size(text)


def nano_cpus(text: str) -> int:
    """Billionths of a CPU of ``1.5``."""
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    if not digits.isdigit() or not digits.isascii():
        raise ValueError(f"failed to parse {text} as a rational number")
    if len(fraction.rstrip("0")) > NANO:
        raise ValueError("value is too precise")
    return int(whole or "0") * BILLION + int((fraction + "0" * NANO)[:NANO])


def uint16(text: str) -> int:
    """A number from 0 to 65535."""
    if not text.isdigit() or not text.isascii():
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) > 0xFFFF:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def ulimit(text: str) -> dict[str, Any]:
    """``nofile=1024:2048`` as the API has it; -1 is no limit."""
    name, equals, limits = text.partition("=")
    if not equals or not limits:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in LIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    numbers = limits.split(":")
    if len(numbers) > 2:
        raise ValueError(f"too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`")
    try:
        soft, hard = int(numbers[0]), int(numbers[-1])
    except ValueError:
        raise ValueError(f"invalid ulimit argument: {text}") from None
    if hard != -1 and (soft == -1 or soft > hard):
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return {"Name": name, "Hard": hard, "Soft": soft}


def sysctl(text: str) -> str:
    """A kernel parameter that has a namespace, ``name=value``."""
    name = text.partition("=")[0]
    if name not in SYSCTLS and not name.startswith(("net.", "fs.mqueue.")):
        raise ValueError(f"sysctl '{text}' is not allowed")
    return text


def gpus(text: str) -> dict[str, Any]:
    """``all``, a number, or ``device=0,capabilities=compute`` as a device request."""
    request: dict[str, Any] = {
        "Driver": "",
        "Count": 0,
        "DeviceIDs": [],
        "Capabilities": [["gpu"]],
        "Options": {},
    }
    for field in split(text):
        key, equals, value = field.partition("=")
        if not equals or key == "count":
            request["Count"] = _count(value if equals else key)
        elif key == "driver":
            request["Driver"] = value
        elif key == "device":
            request["DeviceIDs"] += value.split(",")
        elif key == "capabilities":
            request["Capabilities"] = [["gpu", *value.split(",")]]
        elif key == "options":
            request["Options"] = pairs(value.split(","))
        else:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
    if not request["Count"] and not request["DeviceIDs"]:
        request["Count"] = 1
    return request


def _count(text: str) -> int:
    if text == "all":
        return -1
    try:
        return int(text)
    except ValueError:
        raise ValueError(
            f'invalid count ({text}): value must be either "all" or an integer: invalid syntax'
        ) from None
