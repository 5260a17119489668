"""Volume: what is recorded of a volume."""

import msgspec


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded volume. Change it by ``msgspec.structs.replace`` and ``put``.

    ``mountpoint`` is its data on the host; ``options`` are those of the
    driver; ``anonymous`` ones go with their container; ``size`` is the most
    it may hold in bytes, 0 for no limit; ``created`` is RFC 3339.
    """

    name: str
    created: str
    mountpoint: str
    driver: str = "local"
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    anonymous: bool = False
    size: int = 0
