"""What is found on the machine."""

import os
from pathlib import Path

import pytest

from corten.engine.containers.host import BindSource, devices_at, ensure_sources, rlimit_caps
from corten.errors import InvalidInput, NotFound


def test_a_device_is_found_with_its_numbers() -> None:
    """/dev/null is the character device 1:3 on every Linux."""
    (device,) = devices_at("/dev/null")
    assert (device.path, device.type, device.major, device.minor) == ("/dev/null", "c", 1, 3)


def test_a_folder_gives_each_device_below() -> None:
    """All of /dev is found without terminals, shared memory and links."""
    paths = [device.path for device in devices_at("/dev")]
    assert "/dev/null" in paths
    assert not [path for path in paths if path.startswith(("/dev/pts", "/dev/shm", "/dev/fd"))]


def test_what_is_no_device_is_refused(tmp_path: Path) -> None:
    """A missing path and a plain file are told apart."""
    with pytest.raises(NotFound):
        devices_at(str(tmp_path / "none"))
    plain = tmp_path / "plain"
    plain.touch()
    with pytest.raises(InvalidInput, match="not a device node"):
        devices_at(str(plain))


def test_missing_bind_sources_are_made_or_refused(tmp_path: Path) -> None:
    """A folder is made where that was asked for, and making it again changes nothing."""
    made, missing = tmp_path / "a" / "b", tmp_path / "c"
    ensure_sources([BindSource(str(made), True)] * 2)
    assert made.is_dir()
    with pytest.raises(InvalidInput, match="bind source path does not exist"):
        ensure_sources([BindSource(str(missing), False)])
    assert not os.path.lexists(missing)


def test_resource_limits_are_named_as_the_kernel_does() -> None:
    """Only limited resources are listed, by their RLIMIT name."""
    assert all(name.startswith("RLIMIT_") and limit >= 0 for name, limit in rlimit_caps().items())
