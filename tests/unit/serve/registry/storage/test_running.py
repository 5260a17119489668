"""The hash of an upload while it arrives."""

from corten.oci.digest import Digest
from corten.serve.registry.storage.running import Running


def test_hashes_what_follows() -> None:
    """Pieces in order give the digest of all of them."""
    running = Running()
    running.update("u", 0, b"ab")
    running.update("u", 2, memoryview(b"c"))
    assert running.digest("u", 3, "sha256") == Digest.of(b"abc")


def test_says_when_it_does_not_know() -> None:
    """A gap, another size, another algorithm, or an unknown upload: the bytes must be read again."""
    running = Running()
    running.update("u", 0, b"ab")
    assert running.digest("u", 3, "sha256") is None
    assert running.digest("u", 2, "sha512") is None
    assert running.digest("other", 5, "sha256") is None
    running.update("u", 5, b"x")
    assert running.digest("u", 6, "sha256") is None
    assert running.digest("empty", 0, "sha256") == Digest.of(b"")


def test_forgets() -> None:
    """An upload that ended costs nothing."""
    running = Running()
    running.update("u", 0, b"ab")
    running.forget("u")
    running.forget("u")
    assert running.digest("u", 2, "sha256") is None
