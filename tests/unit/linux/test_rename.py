"""Two names change places."""

import errno
import os
from pathlib import Path

import pytest

from corten.linux.rename import exchange
from corten.linux.syscalls import KernelError


def test_two_names_change_places(tmp_path: Path) -> None:
    """Whatever they are, in whichever folders."""
    (tmp_path / "sub/folder").mkdir(parents=True)
    (tmp_path / "file").write_text("text")
    above, below = os.open(tmp_path, os.O_RDONLY), os.open(tmp_path / "sub", os.O_RDONLY)
    try:
        exchange(above, "file", below, "folder")
        with pytest.raises(KernelError, match="exchange file and absent") as failure:
            exchange(above, "file", below, "absent")
    finally:
        os.close(above)
        os.close(below)
    assert failure.value.errno == errno.ENOENT
    assert (tmp_path / "file").is_dir()
    assert (tmp_path / "sub/folder").read_text() == "text"
