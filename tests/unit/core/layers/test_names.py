"""Names inside a layer: cleaned as Docker does, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.core.layers import names
from corten.core.layers.limits import Limits
from corten.errors import DataCorrupted, LimitExceeded

CLEAN = {
    b"a/b": b"a/b",
    b"./a/b": b"a/b",
    b"a/": b"a",
    b"./": b"",
    b".": b"",
    b"": b"",
    b"/": b"",
    b"/etc/passwd": b"etc/passwd",
    b"//a///b//": b"a/b",
    b"a/./b/.": b"a/b",
    b"a/../b": b"b",
    b"a/b/../../c": b"c",
    b"...": b"...",
    b"a/..b": b"a/..b",
    b".a": b".a",
    b"..a/b": b"..a/b",
    b"././a": b"a",
}


@pytest.mark.parametrize(("name", "path"), CLEAN.items())
def test_clean(name: bytes, path: bytes) -> None:
    """Names become paths below the root."""
    assert names.clean(name) == path


@pytest.mark.parametrize("name", [b"..", b"../a", b"a/../../b", b"/../a", b"./../a", b"a/../.."])
def test_names_that_lead_out_are_refused(name: bytes) -> None:
    """No name may climb above the root."""
    with pytest.raises(DataCorrupted, match="outside of it"):
        names.clean(name)


@given(st.binary().map(lambda b: b.replace(b"a", b"/").replace(b"b", b".")))
def test_clean_paths_are_clean(name: bytes) -> None:
    """Whatever goes in, what comes out has no odd component and stays as it is."""
    try:
        path = names.clean(name)
    except DataCorrupted:
        return
    assert names.clean(path) == path
    assert not path or all(part not in (b"", b".", b"..") for part in path.split(b"/"))


@pytest.mark.parametrize("path", [b".wh.a/b", b"x/.wh..wh.y/b"])
def test_reserved_folders_are_refused(path: bytes) -> None:
    """A folder cannot be named like a whiteout."""
    with pytest.raises(DataCorrupted, match="reserved"):
        names.check(path, Limits())


def test_long_and_deep_paths_are_refused() -> None:
    """Length and depth have budgets; what is just within them is fine."""
    limits = Limits(path=20, depth=3)
    names.check(b"a/b/c", limits)
    with pytest.raises(LimitExceeded, match="3 deep"):
        names.check(b"a/b/c/d", limits)
    with pytest.raises(LimitExceeded, match="21 bytes"):
        names.check(b"a" * 21, limits)


@pytest.mark.parametrize("name", [b".wh.", b".wh..", b".wh..."])
def test_whiteouts_for_no_name_are_refused(name: bytes) -> None:
    """A whiteout cannot hide a folder itself or the one above."""
    with pytest.raises(DataCorrupted, match="no name"):
        names.hidden_name(name)


def test_attributes_that_steer_the_kernel_are_left_out() -> None:
    """Only attributes that are the image's own business are taken."""
    taken = [b"user.x", b"security.capability", b"system.posix_acl_access"]
    left = [b"trusted.overlay.redirect", b"trusted.x", b"security.selinux", b"security.ima", b"system.x", b""]

    assert all(names.is_allowed_xattr(name) for name in taken)
    assert not any(names.is_allowed_xattr(name) for name in left)
    with pytest.raises(DataCorrupted):
        names.is_allowed_xattr(b"user.a\0b")
