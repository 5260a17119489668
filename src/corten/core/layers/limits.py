"""What a layer may ask of the machine."""

from typing import NamedTuple

GIB = 1 << 30


class Limits(NamedTuple):
    """Budgets for one layer; passing one is LimitExceeded.

    A layer from a stranger can claim anything: a megabyte that inflates to
    terabytes, a header of gigabytes, millions of names.
    """

    bytes: int = 128 * GIB
    """Length of the uncompressed stream, and sum of the file sizes with holes counted."""
    entries: int = 2_000_000
    """Files, folders, links, devices and whiteouts."""
    header_bytes: int = 1 << 20
    """Extended headers (pax, long names, maps of sparse files) of one entry."""
    path: int = 3072
    """Bytes of one path; leaves room for our own folders within PATH_MAX."""
    depth: int = 256
    """Folders above one entry; copying and archiving hold a descriptor for each."""
    memory: int = 96 << 20
    """Bytes of what has to be remembered until the end of the layer: names and attributes of folders."""
    ratio: int = 200
    """Uncompressed bytes per compressed byte; counted from ``ratio_floor`` on."""
    ratio_floor: int = 4 * GIB
    """Uncompressed bytes below which the ratio does not matter: zeros shrink a thousandfold."""


DEFAULT = Limits()
