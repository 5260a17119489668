"""The options of the local driver."""

from collections.abc import Mapping

import pytest

from corten.core.volumes.options import Device, parse, parse_size
from corten.errors import InvalidInput


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (None, 0)),
        ({"size": "10m"}, (None, 10 << 20)),
        (
            {"type": "nfs", "device": ":/srv", "o": "addr=10.0.0.1,ro"},
            (Device("nfs", ":/srv", ("addr=10.0.0.1", "ro")), 0),
        ),
        ({"type": "tmpfs", "device": "tmpfs"}, (Device("tmpfs", "tmpfs", ()), 0)),
        ({"type": "none", "device": "/srv", "o": "bind"}, (Device("none", "/srv", ("bind",)), 0)),
        ({"type": "", "device": "", "o": ""}, (None, 0)),
    ],
)
def test_options_say_what_is_mounted(options: Mapping[str, str], expected: tuple[Device | None, int]) -> None:
    """A device with its type and options is a mount; without one it is a folder."""
    assert parse(options) == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"colour": "red"}, 'invalid option: "colour"'),
        ({"type": "nfs"}, 'missing required option: "device"'),
        ({"device": "/srv"}, 'missing required option: "type"'),
        ({"o": "ro"}, "missing required option"),
        ({"type": "tmpfs", "device": "tmpfs", "size": "1m"}, "o=size=100m"),
        ({"size": "big"}, "invalid size: 'big'"),
    ],
)
def test_bad_options_are_refused(options: Mapping[str, str], said: str) -> None:
    """An unknown option, one without its companions, and a size that is none."""
    with pytest.raises(InvalidInput, match=said):
        parse(options)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("10k", 10240), ("1.5GiB", 3 << 29), ("2 MB", 2 << 20), ("1T", 1 << 40), ("7b", 7)],
)
def test_a_size_is_a_number_and_a_unit(text: str, size: int) -> None:
    """Units are powers of 1024, in either case, with or without their end."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1x", "m", "1e9", "0.2"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """Nothing, zero, and other words."""
    with pytest.raises(InvalidInput, match="invalid size"):
        parse_size(text)
