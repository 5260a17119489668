"""What a container has changed, path by path, where the kernel's overlay has written it down."""

import io
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from corten.core.layers.changes import Change, Kind, changes
from corten.core.layers.pack import write_diff
from corten.core.layers.unpack import apply
from corten.core.snapshots.copy import CopySnapshotter
from corten.core.snapshots.folders import folders, holds_changes
from corten.core.snapshots.overlay import OverlaySnapshotter
from corten.core.snapshots.snapshotter import Snapshotter
from corten.errors import LimitExceeded
from tests.fakes.mounted import mounted

pytestmark = pytest.mark.root

LETTERS = {Kind.MODIFIED: "C", Kind.ADDED: "A", Kind.DELETED: "D"}
PLACES = (b"proc", b"etc/hosts")
Edit = Callable[[Path], object]


@pytest.fixture(params=[OverlaySnapshotter, CopySnapshotter])
def snapshots(request: pytest.FixtureRequest, tmp_path: Path) -> Snapshotter:
    """A snapshotter of each kind with a committed tree, called base."""
    made: Snapshotter = request.param(str(tmp_path / "snapshots"))
    root = Path(made.prepare("layer").directory)
    for folder in ("etc/deep", "usr/doc/a", "var"):
        (root / folder).mkdir(parents=True)
    for file in ("etc/passwd", "etc/group", "etc/deep/1", "usr/doc/a/1", "usr/doc/b", "var/1"):
        (root / file).write_text(file)
    (root / "link").symlink_to("var")
    made.commit("base", "layer")
    return made


def told(snapshots: Snapshotter, *edits: Edit) -> list[str]:
    """Edit the tree of a new snapshot as a container would; return what ``diff`` says."""
    snapshots.prepare("c", "base")
    with mounted(snapshots.mounts("c")) as root:
        for edit in edits:
            edit(Path(root))
    mount, lower = snapshots.mounts("c")[0], folders(snapshots.mounts("base")[0])["UpperDir"]
    found = changes(folders(mount)["UpperDir"], lower, holds_changes(mount), PLACES)
    return [f"{LETTERS[each.kind]} {os.fsdecode(each.path)}" for each in found]


def replace(path: Path) -> None:
    """Remove a folder and make it again, empty."""
    shutil.rmtree(path)
    path.mkdir()


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ([], []),
        ([lambda r: (r / "new").write_text("x")], ["A /new"]),
        ([lambda r: (r / "etc/passwd").write_text("longer text")], ["C /etc", "C /etc/passwd"]),
        ([lambda r: (r / "etc/passwd").unlink()], ["C /etc", "D /etc/passwd"]),
        ([lambda r: (r / "etc/passwd").chmod(0o600)], ["C /etc", "C /etc/passwd"]),
        ([lambda r: os.chown(r / "etc", 7, 7)], ["C /etc"]),
        ([lambda r: shutil.rmtree(r / "usr")], ["D /usr"]),
        ([lambda r: replace(r / "usr/doc")], ["C /usr", "C /usr/doc", "D /usr/doc/a", "D /usr/doc/b"]),
        (
            [lambda r: replace(r / "usr/doc"), lambda r: (r / "usr/doc/b").write_text("other text")],
            ["C /usr", "C /usr/doc", "D /usr/doc/a", "C /usr/doc/b"],
        ),
        (
            [lambda r: (r / "new/deep").mkdir(parents=True), lambda r: (r / "new/deep/1").touch()],
            ["A /new", "A /new/deep", "A /new/deep/1"],
        ),
        (
            [lambda r: shutil.rmtree(r / "usr/doc"), lambda r: (r / "usr/doc").write_text("a file")],
            ["C /usr", "C /usr/doc"],
        ),
        (
            [
                lambda r: (r / "link").unlink(),
                lambda r: (r / "link").mkdir(),
                lambda r: (r / "link/1").touch(),
            ],
            ["C /link", "A /link/1"],
        ),
        ([lambda r: (r / "link").unlink(), lambda r: (r / "link").symlink_to("etc")], ["C /link"]),
        ([lambda r: (r / "new").touch(), lambda r: (r / "new").unlink()], []),
        ([lambda r: os.setxattr(r / "var/1", "user.a", b"1")], ["C /var", "C /var/1"]),
        ([lambda r: (r / "etc/deep/1").open("r+").close()], []),
        ([lambda r: (r / "proc").mkdir(), lambda r: (r / "etc/hosts").touch()], []),
        ([lambda r: (r / "etc/hosts").write_text("own")], ["C /etc", "A /etc/hosts"]),
        ([lambda r: (r / os.fsdecode(b"\xff")).touch()], ["A /\udcff"]),
    ],
)
def test_changes(snapshots: Snapshotter, edits: list[Edit], expected: list[str]) -> None:
    """What is told is what Docker tells, whatever the snapshotter keeps; places to mount on are not."""
    assert told(snapshots, *edits) == expected


def test_everything_is_new_on_nothing(snapshots: Snapshotter) -> None:
    """A tree without a parent is all added."""
    directory = snapshots.prepare("alone").directory
    Path(directory, "a").mkdir()
    assert changes(directory, None, overlay=snapshots.form == "overlay") == [Change(b"/a", Kind.ADDED)]


def test_too_deep_is_refused(snapshots: Snapshotter) -> None:
    """A container that nests folders without end does not exhaust the engine."""
    top = Path(snapshots.prepare("deep", "base").directory)
    with ExitStack() as stack:
        here = os.open(top, os.O_RDONLY)
        for _ in range(300):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        stack.callback(os.close, here)
    with pytest.raises(LimitExceeded, match="nested more than 256 deep"):
        changes(str(top), None, overlay=True)


def test_the_layer_leaves_places_out(snapshots: Snapshotter, tmp_path: Path) -> None:
    """Neither empty folders nor empty files to mount on are in the layer; with content they are."""
    snapshots.prepare("c", "base")
    with mounted(snapshots.mounts("c")) as root:
        Path(root, "proc").mkdir()
        Path(root, "etc/hosts").touch()
        Path(root, "new").write_text("x")
    mount, out = snapshots.mounts("c")[0], bytearray()
    lower = None if holds_changes(mount) else folders(snapshots.mounts("base")[0])["UpperDir"]
    write_diff(folders(mount)["UpperDir"], out.extend, lower, places=PLACES)
    target = tmp_path / "target"
    target.mkdir()
    apply(io.BytesIO(out), str(target))
    assert (target / "new").read_text() == "x"
    assert not (target / "proc").exists()
    assert not (target / "etc/hosts").exists()
