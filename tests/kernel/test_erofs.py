"""ErofsSnapshotter: what is peculiar to layers that stay tars."""

import errno
import io
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from corten.core.layers import index as index_module
from corten.core.layers.index import index
from corten.core.snapshots import erofs_layers
from corten.core.snapshots.erofs import ErofsSnapshotter, probe
from corten.core.snapshots.overlay import OverlaySnapshotter
from corten.errors import DataCorrupted, NotFound
from corten.linux.files import walk
from corten.linux.mounts import erofs, filesystem
from corten.linux.xattrs import read_at
from tests.fakes.mounted import mounted
from tests.unit.core.layers.archives import archive, member

pytestmark = pytest.mark.root


@pytest.fixture
def snapshots(tmp_path: Path) -> Iterator[ErofsSnapshotter]:
    """An empty snapshotter."""
    if not probe(str(tmp_path), index):
        pytest.skip("erofs layers need Linux 6.15 and a disk's file system")
    made = ErofsSnapshotter(str(tmp_path / "snapshots"))
    yield made
    made.close()


def add(snapshots: ErofsSnapshotter, name: str, parent: str | None = None, **files: str) -> Path:
    """Commit a layer of *files*; return its folder."""
    directory = snapshots.prepare("key", parent).directory
    index(io.BytesIO(archive([member(path, data=text.encode()) for path, text in files.items()])), directory)
    return Path(snapshots.commit(name, "key").directory)


def open_mounts() -> int:
    """Count this process's descriptors of detached mounts' roots and the like."""
    return sum(os.readlink(f"/proc/self/fd/{fd}") == "/" for fd in os.listdir("/proc/self/fd") if fd.isdigit()
               and os.path.lexists(f"/proc/self/fd/{fd}"))  # fmt: skip


def test_a_layer_is_two_files(snapshots: ErofsSnapshotter) -> None:
    """Whatever a layer has in it, its snapshot is the tar as it came and an index."""
    data = archive([member(f"d/{number}", data=b"x") for number in range(500)])
    index(io.BytesIO(data), snapshots.prepare("key").directory)
    directory = Path(snapshots.commit("name", "key").directory)

    assert sorted(os.listdir(directory)) == ["layer.erofs", "layer.tar"]
    assert (directory / "layer.tar").read_bytes() == data
    assert sorted(os.listdir(directory.parent)) == ["layer", "meta"]
    assert snapshots.usage("name").inodes == 3


def test_both_sides_agree(snapshots: ErofsSnapshotter) -> None:
    """Who writes layers and who shows them use the same names, though neither knows the other."""
    for name in ("TAR", "IMAGE", "MARK"):
        assert getattr(index_module, name) == getattr(erofs_layers, name)


def test_another_process_can_stack_them(snapshots: ErofsSnapshotter) -> None:
    """The mount's text is all that a supervisor's child needs, as long as this process lives."""
    add(snapshots, "one", a="1")
    add(snapshots, "two", "one", b="2")
    snapshots.prepare("container", "two")
    snapshots.view("view", "one")
    script = (
        "import os, sys\n"
        "from corten.linux.mounts import AT_FDCWD, clone_tree, overlay\n"
        "lower, upper, work, single = sys.argv[1:]\n"
        "root = overlay(lower.split(':'), upper, work)\n"
        "print(*sorted(os.listdir(f'/proc/self/fd/{root}')))\n"
        "print(*os.listdir(f'/proc/self/fd/{clone_tree(AT_FDCWD, single)}'))\n"
    )
    words = [option.partition("=")[2] for option in snapshots.mounts("container")[0].options[:3]]
    single = snapshots.mounts("view")[0].source
    command = [sys.executable, "-c", script, *words, single]
    done = subprocess.run(command, check=True, capture_output=True, text=True)

    assert done.stdout.splitlines() == ["a b", "a"]


def test_one_mount_for_all_containers(snapshots: ErofsSnapshotter) -> None:
    """Containers on the same layers share their mounts, which go with the layers."""
    before = open_mounts()
    add(snapshots, "one", a="1")
    add(snapshots, "two", "one", b="2")
    for number in range(5):
        snapshots.prepare(f"container{number}", "two")
        snapshots.mounts(f"container{number}")
    assert open_mounts() == before + 2
    lower = {snapshots.mounts(f"container{number}")[0].options[0] for number in range(5)}
    assert len(lower) == 1
    for number in range(5):
        snapshots.remove(f"container{number}")
    snapshots.remove("two")
    assert open_mounts() == before + 1
    snapshots.close()
    assert open_mounts() == before


def test_a_container_cannot_bring_an_index(snapshots: ErofsSnapshotter) -> None:
    """Files that are called like a layer's are files when a container wrote them, and never mounted."""
    directory = snapshots.prepare("key").directory
    index(io.BytesIO(archive([member("secret")])), directory)
    copies = [Path(directory, name).read_bytes() for name in ("layer.tar", "layer.erofs")]
    upper = snapshots.prepare("container").directory
    Path(upper, "layer.tar").write_bytes(copies[0])
    Path(upper, "layer.erofs").write_bytes(copies[1])
    snapshots.commit("committed", "container")

    with mounted(snapshots.mounts("committed")) as root:
        assert sorted(os.listdir(root)) == ["layer.erofs", "layer.tar"]


def test_a_layer_cannot_bring_an_index(snapshots: ErofsSnapshotter) -> None:
    """A layer that is unpacked for its size keeps files of those names as files; the mark is not for layers."""
    directory = snapshots.prepare("key").directory
    forged = {f"SCHILY.xattr.{erofs_layers.MARK}": "plain"}
    data = archive(
        [member("layer.tar"), member("layer.erofs"), member("./", "folder", mode=0o755, pax=forged)]
    )
    index(io.BytesIO(data), directory, memory=100)
    snapshots.commit("name", "key")

    with mounted(snapshots.mounts("name")) as root:
        assert sorted(os.listdir(root)) == ["layer.erofs", "layer.tar"]


def test_large_files_are_read_past_the_pages_of_the_tar(
    snapshots: ErofsSnapshotter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer of large files is mounted so that it is in memory once, where that works, and reads the same."""
    tried: list[bool] = []
    real = erofs

    def mount(image: str, tar: str, direct: bool = False) -> int:
        tried.append(direct)
        if direct and tried.count(True) == 2:
            raise OSError(errno.EINVAL, "no direct reading here")
        return real(image, tar, direct)

    monkeypatch.setattr(erofs_layers, "erofs", mount)
    content = os.urandom(1_300_000)
    for name, data in {"small": b"x", "large": content, "again": content}.items():
        directory = snapshots.prepare("key").directory
        index(io.BytesIO(archive([member("file", data=data)])), directory)
        snapshots.commit(name, "key")
        with mounted(snapshots.mounts(name)) as root:
            assert Path(root, "file").read_bytes() == data
    assert tried == [False, True, True, False]


def test_trees_and_layers_in_one_chain(snapshots: ErofsSnapshotter) -> None:
    """A layer too large to index is unpacked and stands between others."""
    add(snapshots, "one", a="1", b="1")
    directory = snapshots.prepare("key", "one").directory
    applied = index(io.BytesIO(archive([member("b", data=b"2"), member(".wh.a")])), directory, memory=100)
    snapshots.commit("two", "key", own_root=applied.own_root)
    add(snapshots, "three", "two", c="3")
    snapshots.prepare("container", "three")

    assert sorted(os.listdir(directory)) == ["a", "b"]
    with mounted(snapshots.mounts("container")) as root:
        assert {name: Path(root, name).read_text() for name in os.listdir(root)} == {"b": "2", "c": "3"}


def test_snapshots_of_the_overlay_form_are_taken_over(tmp_path: Path, snapshots: ErofsSnapshotter) -> None:
    """An engine that kept trees before goes on with them."""
    before = OverlaySnapshotter(str(tmp_path / "before"))
    Path(before.prepare("key").directory, "a").write_text("1")
    before.commit("one", "key")
    after = ErofsSnapshotter(str(tmp_path / "before"))
    add(after, "two", "one", b="2")

    with mounted(after.mounts("two")) as root:
        assert sorted(os.listdir(root)) == ["a", "b"]
    after.close()


def test_a_commit_that_failed_can_be_tried_again(
    snapshots: ErofsSnapshotter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When making it durable fails, the layer is still there for the next try, and for a restart."""
    add(snapshots, "base", z="0")
    index(io.BytesIO(archive([member("a", data=b"1")])), snapshots.prepare("key").directory)
    with monkeypatch.context() as patch:
        patch.setattr(erofs_layers, "sync", lambda _: (_ for _ in ()).throw(OSError("broken")))
        with pytest.raises(OSError, match="broken"):
            snapshots.commit("name", "key", "base")
    assert snapshots.info("key").kind == "active"
    snapshots.commit("name", "key", "base")

    with mounted(snapshots.mounts("name")) as root:
        assert sorted(os.listdir(root)) == ["a", "z"]


@pytest.mark.parametrize("length", [0, 1000, 1100, 1536, 2000, 4096])
def test_a_damaged_index_is_one_clear_line(snapshots: ErofsSnapshotter, length: int) -> None:
    """A cut index is refused when its layer is needed, and nothing is left of the attempt."""
    directory = add(snapshots, "one", **{f"f{n}": "1" for n in range(100)})
    os.truncate(directory / "layer.erofs", length)
    refusal: DataCorrupted | None = None
    try:
        snapshots.prepare("container", "one")
    except DataCorrupted as failure:
        refusal = failure
    if refusal is None:  # what is missing shows later, as an error of the disk would
        with mounted(snapshots.mounts("one")) as root:
            read_everything(root)
        return
    assert "fetch them again" in str(refusal)
    assert "\n" not in str(refusal)
    with pytest.raises(NotFound):
        snapshots.info("container")


def test_a_changed_superblock_is_noticed(snapshots: ErofsSnapshotter) -> None:
    """A single wrong bit in the superblock fails its checksum."""
    directory = add(snapshots, "one", a="1")
    with (directory / "layer.erofs").open("r+b") as file:
        file.seek(1024 + 48)
        file.write(b"?")

    with pytest.raises(DataCorrupted):
        snapshots.mounts("one")


@pytest.mark.slow
def test_wrong_bits_are_errors_and_no_more(snapshots: ErofsSnapshotter, tmp_path: Path) -> None:
    """Whatever bits are wrong in an index, reading gives data or an error, and the next layer works."""
    chance = random.Random(1)
    data = archive(
        [*(member(f"d{n % 7}/{n}", data=b"x" * n * 9) for n in range(200)), member("l", "link", link="d1/1")]
    )
    (tmp_path / "good").mkdir()
    index(io.BytesIO(data), str(tmp_path / "good"))
    good = (tmp_path / "good" / "layer.erofs").read_bytes()
    for _ in range(60):
        image = bytearray(good)
        for _ in range(chance.choice([1, 3, 30])):
            place = chance.randrange(1536, len(image))
            image[place] ^= 1 << chance.randrange(8)
        (tmp_path / "good" / "layer.erofs").write_bytes(image)
        layers = erofs_layers.Layers()
        try:
            read_everything(f"/proc/self/fd/{layers.mounted(0, str(tmp_path / 'good'))}")
        except DataCorrupted:
            pass
        finally:
            layers.close()
    add(snapshots, "one", a="1")
    with mounted(snapshots.mounts("one")) as root:
        assert os.listdir(root) == ["a"]


def read_everything(root: str) -> None:
    """Read names, attributes and the first bytes of files, as far as that goes."""
    top = -1
    try:
        top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        for count, node in enumerate(walk(top)):
            try:
                read_at(node.folder, node.name)
                file = os.open(node.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=node.folder)
            except OSError:
                continue
            try:
                os.read(file, 5000)
            except OSError:
                pass
            finally:
                os.close(file)
            if count > 2000:
                return
    except (OSError, ValueError):
        return
    finally:
        if top >= 0:
            os.close(top)


def test_probe_leaves_nothing(tmp_path: Path, snapshots: ErofsSnapshotter) -> None:
    """The probe says yes here, and its files and mounts are gone."""
    before = open_mounts()

    assert probe(str(tmp_path / "snapshots"), index)
    assert os.listdir(tmp_path / "snapshots") == ["trash"]
    assert open_mounts() == before


def test_probe_says_no_where_it_cannot_be() -> None:
    """On a file system whose files cannot be mounted, the answer is no."""
    tmpfs = filesystem("tmpfs", [])
    try:
        assert not probe(f"/proc/self/fd/{tmpfs}", index)
    finally:
        os.close(tmpfs)


def test_probe_has_a_deadline(tmp_path: Path) -> None:
    """A kernel or disk that does not answer is a no."""
    answer = threading.Event()
    stuck: list[str] = []

    def slow(_: BinaryIO, directory: str) -> None:
        stuck.append(directory)
        answer.wait(10)

    assert not probe(str(tmp_path), slow, deadline=0.05)
    answer.set()
    for thread in threading.enumerate():
        if thread.name == "erofs-probe":
            thread.join(10)
    assert stuck
    assert os.listdir(tmp_path) == []
