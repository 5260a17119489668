"""JSON of the image specification to typed values and back.

Decoding never trusts: a wrong type, a digest that is none, an absurdly deep
or large document all end as one kind of failure.
"""

from typing import Any, TypeVar

import msgspec

from corten.errors import CortenError, DataCorrupted
from corten.oci.digest import Digest

MAX_DOCUMENT = 8 << 20  # bytes; registries accept manifests of 4 MiB, configurations stay far below

T = TypeVar("T")


def _decode(kind: type, value: Any) -> Any:
    """Build the types that msgspec does not know."""
    if kind is Digest:
        return Digest(value)
    raise NotImplementedError(kind)


def _encode(value: Any) -> Any:
    """Take those types apart again."""
    if isinstance(value, Digest):
        return str(value)
    raise NotImplementedError(type(value))


def decode(raw: bytes, kind: type[T], what: str) -> T:
    """Read *raw* as a *kind*; unknown members are ignored, as the specification demands.

    Raises:
        DataCorrupted: not JSON, a member of a wrong type, or more than ``MAX_DOCUMENT`` bytes.
    """
    if len(raw) > MAX_DOCUMENT:
        raise DataCorrupted(f"invalid {what}: {len(raw)} bytes are more than the {MAX_DOCUMENT} allowed")
    try:
        return msgspec.json.decode(raw, type=kind, dec_hook=_decode)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, CortenError) as error:
        raise DataCorrupted(f"invalid {what}: {error}") from None


def encode(value: Any) -> bytes:
    """Return compact JSON of *value*; equal values give equal bytes."""
    return msgspec.json.encode(value, enc_hook=_encode, order="deterministic")
