"""Where propagation means anything."""

import re
from pathlib import Path

import pytest

from corten.engine.containers.mounting.mount import UserMount
from corten.engine.containers.mounting.propagation import check_propagation, mounted_at
from corten.errors import InvalidInput

TABLE = r"""27 1 254:0 / / rw,noatime - ext4 /dev/vda rw
22 27 0:21 / /proc rw,relatime shared:5 - proc proc rw
30 27 0:30 / /mnt rw shared:7 master:3 - tmpfs tmpfs rw
31 30 0:31 / /mnt/a\040b rw master:3 - tmpfs tmpfs rw
32 27 0:32 / /twice rw shared:9 - tmpfs tmpfs rw
33 32 0:33 / /twice rw - tmpfs tmpfs rw
34 27 0:34 / /日\134 rw shared:9 - tmpfs tmpfs rw"""


@pytest.mark.parametrize(
    ("path", "point", "tags"),
    [
        ("/", "/", set()),
        ("/mntx", "/", set()),
        ("/mnt", "/mnt", {"shared", "master"}),
        ("/mnt/x/y", "/mnt", {"shared", "master"}),
        ("/mnt/a b/c", "/mnt/a b", {"master"}),
        ("/twice/x", "/twice", set()),
        ("/proc/1", "/proc", {"shared"}),
        ("/日\\/x", "/日\\", {"shared"}),
    ],
)
def test_where_a_path_is_mounted(path: str, point: str, tags: set[str]) -> None:
    """The longest mount point counts, the last one at a place, blanks are unescaped."""
    assert mounted_at(TABLE, path) == (point, tags)


@pytest.mark.parametrize(
    ("source", "propagation", "line"),
    [
        (
            "/etc",
            "rshared",
            "path /etc is mounted on / but it is not a shared mount: run mount --make-shared /,",
        ),
        ("/etc", "slave", "path /etc is mounted on / but it is not a shared or slave mount"),
        ("/mnt/a b", "shared", "but it is not a shared mount"),
        ("/mnt/a b", "rslave", ""),
        ("/mnt", "rshared", ""),
        ("/etc", "private", ""),
    ],
)
def test_what_cannot_propagate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, propagation: str, line: str
) -> None:
    """What the host keeps to itself can be neither shared nor slave; the answer says how to change that."""
    table = tmp_path / "mountinfo"
    table.write_text(TABLE, encoding="utf-8")
    monkeypatch.setattr("corten.engine.containers.mounting.propagation._TABLE", str(table))
    mount = UserMount(type="bind", source=source, target="/t", propagation=propagation)
    if not line:
        check_propagation([mount])
        return
    with pytest.raises(InvalidInput, match=re.escape(line)):
        check_propagation([mount])


def test_private_binds_are_not_looked_at() -> None:
    """Without shared or slave there is nothing to check."""
    check_propagation([UserMount(type="bind", source="/no/such", target="/t", propagation="rprivate")])
