"""Digests: names of bytes."""

import hashlib

import pytest

from corten.errors import InvalidInput
from corten.oci.digest import Digest


def test_of_names_bytes() -> None:
    """The digest of bytes is their sha256 with the algorithm in front."""
    digest = Digest.of(b"abc")
    assert (digest.algorithm, digest.hex) == ("sha256", hashlib.sha256(b"abc").hexdigest())
    assert Digest(digest) == digest == f"sha256:{digest.hex}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 63,
        "md5:" + "a" * 32,
        "sha256:" + "a" * 64 + "\n",
    ],
)
def test_other_text_is_refused(text: str) -> None:
    """Unknown algorithms, wrong lengths and upper case are no digests."""
    with pytest.raises(InvalidInput, match="invalid digest"):
        Digest(text)
