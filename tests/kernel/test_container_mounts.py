"""The user's mounts in real containers, made by a supervisor with mounts of its own."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from corten.core.layers.index import index
from corten.core.layers.unpack import apply
from corten.core.runtime import plan
from corten.core.runtime.runtime import TaskFacts
from corten.core.snapshots.erofs import ErofsSnapshotter, probe
from corten.core.snapshots.overlay import OverlaySnapshotter
from corten.engine.containers.mounting.mount import UserMount, bound
from corten.engine.containers.mounts_config import root_propagation
from corten.errors import StartFailed
from corten.linux import mounts
from corten.oci.spec import Mount
from tests.kernel.supervised import SPEC, Engine, engine_test
from tests.unit.core.layers.archives import archive, member

pytestmark = [pytest.mark.root, pytest.mark.slow]

BIND = ("rbind", "rprivate")


async def start(engine: Engine, script: str, *wanted: UserMount) -> list[str]:
    """Run *script* in a container that sees *wanted* as the host does now; return the lines that it says."""
    process = replace(SPEC.process, args=("sh", "-c", script))
    made = tuple(Mount(mount.target, mount.type, mount.source, mount.options) for mount in wanted)
    spec = replace(
        SPEC,
        process=process,
        mounts=(*SPEC.mounts, *made),
        linux=replace(SPEC.linux, rootfs_propagation=root_propagation(wanted)),
    )
    path = f"{engine.prefix}/c"
    steps = plan.start_plan(
        spec,
        place=f"{engine.run}/root",
        root=Mount("/", "bind", str(engine.tree), ("rbind",)),
        cgroup_folders=engine.groups.folders(path),
        seccomp=None,
        groups=(),
        network=False,
        host_mounts=True,
    )
    facts = TaskFacts(
        id="c",
        directory=f"{engine.run}/containers/c",
        cgroup=path,
        flags=plan.clone_flags(spec),
        log=(f"{engine.logs}/c", 10 << 20, 3),
        resources=msgspec.to_builtins(spec.linux.resources),
    )
    os.makedirs(f"{engine.run}/containers", exist_ok=True)
    host = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    try:
        await engine.runtime.start(facts, steps, [host])
    finally:
        os.close(host)
    await engine.ended("c")
    lines = engine.said("c").decode().splitlines()
    await engine.forget("c")
    return lines


@contextmanager
def tmpfs(folder: Path, flags: int = mounts.MS_PRIVATE) -> Iterator[None]:
    """Have a memory file system at *folder*."""
    folder.mkdir(exist_ok=True)
    mounts.mount("tmpfs", str(folder), "tmpfs")
    try:
        mounts.mount("none", str(folder), flags=flags)
        yield
    finally:
        mounts.unmount(str(folder))


def is_mounted(folder: Path) -> bool:
    """Tell whether something is mounted on *folder*."""
    return os.path.ismount(folder)


def volume(target: str, source: Path, *options: str, subpath: str = "") -> UserMount:
    """A volume as a start makes it."""
    wish = UserMount(type="volume", target=target, subpath=subpath)
    return bound(wish, "bind", str(source), (*BIND, *options))


def test_what_the_host_mounted_later(tmp_path: Path) -> None:
    """A volume that is a mount, made long after the supervisor's mounts were copied, is what the container gets."""

    async def body(engine: Engine) -> None:
        with tmpfs(tmp_path / "late"):
            (tmp_path / "late/file").write_text("here", encoding="utf-8")
            wanted = volume("/data", tmp_path / "late")
            lines = await start(
                engine, "cat /data/file; echo; echo back >/data/back; grep -c /data /proc/mounts", wanted
            )
            assert lines == ["here", "1"]
            assert (tmp_path / "late/back").read_text(encoding="utf-8") == "back\n"

    engine_test(tmp_path, body)


def test_owners_and_folders_of_a_volume(tmp_path: Path) -> None:
    """A folder below a volume is shown with other owners, read-only with all below."""
    source = tmp_path / "volume"
    (source / "a/b").mkdir(parents=True)
    os.chown(source / "a/b", 1000, 1000)

    async def body(engine: Engine) -> None:
        wanted = volume("/data", source, "ro", "rro", "X-mount.idmap=b:1000:77:1", subpath="a")
        lines = await start(engine, "stat -c %u:%g /data/b; touch /data/b/x 2>&1; ls -A /data", wanted)
        assert lines[0] == "77:77"
        assert "Read-only file system" in lines[1]
        assert lines[2:] == ["b"]

    engine_test(tmp_path, body)


def test_a_shared_bind_reaches_the_host(tmp_path: Path) -> None:
    """What a container mounts in a shared bind is on the host; in a slave it is not."""

    async def body(engine: Engine) -> None:
        with tmpfs(tmp_path / "shared", mounts.MS_SHARED):
            for mode, seen in (("rslave", False), ("rshared", True)):
                place = tmp_path / "shared" / mode
                place.mkdir()
                mount = UserMount(
                    type="bind",
                    target="/m",
                    source=str(tmp_path / "shared"),
                    options=("rbind", mode),
                    propagation=mode,
                )
                lines = await start(engine, f"mount -t tmpfs inner /m/{mode} && echo {mode}", mount)
                assert lines[-1] == mode
                assert is_mounted(place) is seen
                if seen:
                    mounts.unmount(str(place))

    engine_test(tmp_path, body)


@pytest.mark.parametrize(
    ("subpath", "line"),
    [
        ("absent", "absent: no such file"),
        ("out", "out: invalid cross-device link"),
        ("loop", "loop: too many levels"),
    ],
)
def test_a_subpath_that_is_none(tmp_path: Path, subpath: str, line: str) -> None:
    """A folder that is missing, or a link that leads out of the volume, fails the start in one line that names both."""
    source = tmp_path / "volume"
    source.mkdir()
    (source / "out").symlink_to("/etc")
    (source / "loop").symlink_to("loop")

    async def body(engine: Engine) -> None:
        with pytest.raises(StartFailed) as failure:
            await start(engine, "true", volume("/data", source, subpath=subpath))
        assert str(source) in str(failure.value)
        assert line in str(failure.value).lower()
        assert "\n" not in str(failure.value)

    engine_test(tmp_path, body)


def layers(snapshots: OverlaySnapshotter) -> list[str]:
    """Commit two layers, one on the other; return their names."""
    below = None
    for name in ("low", "high"):
        files = [member(f"etc/{name}", data=name.encode()), member("etc/own", data=name.encode())]
        directory = snapshots.prepare("key", below).directory
        if snapshots.form == "index":
            index(io.BytesIO(archive(files)), directory)
        else:
            apply(io.BytesIO(archive(files)), directory)
        below = snapshots.commit(name, "key").key
    return ["low", "high"]


@pytest.mark.parametrize("kind", [OverlaySnapshotter, ErofsSnapshotter])
def test_images(tmp_path: Path, kind: type[OverlaySnapshotter]) -> None:
    """An image of one layer, or of several, is shown whole or from a folder on, and cannot be written."""
    if kind is ErofsSnapshotter and not probe(str(tmp_path), index):
        pytest.skip("erofs layers need Linux 6.15 and a disk's file system")
    snapshots = kind(str(tmp_path / "snapshots"))
    wanted = []
    for name in layers(snapshots):
        for subpath in ("", "etc", "etc/own"):
            snapshots.view(f"{name}-{subpath}", name)
            shown = snapshots.mounts(f"{name}-{subpath}")[0]
            wish = UserMount(type="image", target=f"/{name}/{len(subpath)}", subpath=subpath)
            wanted.append(bound(wish, shown.type, shown.source, (*shown.options, "ro")))

    async def body(engine: Engine) -> None:
        script = "for i in low high; do ls /$i/0/etc; ls /$i/3; cat /$i/7; echo; touch /$i/0/x 2>&1; done"
        read_only = "touch: cannot touch '/{}/0/x': Read-only file system"
        assert await start(engine, script, *wanted) == [
            *("low", "own", "low", "own", "low", read_only.format("low")),
            *("high", "low", "own", "high", "low", "own", "high", read_only.format("high")),
        ]

    try:
        engine_test(tmp_path, body)
    finally:
        if isinstance(snapshots, ErofsSnapshotter):
            snapshots.close()
