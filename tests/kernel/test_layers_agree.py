"""Layers agree: however they are applied, a container sees the same tree.

Theory. A layer can be unpacked into the tree that it changes, or apart from it
for the kernel to lay over, and then before or after what lies below is there,
or stay a tar with an index. Four ways, one meaning: whatever random layers they
accept, they must show the same. They need not refuse the same ones, since only the first sees what is
below: it finds a file where the layer wants a folder, or a link's target.
"""

import io
import stat
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from corten.core.layers.index import index
from corten.core.layers.unpack import apply
from corten.core.snapshots import erofs
from corten.core.snapshots.copy import CopySnapshotter
from corten.core.snapshots.erofs import ErofsSnapshotter
from corten.core.snapshots.overlay import OverlaySnapshotter
from corten.core.snapshots.snapshotter import Snapshotter
from corten.errors import CortenError
from tests.fakes.mounted import mounted
from tests.kernel.trees import Description, describe
from tests.unit.core.layers.archives import archive, member

pytestmark = [pytest.mark.root, pytest.mark.slow]
Member = tuple[tarfile.TarInfo, bytes]
Layers = Sequence[bytes]

FOLDERS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=2)
NAMES = st.sampled_from(
    ["a", "b", "c", "d", "x" * 101, ".wh.a", ".wh.b", ".wh.d", ".wh..wh..opq", ".wh..wh.plnk"]
)
LINKS = st.sampled_from(["l", "m"])  # never the name of a folder: one way would go through them


@st.composite
def members(draw: st.DrawFn) -> Member:
    """Draw one entry."""
    above = draw(FOLDERS)
    kind = draw(st.sampled_from(["file", "file", "folder", "link", "hard", "fifo", "char", "root"]))
    if kind == "root":
        return member(
            "./", "folder", mode=draw(st.sampled_from([0o755, 0o711])), uid=draw(st.sampled_from([0, 9]))
        )
    name = draw(LINKS if kind in ("link", "hard") else NAMES)
    if name.startswith(".wh."):
        return member("/".join([*above, name]))
    link = ""
    if kind == "link":
        link = draw(st.sampled_from(["a", "../b", "/c/d", "nowhere"]))
    elif kind == "hard":
        link = "/".join([*draw(FOLDERS), draw(st.sampled_from(["a", "d", "l"]))])
    pax = draw(
        st.sampled_from([{}, {"SCHILY.xattr.user.k": "v"}, {"SCHILY.xattr.trusted.overlay.opaque": "y"}])
    )
    return member(
        "/".join([*above, name]),
        kind,
        draw(st.binary(max_size=9)) if kind == "file" else b"",
        mode=draw(st.sampled_from([0o644, 0o4755, 0o2750, 0])),
        uid=draw(st.sampled_from([0, 7])),
        mtime=draw(st.sampled_from([0, 1_500_000_000])),
        link=link,
        device=(1, 3) if kind == "char" else (0, 0),
        pax=dict(pax) if kind in ("file", "folder") else {},
    )


LAYER = st.lists(members(), min_size=1, max_size=8)


def in_order(snapshots: Snapshotter, layers: Layers) -> None:
    """Apply each layer when the one below is there."""
    form = "plain" if snapshots.form == "plain" else "overlay"
    parent = None
    for number, data in enumerate(layers):
        snapshot = snapshots.prepare("key", parent)
        applied = apply(io.BytesIO(data), snapshot.directory, whiteouts=form)  # type: ignore[arg-type]
        if parent is not None:
            snapshots.inherit("key", parent, applied.implied)
        parent = snapshots.commit(str(number), "key").key


def at_once(snapshots: Snapshotter, layers: Layers) -> None:
    """Apply all layers, the last first, and put them on each other in the end."""
    applied = {}
    way = index if snapshots.form == "index" else apply
    for number, data in reversed(list(enumerate(layers))):
        applied[number] = way(io.BytesIO(data), snapshots.prepare(f"key{number}").directory)
    for number in range(len(layers)):
        parent = str(number - 1) if number else None
        if parent is not None:
            snapshots.inherit(f"key{number}", parent, applied[number].implied)
        snapshots.commit(str(number), f"key{number}", parent, applied[number].own_root)


@cache
def can_index() -> bool:
    """Tell whether this kernel mounts tars with an index."""
    return erofs.probe(tempfile.gettempdir(), index)


def seen(
    make: Callable[[str], Snapshotter], fill: Callable[[Snapshotter, Layers], None], layers: Layers
) -> Description | None:
    """Return what a container would see, None when a layer was refused."""
    with tempfile.TemporaryDirectory(prefix="agree-") as folder, ExitStack() as stack:
        snapshots = make(f"{folder}/snapshots")
        if isinstance(snapshots, ErofsSnapshotter):
            stack.callback(snapshots.close)
        try:
            fill(snapshots, layers)
        except CortenError:
            return None
        snapshots.prepare("container", str(len(layers) - 1))
        root = stack.enter_context(mounted(snapshots.mounts("container")))
        found = describe(Path(root))
    return {path: without_folder_times(value) for path, value in found.items()}


def without_folder_times(value: tuple[object, ...]) -> tuple[object, ...]:
    """Leave the times of folders out: those that no entry names are as old as the unpacking."""
    folder = stat.S_ISDIR(int(str(value[0]), 8))
    return (*value[:3], None, *value[4:]) if folder else value


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LAYER, min_size=1, max_size=3))
def test_layers_mean_the_same_however_they_are_applied(drawn: list[list[Member]]) -> None:
    """Copied, laid over, laid over late, and indexed: the container's tree is the same in every attribute."""
    for each in drawn:
        note(str([(info.name, info.type, info.linkname, oct(info.mode), info.uid) for info, _ in each]))
    layers = [archive(each) for each in drawn]
    laid = seen(OverlaySnapshotter, in_order, layers)
    late = seen(OverlaySnapshotter, at_once, layers)
    copied = seen(CopySnapshotter, in_order, layers)

    assert laid == late
    if laid is not None:
        assert copied in (laid, None)
        assert not can_index() or seen(ErofsSnapshotter, at_once, layers) in (laid, None)


def test_the_ways_are_told_apart() -> None:
    """The comparison sees a difference where there is one."""
    one, two = (archive([member("a", data=data)]) for data in (b"1", b"2"))
    ways = partial(seen, OverlaySnapshotter, in_order)

    assert ways([one]) != ways([two])
