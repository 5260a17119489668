"""A full disk: what does not fit is refused in one line, nothing of it shows, and later it works.

Each test runs in a child with a small file system of its own, which nobody
else sees and which is gone with the child.
"""

import errno
import io
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from corten.engine.images.load import load
from corten.engine.images.receive import receive, stack
from corten.engine.images.stores import Stores
from corten.engine.images.unpack import silent
from corten.errors import OutOfSpace
from corten.linux import mounts
from corten.linux.namespaces import CLONE_NEWNS, unshare
from corten.oci.platform import host
from tests.kernel.forked import in_child
from tests.unit.engine.images.samples import docker_archive, kept, make, open_stores
from tests.unit.engine.images.test_receive import Server, layer, packed

pytestmark = [pytest.mark.root, pytest.mark.slow]
NOISE = {f"f{n}": os.urandom(100_000) for n in range(30)}  # 3 MB, which do not compress
MADE = make([NOISE])
(DATA,) = MADE.layers


def on_small_disk(directory: Path, size: int, inodes: int, body: Callable[[str], object]) -> None:
    """Run *body* in a child, in a file system of *size* bytes at *directory*."""

    def work() -> str:
        unshare(CLONE_NEWNS)
        mounts.mount("none", "/", flags=mounts.MS_REC | mounts.MS_PRIVATE)
        mounts.mount("tmpfs", str(directory), "tmpfs", options=f"size={size},nr_inodes={inodes}")
        body(str(directory))
        return "done"

    assert in_child(work) == "done"


def pull(stores: Stores) -> None:
    """Bring the layer in, as from a registry."""
    one = layer(DATA)
    stack([one], [receive(one, Server(packed(DATA)), stores, silent)], stores, silent)


def load_it(stores: Stores) -> None:
    """Bring it in from an archive."""
    load(io.BytesIO(docker_archive({"a": MADE})), stores, host(), silent)


def filled(folder: str, leave: int) -> str:
    """Fill the file system up to *leave* bytes; return the file that does."""
    with open(f"{folder}/ballast", "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(64 << 10))
    size = os.path.getsize(f"{folder}/ballast")
    os.truncate(f"{folder}/ballast", max(size - leave, 0))
    return f"{folder}/ballast"


@pytest.mark.parametrize("leave", [1 << 20, 4 << 20, 5 << 20])
@pytest.mark.parametrize("bring", [pull, load_it])
def test_no_space_for_a_layer(tmp_path: Path, bring: Callable[[Stores], None], leave: int) -> None:
    """Whether the blob, the tree or the last of it does not fit: refused, gone, and fine once there is space."""

    def body(folder: str) -> None:
        stores = open_stores(f"{folder}/engine")
        before = os.statvfs(folder).f_bavail
        ballast = filled(folder, leave)
        left = os.statvfs(folder).f_bavail
        with pytest.raises(OutOfSpace, match="no space left") as caught:
            bring(stores)
        assert "\n" not in str(caught.value)
        assert kept(stores) == (set(), set())
        assert list(stores.content.partials.walk()) == []
        stores.snapshots.sweep()  # type: ignore[attr-defined]
        assert os.statvfs(folder).f_bavail == left
        os.unlink(ballast)
        bring(stores)
        assert len(kept(stores)[1]) == 1
        assert before > os.statvfs(folder).f_bavail

    on_small_disk(tmp_path, 16 << 20, 1000, body)


def test_no_inodes_for_a_layer(tmp_path: Path) -> None:
    """A disk that has space and no room for another file is full too."""

    def body(folder: str) -> None:
        stores = open_stores(f"{folder}/engine")
        number = 0
        with suppress(OSError):
            for number in range(1000):
                os.close(os.open(f"{folder}/{number}", os.O_CREAT | os.O_WRONLY))
        for name in range(number - 10, number):
            os.unlink(f"{folder}/{name}")
        with pytest.raises(OutOfSpace):
            pull(stores)
        assert kept(stores) == (set(), set())
        for name in range(number - 10):
            os.unlink(f"{folder}/{name}")
        stores.snapshots.sweep()  # type: ignore[attr-defined]
        pull(stores)

    on_small_disk(tmp_path, 32 << 20, 200, body)


def test_what_is_there_can_be_removed_from_a_full_disk(tmp_path: Path) -> None:
    """Freeing needs no space."""

    def body(folder: str) -> None:
        stores = open_stores(f"{folder}/engine")
        pull(stores)
        filled(folder, 0)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            Path(folder, "more").write_bytes(bytes(64 << 10))
        stores.content.partials.drop(layer(DATA).descriptor.digest)
        stores.collect()
        assert kept(stores) == (set(), set())
        stores.snapshots.sweep()  # type: ignore[attr-defined]
        Path(folder, "more").write_bytes(bytes(64 << 10))

    on_small_disk(tmp_path, 16 << 20, 1000, body)
