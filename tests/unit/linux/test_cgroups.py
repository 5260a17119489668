"""Which hierarchies a list of mounts means, and which paths are accepted."""

import pytest

from corten.errors import InvalidInput, Unavailable
from corten.linux.cgroups import Layout, parse_mounts
from corten.linux.cgroups_v1 import CgroupV1
from corten.linux.cgroups_v2 import CgroupV2

V1 = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
50 31 0:32 / /other\\040place rw,relatime - cgroup cgroup rw,memory
"""
V2 = "41 31 0:38 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_reads_version_1() -> None:
    """Co-mounted controllers share a place, named hierarchies are left out, the first mount counts."""
    controllers, unified = parse_mounts(V1)

    assert controllers == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory",
    }
    assert unified == ""


def test_reads_places_with_spaces() -> None:
    """Octal escapes of a mount point are undone."""
    assert parse_mounts(V1.splitlines()[-1])[0] == {"memory": "/other place"}


@pytest.mark.parametrize(
    ("mountinfo", "mode", "kind"), [(V1, "v1", CgroupV1), (V1 + V2, "hybrid", CgroupV1), (V2, "v2", CgroupV2)]
)
def test_names_the_mode(mountinfo: str, mode: str, kind: type) -> None:
    """Version 1 controllers decide; version 2 is used only where it stands alone."""
    layout = Layout(*parse_mounts(mountinfo))

    assert layout.mode == mode
    assert isinstance(layout.cgroup("corten/a"), kind)


def test_a_host_without_cgroups_says_what_to_do() -> None:
    """The message holds the command that mounts one."""
    with pytest.raises(Unavailable, match="mount -t cgroup2"):
        Layout(*parse_mounts(""))


@pytest.mark.parametrize("path", ["", "/", "..", "corten/../..", "a/./b"])
def test_refuses_paths_that_leave_the_hierarchy(path: str) -> None:
    """No path reaches above our place, and the root itself is never ours."""
    with pytest.raises(InvalidInput, match="bad cgroup path"):
        Layout(*parse_mounts(V2)).cgroup(path)


def test_a_leading_slash_changes_nothing() -> None:
    """An absolute path starts at the root of the hierarchy as a relative one does."""
    assert Layout(*parse_mounts(V2)).cgroup("/corten//a/").path == "corten/a"
