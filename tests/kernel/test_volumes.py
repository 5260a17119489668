"""Volumes and the kernel: owners and attributes, mounts, images on overlay, hostile neighbours, sudden death."""

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from corten.core.snapshots.copy import CopySnapshotter
from corten.core.snapshots.overlay import OverlaySnapshotter
from corten.core.snapshots.snapshotter import Snapshotter
from corten.core.volumes.copy import copy_tree
from corten.core.volumes.mounting import is_mounted, unmount
from corten.engine.records.database import Database
from corten.engine.records.volumes import VolumeRepository
from corten.engine.volumes.service import Volumes
from corten.engine.volumes.shared import User
from corten.errors import Conflict, OutOfSpace, Unavailable, Unsupported
from corten.linux import mounts, quota
from corten.linux.files import remove_tree
from corten.linux.rename import exchange
from tests.fakes.mounted import mounted
from tests.kernel.trees import describe
from tests.looping import in_loop

pytestmark = pytest.mark.root

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep
TMPFS = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000"}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder below which nothing stays mounted."""
    yield tmp_path
    unmount(str(tmp_path))


@pytest.fixture
def volumes(place: Path) -> Iterator[Volumes]:
    """An engine's volumes, none yet."""
    with service(place) as made:
        yield made


@contextmanager
def service(folder: Path, users: Callable[[str], list[User]] = lambda _: []) -> Iterator[Volumes]:
    """Give the volumes of an engine on *folder*."""

    def publish(*_: str | Mapping[str, str]) -> None:
        pass

    with closing(Database(folder / "engine.db")) as database:
        yield Volumes(VolumeRepository(database), str(folder / "volumes"), users, publish)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Give a descriptor of a folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def plant(top: Path) -> None:
    """Make a tree of what only root can make, with owners, attributes and a hard link."""
    (top / "folder").mkdir(parents=True)
    (top / "file").write_text("text")
    os.mknod(top / "null", 0o20666, os.makedev(1, 3))
    os.mkfifo(top / "folder/pipe")
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(top / "folder/socket"))
    os.chown(top / "file", 999, 998)
    os.chmod(top / "file", 0o6755)
    os.setxattr(top / "file", "security.capability", CAPABILITY)
    os.setxattr(top / "folder", "user.colour", b"red")
    os.symlink("file", top / "link")
    os.chown(top / "link", 7, 7, follow_symlinks=False)
    os.link(top / "file", top / "folder/hard")
    os.chown(top, 999, 998)
    os.chmod(top, 0o1770)
    for name in ("folder", "."):
        os.utime(top / name, ns=(10**18, 10**18 + 1))


def test_a_copy_keeps_what_only_root_can_make(place: Path) -> None:
    """Devices, sockets, owners, set-id bits, capabilities and other attributes, links."""
    plant(place / "source")
    (place / "target").mkdir()
    with opened(place / "source") as old, opened(place / "target") as new:
        copy_tree(old, new)
    assert describe(place / "target") == describe(place / "source")


@pytest.fixture(params=[OverlaySnapshotter, CopySnapshotter])
def snapshots(request: pytest.FixtureRequest, place: Path) -> Snapshotter:
    """A snapshotter of each kind with a committed tree, called base, and a container's root on it, called c."""
    made: Snapshotter = request.param(str(place / "snapshots"))
    root = Path(made.prepare("layer").directory)
    plant(root / "srv/data")
    (root / "srv/data/gone").write_text("x")
    (root / "way").symlink_to("/srv")
    made.commit("base", "layer")
    made.prepare("c", "base")
    return made


@in_loop
async def test_the_first_use_takes_what_the_image_has(volumes: Volumes, snapshots: Snapshotter) -> None:
    """With what the container has changed; nothing is attached anywhere, and owner and mode come along."""
    with mounted(snapshots.mounts("c")) as root:
        os.unlink(f"{root}/srv/data/gone")
        os.mknod(f"{root}/srv/data/added", 0o640)
        expected = describe(f"{root}/srv/data")
    made = await volumes.create("data")
    assert await volumes.populate("data", snapshots.mounts("c")[0], "/way/data")
    assert describe(made.mountpoint) == expected
    assert not await volumes.populate("data", snapshots.mounts("c")[0], "/way/data")


@in_loop
async def test_a_mount_lasts_as_long_as_its_users(volumes: Volumes) -> None:
    """It is there from the first container to the last, with its options, private, and the same for both."""
    data = (await volumes.create("data", "local", TMPFS)).mountpoint
    assert not is_mounted(data)
    await volumes.hold("one", ["data"])
    assert is_mounted(data)
    assert os.stat(data).st_uid == 1000
    assert os.statvfs(data).f_blocks * os.statvfs(data).f_frsize == 1 << 20
    assert propagation(data) == ""
    os.mknod(f"{data}/file")
    await volumes.hold("two", ["data"])
    await volumes.let_go("one")
    assert os.listdir(data) == ["file"]
    await volumes.let_go("two")
    assert not is_mounted(data)
    assert os.listdir(data) == []


def propagation(path: str) -> str:
    """Return the propagation of the mount at *path* as mountinfo has it; nothing for private."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields = line.split(" - ")[0].split()
        if fields[4] == path:
            return " ".join(fields[6:])
    raise AssertionError(path)


@in_loop
async def test_a_bind_shows_a_folder_of_the_host(volumes: Volumes, place: Path) -> None:
    """With the attributes asked for."""
    (place / "host").mkdir()
    (place / "host/file").write_text("text")
    options = {"type": "none", "device": str(place / "host"), "o": "bind,ro"}
    data = (await volumes.create("data", "local", options)).mountpoint
    await volumes.hold("one", ["data"])
    assert os.listdir(data) == ["file"]
    with pytest.raises(OSError, match="Read-only"):
        os.mkdir(f"{data}/x")
    await volumes.let_go("one")
    tar = b"".join([block async for block in volumes.export("data")])
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        assert archive.getnames() == ["file"]
    assert not is_mounted(data)
    await volumes.remove("data", force=False)
    assert (place / "host/file").read_text() == "text"
    await volumes.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"type": "none", "device": "/nowhere", "o": "bind"},
            "failed to mount /nowhere as none: .*No such file",
        ),
        ({"type": "bogusfs", "device": "x"}, "failed to mount x as bogusfs: .*No such device"),
        ({"type": "tmpfs", "device": "tmpfs", "o": "colour=red"}, "failed to mount tmpfs as tmpfs: .*colour"),
        ({"type": "ext4", "device": "/dev/null"}, "failed to mount /dev/null as ext4: "),
    ],
)
def test_a_mount_that_fails_is_told(volumes: Volumes, options: dict[str, str], said: str) -> None:
    """In one line with what the kernel said; nothing is mounted, and nobody holds the volume."""

    async def run() -> None:
        data = await volumes.create("data", "local", options)
        with pytest.raises(Unavailable, match=said) as refusal:
            await volumes.hold("one", ["data"])
        assert "\n" not in str(refusal.value)
        assert not is_mounted(data.mountpoint)
        await volumes.remove("data", force=False)
        await volumes.close()

    asyncio.run(run())


@in_loop
async def test_a_new_engine_unmounts_what_nobody_uses(place: Path) -> None:
    """And leaves alone what a container that ran on has."""
    with service(place) as former:
        paths = {}
        for name in ("used", "left"):
            paths[name] = (await former.create(name, "local", TMPFS)).mountpoint
            await former.hold(f"c-{name}", [name])
    with service(place) as new:
        new.recover()
        await new.reconcile({"c-used": ["used"]})
        assert is_mounted(paths["used"])
        assert not is_mounted(paths["left"])
        await new.let_go("c-used")
        assert not is_mounted(paths["used"])


@in_loop
async def test_files_come_into_a_mount_as_well(volumes: Volumes, snapshots: Snapshotter) -> None:
    """Between file systems they are copied: a container's first use, and an import; too much is told."""
    data = (await volumes.create("data", "local", TMPFS)).mountpoint
    await volumes.hold("one", ["data"])
    assert await volumes.populate("data", snapshots.mounts("c")[0], "/srv/data")
    with mounted(snapshots.mounts("c")) as root:
        assert describe(data) == describe(f"{root}/srv/data")
    await volumes.import_("data", packed("link/below", b"x" * 10))
    assert os.stat(f"{data}/link/below").st_size == 10
    with pytest.raises(OutOfSpace):
        await volumes.import_("data", packed("large", bytes(range(256)) * 8192))
    await volumes.let_go("one")


def packed(name: str, text: bytes) -> io.BytesIO:
    """Return a tar of one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("now", [True, False])
def test_removing_never_goes_through_a_mount(volumes: Volumes, place: Path, now: bool) -> None:
    """What somebody has mounted inside a volume is unmounted; its files stay."""

    async def run() -> None:
        data = Path((await volumes.create("data")).mountpoint)
        (data / "sub").mkdir()
        (place / "canary").mkdir()
        (place / "canary/file").write_text("safe")
        mounts.mount(str(place / "canary"), str(data / "sub"), flags=mounts.MS_BIND)
        await volumes.remove("data", force=False, now=now)
        for thrown in await volumes.trash():
            await volumes.undelete(thrown.id, "again")
            await volumes.remove("again", force=False, now=True)
        await volumes.close()

    asyncio.run(run())
    assert (place / "canary/file").read_text() == "safe"
    assert os.listdir(place / "volumes/.work") == os.listdir(place / "volumes/.trash") == []


@pytest.mark.slow
def test_a_neighbour_that_swaps_folders_and_links(place: Path) -> None:
    """Copies in and out of a volume whose container swaps a folder for a link to the host never leave it."""
    host = place / "host"
    host.mkdir()
    (host / "file").write_text("canary")
    (host / "file").chmod(0o600)
    before = describe(host)

    async def run(volumes: Volumes) -> None:
        data = (await volumes.create("data")).mountpoint
        stop = threading.Event()
        swapper = threading.Thread(target=swap, args=(data, str(host), stop))
        swapper.start()
        try:
            for _ in range(150):
                with suppress(Conflict):
                    await volumes.import_("data", packed("way/file", b"theirs"))
                out = await collected(volumes.archive_get("data", "/"))
                assert b"canary" not in out
        finally:
            stop.set()
            swapper.join()
        await volumes.close()

    with service(place) as volumes:
        asyncio.run(run(volumes))
    assert describe(host) == before


def swap(data: str, host: str, stop: threading.Event) -> None:
    """Exchange a folder and a link to *host*, as often as possible, and make both again when an import has won."""
    with opened(Path(data)) as folder:
        while not stop.is_set():
            with suppress(OSError):
                for name in (b"way", b"trap"):
                    remove_tree(folder, name)
                os.mkdir("way", dir_fd=folder)
                os.symlink(host, "trap", dir_fd=folder)
                for _ in range(100):
                    exchange(folder, "way", folder, "trap")


async def collected(stream: AsyncIterator[bytes]) -> bytes:
    """Return all of a stream."""
    return b"".join([block async for block in stream])


def test_a_size_is_kept_or_refused(place: Path) -> None:
    """Where the file system keeps project quotas a volume is full at its size; elsewhere it is refused."""

    async def run(volumes: Volumes) -> None:
        with opened(place) as folder:
            enforced = quota.is_enforced(folder)
        if not enforced:
            with pytest.raises(Unsupported, match="prjquota"):
                await volumes.create("data", size=1 << 20)
            return
        data = (await volumes.create("data", size=1 << 20)).mountpoint
        with pytest.raises(OutOfSpace, match="volume is full"):
            await volumes.import_("data", packed("large", os.urandom(2 << 20)))
        assert os.path.isdir(data)  # noqa: ASYNC240  a local folder

    with service(place) as volumes:
        asyncio.run(run(volumes))


WORKER = """
import asyncio, sys
from corten.engine.records.database import Database
from corten.engine.records.volumes import VolumeRepository
from corten.engine.volumes.service import Volumes

async def main(folder):
    volumes = Volumes(VolumeRepository(Database(f"{folder}/engine.db")), f"{folder}/volumes", lambda _: [], lambda *_: None)
    volumes.recover()
    print("ready", flush=True)
    names = [volume.name for volume in volumes.list()]
    for number in range(len(names), 10**6):
        made = await volumes.create(f"v{number}-{id(names):x}", "local", {}, {"mine": str(number)})
        with open(f"{made.mountpoint}/mine", "w") as file:
            file.write(str(number))
        await volumes.snapshot(made.name, "then")
        renamed = await volumes.rename(made.name, f"r{made.name}")
        clone = await volumes.clone(renamed.name, f"c{made.name}")
        await volumes.restore(renamed.name, "then")
        await volumes.remove(renamed.name, False)
        if number % 3 == 0:
            await volumes.undelete(renamed.name)
        if number % 4 == 0:
            await volumes.remove(clone.name, False, True)

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.slow
def test_killed_at_any_instant(place: Path) -> None:
    """After the next start records and folders agree exactly, and no file is in the wrong volume."""
    for round_ in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WORKER), str(place)], stdout=subprocess.PIPE, text=True
        ) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
            with pytest.raises(subprocess.TimeoutExpired):
                worker.wait(0.02 + 0.013 * round_)
            worker.send_signal(signal.SIGKILL)
        with service(place) as volumes:
            volumes.recover()
            folders = {name for name in os.listdir(place / "volumes") if not name.startswith(".")}
            assert folders == {volume.name for volume in volumes.list()}
            assert os.listdir(place / "volumes/.work") == []
            for volume in volumes.list():
                assert_own_files(Path(volume.mountpoint), volume.labels["mine"])


def assert_own_files(data: Path, mine: str) -> None:
    """Refuse anything but the file that belongs to the volume; one killed early has none, or an empty one."""
    for file in data.iterdir():
        assert file.name == "mine"
        assert file.read_text() in ("", mine)
