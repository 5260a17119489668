"""Platforms: their names, and what runs where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.errors import InvalidInput
from corten.oci.platform import Platform, choose, host, matches

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("linux/amd64", "linux/amd64"),
        ("Linux/X86_64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v2", "linux/amd64/v2"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/i386", "linux/386"),
        ("macos/arm64", "darwin/arm64"),
        ("arm64", "linux/arm64"),
    ],
)
def test_names_are_normalised(text: str, canonical: str) -> None:
    """Every customary spelling has one canonical form."""
    assert str(Platform.parse(text)) == canonical


def test_a_system_alone_takes_the_processor_of_the_host() -> None:
    """``linux`` means linux on the processor at hand."""
    assert Platform.parse("linux") == host()


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d", "sparta", "linux//v1"])
def test_malformed_platforms_are_refused(text: str) -> None:
    """Missing, unknown or surplus parts are refused."""
    with pytest.raises(InvalidInput):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("wanted", "offered", "runs"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/arm64", False),
        ("linux/amd64/v3", "linux/amd64", True),
        ("linux/amd64", "linux/amd64/v3", False),
        ("linux/arm64", "linux/arm/v7", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/arm/v7", "linux/arm/v5", True),
        ("linux/amd64", "windows/amd64", False),
    ],
)
def test_what_runs_where(wanted: str, offered: str, runs: bool) -> None:
    """A processor runs programs for its older variants, never for newer ones."""
    assert matches(Platform.parse(wanted), Platform.parse(offered)) is runs


def test_the_best_of_several_is_chosen() -> None:
    """The exact platform wins over one that merely runs, wherever it stands."""
    offered = [Platform("linux", "arm", "v7"), AMD64, ARM64]
    assert choose(ARM64, offered) == 2
    assert choose(AMD64, offered) == 1
    assert choose(Platform("linux", "s390x"), offered) is None


def test_an_entry_without_platform_is_the_last_resort() -> None:
    """An index may leave the platform out; such an entry loses against a match."""
    assert choose(AMD64, [None, AMD64]) == 1
    assert choose(ARM64, [None, AMD64]) == 0


@given(st.text(max_size=20))
def test_any_text_is_a_platform_or_refused(text: str) -> None:
    """Reading never fails in another way, and normalising twice changes nothing."""
    try:
        platform = Platform.parse(text)
    except InvalidInput:
        return
    assert platform.normalised() == platform
