"""The options of the local driver: which there are, and what they mount.

Docker's rules: ``type``, ``device`` and ``o`` are those of mount(8) and come
together; ``size`` caps a plain folder. Source: Docker, "docker volume create",
driver-specific options.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from corten.errors import InvalidInput

_KNOWN = ("type", "o", "device", "size")
_NEEDED = {"device": ("type",), "type": ("device",), "o": ("device", "type")}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


class Device(NamedTuple):
    """What is mounted as the data of a volume: words as mount(8) has them."""

    type: str
    source: str
    options: tuple[str, ...]


def parse(options: Mapping[str, str]) -> tuple[Device | None, int]:
    """Return what to mount, None for a plain folder, and the size in bytes, 0 for no limit.

    Raises:
        InvalidInput: an unknown option, one without its companions, or no size.
    """
    for name in options:
        if name not in _KNOWN:
            raise InvalidInput(f'invalid option: "{name}": the local driver knows {", ".join(_KNOWN)}')
    for name, needed in _NEEDED.items():
        for other in needed:
            if options.get(name) and not options.get(other):
                raise InvalidInput(f'missing required option: "{other}" goes with "{name}"')
    size = parse_size(options["size"]) if options.get("size") else 0
    if not options.get("device"):
        return None, size
    if size:
        raise InvalidInput('the option "size" caps a folder: for a mount put it into "o", as in o=size=100m')
    words = tuple(word for word in options.get("o", "").split(",") if word)
    return Device(options["type"], options["device"], words), 0


def parse_size(text: str) -> int:
    """Return the bytes that *text* says: a number and a unit of 1024, such as 10m or 1.5GiB.

    Raises:
        InvalidInput: it says none, or 0.
    """
    found = _SIZE.fullmatch(text.strip())
    size = int(float(found[1]) * 1024 ** _POWERS[found[2].lower()]) if found else 0
    if size <= 0:
        raise InvalidInput(f"invalid size: '{text}': write a number and a unit, such as 500m or 10g")
    return size
