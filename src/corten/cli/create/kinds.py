"""Kinds of flags that only run and create have.

What parses a value is loaded when the flag is there: most command lines have
none of them.
"""

from __future__ import annotations

from corten.cli.flags import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _later(module: str, name: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        found = __import__(f"corten.cli.{module}", fromlist=[name])
        return getattr(found, name)(text)

    return parse


SIZE = Kind("bytes", _later("create.values", "size"), 0)
SWAP = Kind("bytes", _later("create.values", "swap_size"), 0)
DECIMAL = Kind("decimal", _later("create.values", "nano_cpus"), 0)
UINT16 = Kind("uint16", _later("create.values", "uint16"), 0)
DURATION = Kind("duration", _later("human", "parse_duration"), 0)
ULIMIT = Kind("ulimit", _later("create.values", "ulimit"), [])
GPUS = Kind("gpu-request", _later("create.values", "gpus"), [])
MOUNT = Kind("mount", _later("create.mounts", "mount"), [])
NETWORK = Kind("network", _later("create.networks", "network"), [])
MAP = Kind("map", str, [])
SYSCTL = Kind("map", _later("create.values", "sysctl"), [])
