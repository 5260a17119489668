"""Folders of a snapshot, by the names that people look for."""

import pytest

from corten.core.snapshots.folders import folders, holds_changes
from corten.oci.spec import Mount

WRITABLE = Mount("/", "overlay", "overlay", ("lowerdir=/b:/a", "upperdir=/u", "workdir=/w", "index=off"))
READ_ONLY = Mount("/", "overlay", "overlay", ("ro", "lowerdir=/c:/b:/a"))
TREE = Mount("/", "bind", "/t", ("bind", "rw"))


@pytest.mark.parametrize(
    ("mount", "expected", "changes"),
    [
        (WRITABLE, {"LowerDir": "/b:/a", "UpperDir": "/u", "WorkDir": "/w"}, True),
        (READ_ONLY, {"LowerDir": "/b:/a", "UpperDir": "/c"}, False),
        (TREE, {"UpperDir": "/t"}, False),
    ],
)
def test_folders(mount: Mount, expected: dict[str, str], changes: bool) -> None:
    """The uppermost tree is upper, whether it can be written to or not; only an overlay's holds changes alone."""
    assert folders(mount) == expected
    assert holds_changes(mount) is changes
