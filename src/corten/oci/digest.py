"""Digest: the name of bytes by their hash.

Source: OCI image-spec 1.1 descriptor.md, "Digests".
"""

import hashlib
import re
from typing import Self

from corten.errors import InvalidInput

_FORM = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")


class Digest(str):
    """A checked ``algorithm:hex`` string, such as ``sha256:e3b0c4...``.

    Raises:
        InvalidInput: the text is not a digest of a known algorithm.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check *text* and keep it."""
        if not _FORM.fullmatch(text):
            raise InvalidInput(f"invalid digest {text!r}: expected sha256:<64 hex digits>")
        return super().__new__(cls, text)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the sha256 digest of *data*."""
        return cls(f"sha256:{hashlib.sha256(data).hexdigest()}")

    @property
    def algorithm(self) -> str:
        """Return the part before the colon."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """Return the part after the colon."""
        return self.partition(":")[2]
