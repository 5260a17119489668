"""Project quotas: what is asked of the kernel, and what its refusals mean."""

import ctypes
import errno
import os
from pathlib import Path

import pytest

from corten.linux import quota
from corten.linux.syscalls import KernelError


def test_structures_are_those_of_the_kernel() -> None:
    """Sizes and places as in linux/quota.h and dqblk_xfs.h."""
    assert ctypes.sizeof(quota._Quota) == 72
    assert quota._Quota.space.offset == 16
    assert quota._Quota.valid.offset == 64
    assert quota._State.flags.offset == 2
    assert ctypes.sizeof(quota._State) >= 80
    assert quota._Attributes.size == 28


def test_a_file_system_without_quotas(tmp_path: Path) -> None:
    """Neither enforces anything nor has projects; /proc surely does not."""
    folder = os.open("/proc", os.O_RDONLY)
    try:
        assert not quota.is_enforced(folder)
        assert quota.get_project(folder) == 0
        with pytest.raises(OSError, match=r"not supported|ioctl"):
            quota.set_project(folder, 7)
        with pytest.raises(KernelError):
            quota.set_limit(folder, 7, 1024)
    finally:
        os.close(folder)


def test_limits_are_blocks_of_a_kibibyte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounded up, and read back in bytes; a project that was never heard of has none."""
    kept: dict[int, int] = {}

    def control(_: str, __: int, command: int, project: int, facts: quota._Quota) -> None:
        if command == quota._SET:
            kept[project] = facts.block_hard
            assert facts.valid == quota._BLOCK_LIMITS
        elif project in kept:
            facts.block_hard, facts.space = kept[project], 5000
        else:
            raise KernelError(errno.ENOENT, "read")

    monkeypatch.setattr(quota, "_control", control)
    quota.set_limit(3, 7, 1025)
    assert kept == {7: 2}
    assert quota.get_quota(3, 7) == quota.Quota(2048, 5000)
    assert quota.get_quota(3, 8) == quota.Quota(0, 0)


@pytest.mark.parametrize(("flags", "enforced"), [(0, False), (1 << 4, False), (3 << 4, True)])
def test_counting_alone_is_no_limit(monkeypatch: pytest.MonkeyPatch, flags: int, enforced: bool) -> None:
    """A file system may add up projects without keeping them to anything."""

    def control(_: str, __: int, ___: int, ____: int, facts: quota._State) -> None:
        facts.flags = flags

    monkeypatch.setattr(quota, "_control", control)
    assert quota.is_enforced(3) is enforced
