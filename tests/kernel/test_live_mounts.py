"""Mounts of running containers: they come and go without a restart, and a hostile container cannot misuse that."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from corten.core.runtime.init import live
from corten.errors import Conflict, InvalidInput
from corten.linux import mounts, namespaces
from corten.oci.spec import Mount
from tests.kernel.forked import in_child
from tests.kernel.supervised import SPEC, Engine, engine_test
from tests.kernel.test_runtime import children, descriptors

pytestmark = [pytest.mark.root, pytest.mark.slow]

BIND = ("rbind", "rprivate")
READ_ONLY = (*BIND, "ro", "rro")
SWAPPING = (  # renameat2, RENAME_EXCHANGE
    'my ($one, $two) = ("/tmp/one", "/tmp/two"); while (1) { syscall(316, -100, $one, -100, $two, 2) }'
)


def bind(source: Path, target: str, options: tuple[str, ...] = BIND) -> Mount:
    """A bind of a folder or file of the host."""
    return Mount(target, "bind", str(source), options)


def tmpfs(target: str, *options: str) -> Mount:
    """A file system in memory."""
    return Mount(target, "tmpfs", "tmpfs", ("nosuid", "nodev", *options))


async def sleeping(engine: Engine) -> Path:
    """Start a container that only waits; return where its files can be seen."""
    running = await engine.start("c", "sleep", "1000")
    return Path(f"/proc/{running.pid}/root")


def lines(pid: int | str = "self") -> list[str]:
    """The mount table that a process sees."""
    return Path(f"/proc/{pid}/mountinfo").read_text().splitlines()


def table(pid: int | str = "self") -> list[str]:
    """The mount points that a process sees."""
    return [line.split(" ")[4] for line in lines(pid)]


def tree(folder: Path) -> list[str]:
    """Everything below *folder*, with kinds and sizes."""
    return sorted(
        f"{path.relative_to(folder)} {path.lstat().st_mode:o} {path.lstat().st_size}"
        for path in folder.rglob("*")
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of the host with a file in it."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "file").write_text("here")
    return folder


@contextmanager
def unharmed(*folders: Path) -> Iterator[None]:
    """Check that the block changes neither these folders nor what is mounted on the host."""
    before = ([tree(folder) for folder in folders], table())
    yield
    assert ([tree(folder) for folder in folders], table()) == before


def test_mounts_come_and_go(tmp_path: Path, source: Path) -> None:
    """A folder, a file and a tmpfs appear in a running container and disappear; its process does not notice."""

    async def body(engine: Engine) -> None:
        root = await sleeping(engine)
        before = table(root.parent.name)
        wanted = [
            bind(source, "/data/deep"),
            bind(source / "file", "/etc/one.conf"),
            tmpfs("/scratch", "size=1m", "mode=1777"),
        ]
        with unharmed(source):
            await engine.runtime.change_mounts("c", wanted, [])
            assert (root / "data/deep/file").read_text() == "here"
            assert (root / "etc/one.conf").read_text() == "here"
            assert os.statvfs(root / "scratch").f_blocks * 4096 == 1 << 20
            assert (root / "scratch").stat().st_mode & 0o7777 == 0o1777
            await engine.runtime.change_mounts("c", [], wanted[::-1])
            assert table(root.parent.name) == before
            assert list((root / "data/deep").iterdir()) == []
        assert "c" not in engine.exits

    engine_test(tmp_path, body)


def test_what_the_container_writes_is_on_the_host(tmp_path: Path, source: Path) -> None:
    """A mount that came later is like any other to the processes inside; a read-only one is so from the start."""

    async def body(engine: Engine) -> None:
        await sleeping(engine)
        wanted = [bind(source, "/data"), bind(source, "/fixed", READ_ONLY)]
        await engine.runtime.change_mounts("c", wanted, [])
        await engine.execute("e", "c", "sh", "-c", "echo new > /data/made && ! echo no > /fixed/other")
        assert await engine.ended("e") == 0
        assert sorted(os.listdir(source)) == ["file", "made"]

    engine_test(tmp_path, body)


def test_a_folder_below_a_volume(tmp_path: Path, source: Path) -> None:
    """A subpath is looked up beneath its volume; a link in the volume that leads out is refused."""

    async def body(engine: Engine) -> None:
        root = await sleeping(engine)
        (source / "sub").mkdir()
        (source / "sub/inner").touch()
        (source / "out").symlink_to("/etc")
        inside = bind(source, "/data", (*BIND, "X-mount.subdir=sub"))
        await engine.runtime.change_mounts("c", [inside], [])
        assert os.listdir(root / "data") == ["inner"]
        with pytest.raises(InvalidInput, match="mount at /other: "):
            await engine.runtime.change_mounts(
                "c", [bind(source, "/other", (*BIND, "X-mount.subdir=out"))], []
            )
        await engine.runtime.change_mounts("c", [], [inside])
        assert os.listdir(root / "data") == []

    engine_test(tmp_path, body)


def test_all_of_it_or_nothing(tmp_path: Path, source: Path) -> None:
    """When one mount cannot be, none appears and none is gone."""

    async def body(engine: Engine) -> None:
        root = await sleeping(engine)
        kept = [bind(source, "/kept"), tmpfs("/kept2")]
        await engine.runtime.change_mounts("c", kept, [])
        (root / "kept2/written").touch()
        before = table(root.parent.name)
        for broken in (
            bind(source / "missing", "/two"),
            bind(source, "/etc/hosts"),
            tmpfs("/two", "nonsense=1"),
            Mount("/two", "bind", str(source), (*BIND, "X-mount.subdir=missing")),
        ):
            (engine.tree / "etc/hosts").touch()
            with pytest.raises(InvalidInput, match=r"^mount at /(two|etc/hosts): ") as refusal:
                await engine.runtime.change_mounts("c", [bind(source, "/one"), broken], kept[::-1])
            assert "\n" not in str(refusal.value)
            assert sorted(table(root.parent.name)) == sorted(before)
            assert (root / "kept2/written").exists()

    engine_test(tmp_path, body)


def test_one_mount_in_place_of_another(tmp_path: Path, source: Path) -> None:
    """What is removed goes first, so that one request can put something else at the same target."""

    async def body(engine: Engine) -> None:
        root = await sleeping(engine)
        await engine.runtime.change_mounts("c", [bind(source, "/data")], [])
        await engine.runtime.change_mounts("c", [tmpfs("/data")], [bind(source, "/data")])
        assert list((root / "data").iterdir()) == []
        assert table(root.parent.name).count("/data") == 1

    engine_test(tmp_path, body)


def test_a_frozen_container(tmp_path: Path, source: Path) -> None:
    """Nothing in the container has to run for it."""

    async def body(engine: Engine) -> None:
        root = await sleeping(engine)
        engine.groups.freeze(f"{engine.prefix}/c")
        try:
            await engine.runtime.change_mounts("c", [bind(source, "/data")], [])
            assert (root / "data/file").exists()
        finally:
            engine.groups.thaw(f"{engine.prefix}/c")

    engine_test(tmp_path, body)


def test_after_another_supervisor(tmp_path: Path, source: Path) -> None:
    """The supervisor that took over changes mounts of containers that it never started."""

    async def body(engine: Engine) -> None:
        root = await sleeping(engine)
        await engine.runtime.change_mounts("c", [bind(source, "/data")], [])
        await engine.kill_supervisor()
        await engine.runtime.change_mounts("c", [bind(source, "/more")], [bind(source, "/data")])
        assert (root / "more/file").exists()
        assert not (root / "data/file").exists()

    engine_test(tmp_path, body)


def test_nothing_is_left_of_it(tmp_path: Path, source: Path) -> None:
    """Changes, refused ones too, leave neither process nor descriptor in the supervisor."""

    async def body(engine: Engine) -> None:
        await sleeping(engine)
        await engine.until(lambda: len(children(engine.supervisor)) > 6)
        await engine.runtime.change_mounts("c", [bind(source, "/data")], [])
        before = descriptors(engine.supervisor), len(children(engine.supervisor))
        for _ in range(5):
            await engine.runtime.change_mounts("c", [], [bind(source, "/data")])
            await engine.runtime.change_mounts("c", [bind(source, "/data")], [])
            with suppress(InvalidInput):
                await engine.runtime.change_mounts("c", [bind(source / "missing", "/data")], [])
        assert (descriptors(engine.supervisor), len(children(engine.supervisor))) == before

    engine_test(tmp_path, body)


def test_a_container_that_is_no_more(tmp_path: Path, source: Path) -> None:
    """Of an ended container nothing can be changed."""

    async def body(engine: Engine) -> None:
        await engine.start("c", "true")
        await engine.ended("c")
        with pytest.raises(InvalidInput, match="is not running"):
            await engine.runtime.change_mounts("c", [bind(source, "/data")], [])
        await engine.forget("c")
        with pytest.raises(Conflict, match="is not running"):
            await engine.runtime.change_mounts("c", [bind(source, "/data")], [])

    engine_test(tmp_path, body)


@pytest.mark.parametrize("link", ["{host}", "../../../../../../../../{host}", "/proc/1/root/{host}"])
def test_links_of_the_image_stay_inside(tmp_path: Path, source: Path, link: str) -> None:
    """A link to a folder of the host leads to a folder of that name in the container, or nowhere."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "canary").write_text("alive")

    async def body(engine: Engine) -> None:
        (engine.tree / "link").symlink_to(link.format(host=str(victim)))
        root = await sleeping(engine)
        with unharmed(victim, source):
            try:
                await engine.runtime.change_mounts("c", [bind(source, "/link/data")], [])
            except InvalidInput:
                assert link.startswith("/proc")
            else:
                assert (root / str(victim)[1:] / "data/file").exists()
                assert str(victim) in str(table(root.parent.name))

    engine_test(tmp_path, body)


@pytest.mark.parametrize("place", ["/proc/sys", "/sys/kernel", "/dev/pts", "/sys/fs/cgroup"])
def test_links_into_file_systems_of_the_kernel(tmp_path: Path, source: Path, place: str) -> None:
    """What the kernel shows cannot be covered by way of a link (CVE-2019-16884)."""

    async def body(engine: Engine) -> None:
        (engine.tree / "link").symlink_to(place)
        root = await sleeping(engine)
        before = table(root.parent.name)
        with pytest.raises(InvalidInput, match=r"^mount at /link: it leads into a file system of the kernel"):
            await engine.runtime.change_mounts("c", [bind(source, "/link")], [])
        assert table(root.parent.name) == before

    engine_test(tmp_path, body)


def test_a_swap_while_it_happens(tmp_path: Path, source: Path) -> None:
    """A container that swaps a folder and a link all the time gets its mounts inside, or none (CVE-2021-30465)."""
    victim = tmp_path / "victim"
    (victim / "data").mkdir(parents=True)
    (victim / "canary").write_text("alive")

    async def body(engine: Engine) -> None:
        (engine.tree / "tmp/one/data").mkdir(parents=True)
        (engine.tree / "tmp/two").symlink_to(f"../../../../../../../..{victim}")
        running = await engine.start("c", "perl", "-e", SWAPPING)
        root = Path(f"/proc/{running.pid}/root")
        done = 0
        with unharmed(victim, source):
            for _ in range(60):
                with suppress(InvalidInput):
                    await engine.runtime.change_mounts("c", [bind(source, "/tmp/one/data")], [])
                    done += 1
                with suppress(InvalidInput):
                    await engine.runtime.change_mounts("c", [], [bind(source, "/tmp/one/data")])
        assert done
        known = ("/tmp/one/data", "/tmp/two/data", f"{victim}/data")
        added = [path for path in table(root.parent.name) if path.endswith("/data")]
        assert set(added) <= set(known)

    engine_test(tmp_path, body)


def test_a_mask_cannot_be_taken_away(tmp_path: Path, source: Path) -> None:
    """A folder renamed and replaced by a link to /proc does not make a removal uncover what is hidden there."""

    async def body(engine: Engine) -> None:
        root = await sleeping(engine)
        assert (root / "proc/interrupts").read_bytes() == b""
        mount = bind(source / "file", "/tmp/x/interrupts")
        await engine.runtime.change_mounts("c", [mount], [])
        await engine.execute("e", "c", "sh", "-c", "mv /tmp/x /tmp/y && ln -s /proc /tmp/x")
        assert await engine.ended("e") == 0
        with pytest.raises(InvalidInput, match="the mount at /tmp/x/interrupts is not where it was"):
            await engine.runtime.change_mounts("c", [], [mount])
        assert (root / "proc/interrupts").read_bytes() == b""

    engine_test(tmp_path, body)


def test_a_cover_cannot_be_taken_away(tmp_path: Path, source: Path) -> None:
    """Two folders that change names do not make a removal uncover what the other mount hides."""
    cover = tmp_path / "cover"
    cover.mkdir()

    async def body(engine: Engine) -> None:
        root = await sleeping(engine)
        (root / "tmp/b/m").mkdir(parents=True)
        (root / "tmp/b/m/secret").touch()
        pair = [bind(source, "/tmp/a/m"), bind(cover, "/tmp/b/m")]
        await engine.runtime.change_mounts("c", pair, [])
        await engine.execute("e", "c", "sh", "-c", "cd /tmp && mv a c && mv b a && mv c b")
        assert await engine.ended("e") == 0
        with pytest.raises(InvalidInput, match="is not where it was"):
            await engine.runtime.change_mounts("c", [], [pair[0]])
        assert not (root / "tmp/a/m/secret").exists()

    engine_test(tmp_path, body)


def test_nothing_is_looked_up_by_its_path_inside() -> None:
    """Once in the container, nothing is imported, run or opened but by descriptor and openat2 (CVE-2019-14271)."""

    def exchange() -> str:
        seen: list[str] = []
        namespaces.unshare(namespaces.CLONE_NEWNS)
        mounts.mount("none", "/", flags=mounts.MS_REC | mounts.MS_PRIVATE)
        mounts.mount("none", "/tmp", "tmpfs")
        own = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        scratch = [{"target": "/tmp/a/scratch", "kind": "tmpfs", "source": "tmpfs", "options": ["ro"]}]
        changes = live.Exchange(own, scratch, []), live.Exchange(own, [], scratch)
        sys.addaudithook(lambda event, facts: seen.append(f"{event} {facts[0] if facts else ''}"))
        for change in changes:
            change.carry_out(own)
        return "\n".join(line for line in seen if not line.startswith(("ctypes.", "object.", "sys.")))

    seen = {line.rstrip("0123456789") for line in in_child(exchange).splitlines()}
    assert seen == {
        "open /",
        "open self/fdinfo/",
        "open self/mountinfo",
        "os.chdir ",
        "os.mkdir a",
        "os.mkdir scratch",
    }


def test_a_source_that_is_gone(tmp_path: Path, source: Path) -> None:
    """A mount whose folder was removed from the host can still be taken away."""

    async def body(engine: Engine) -> None:
        root = await sleeping(engine)
        mount = bind(source, "/data")
        await engine.runtime.change_mounts("c", [mount], [])
        (source / "file").unlink()
        os.rmdir(source)
        await engine.runtime.change_mounts("c", [], [mount])
        assert "/data" not in table(root.parent.name)

    engine_test(tmp_path, body)


def test_the_host_gets_no_mount(tmp_path: Path, source: Path) -> None:
    """Below a mount that is shared with the host a new one would appear there too: it is refused."""
    shared = tmp_path / "shared"
    shared.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(shared)], check=True)
    try:
        subprocess.run(["mount", "--make-shared", str(shared)], check=True)
        (shared / "below").mkdir()

        async def body(engine: Engine) -> None:
            spec = replace(SPEC, mounts=(*SPEC.mounts, bind(shared, "/shared", ("rbind", "rshared"))))
            await engine.start("c", "sleep", "1000", spec=spec)
            with unharmed(shared), pytest.raises(InvalidInput, match="shared with the host"):
                await engine.runtime.change_mounts("c", [bind(source, "/shared/below")], [])

        engine_test(tmp_path, body)
    finally:
        mounts.unmount(str(shared))


def test_mounts_of_a_container_whose_root_is_shared(tmp_path: Path, source: Path) -> None:
    """A container with shared mounts gets private ones that stay private."""

    async def body(engine: Engine) -> None:
        spec = replace(SPEC, linux=replace(SPEC.linux, rootfs_propagation="shared"))
        running = await engine.start("c", "sleep", "1000", spec=spec)
        wanted = [bind(source, "/data"), tmpfs("/scratch"), bind(source, "/data/below")]
        (source / "below").mkdir()
        await engine.runtime.change_mounts("c", wanted, [])
        facts = {line.split(" ")[4]: line for line in lines(running.pid)}
        assert "shared:" in facts["/"]
        assert not any("shared:" in facts[mount.destination] for mount in wanted)

    engine_test(tmp_path, body)
