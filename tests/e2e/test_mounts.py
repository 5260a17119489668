"""What a container sees of the host, of images and of memory: ``-v``, ``--mount``, ``--tmpfs``, ``--volumes-from``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from corten.linux import mounts as kernel
from tests.e2e.looking import fails, mounts, run
from tests.e2e.tools import ALONE, container, state, unique, until
from tests.e2e.volumes import (
    bind,
    execute,
    mount,
    mounted,
    places,
    refusal,
    shared,
    shown,
    tmpfs,
    volume,
    volumes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

WAIT = ("debian", "sleep", "60")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of this machine with a file and a folder, of users 1 and 2."""
    folder = tmp_path / "source"
    (folder / "deep").mkdir(parents=True)
    (folder / "file").write_text("one\n")
    (folder / "deep" / "er").write_text("two\n")
    os.chown(folder / "file", 1, 1)
    os.chown(folder / "deep" / "er", 2, 2)
    return folder


@pytest.fixture
def nested(tmp_path: Path) -> Iterator[Path]:
    """A folder of this machine with another file system mounted in it."""
    folder = tmp_path / "nested"
    with tmpfs(folder / "inner"):
        yield folder


# what inspect says


def test_inspect_is_dockers(engine: Engine, source: Path) -> None:
    """Each form of mount is listed as Docker lists it; ``--tmpfs`` is not."""
    with (
        volume(engine) as name,
        container(
            engine,
            *(
                "-v",
                f"{name}:/named",
                "-v",
                f"{name}:/only:ro",
                "-v",
                "/anonymous",
                "-v",
                f"{source}:/bound:ro,z",
            ),
            *mount(type="volume", src=name, dst="/mounted"),
            *bind(source, "/bind", readonly=None),
            *mount(type="tmpfs", dst="/memory", tmpfs_size="1m"),
            *("--tmpfs", "/hidden", "debian", "true"),
            verb="create",
        ) as user,
    ):
        found = mounted(engine, user)
        anonymous = found["/anonymous"]["Name"]
        files = {each: f"{engine.root}/volumes/{each}/_data" for each in (name, anonymous)}

        def expected(kind: str, place: str, mode: str = "", rw: bool = True, **more: Any) -> dict[str, Any]:
            return {"Type": kind, "Destination": place, "Mode": mode, "RW": rw, "Propagation": "", **more}

        local: dict[str, Any] = {"Driver": "local", "Name": name, "Source": files[name]}
        private: dict[str, Any] = {"Source": str(source), "Propagation": "rprivate"}
        assert found == {
            "/named": expected("volume", "/named", "z", **local),
            "/only": expected("volume", "/only", "ro", rw=False, **local),
            "/mounted": expected("volume", "/mounted", "z", **local),
            "/anonymous": expected(
                "volume", "/anonymous", Driver="local", Name=anonymous, Source=files[anonymous]
            ),
            "/bound": expected("bind", "/bound", "ro,z", rw=False, **private),
            "/bind": expected("bind", "/bind", rw=False, **private),
            "/memory": expected("tmpfs", "/memory", Source=""),
        }
        wishes = engine.api("GET", f"/containers/{user}/json")[1]["HostConfig"]
        assert set(wishes["Binds"]) == {f"{name}:/named", f"{name}:/only:ro", f"{source}:/bound:ro,z"}
        assert [each["Type"] for each in wishes["Mounts"]] == ["volume", "bind", "tmpfs"]
        assert wishes["Tmpfs"] == {"/hidden": ""}
        assert volumes(engine, "dangling=false") >= {name, anonymous}
        engine.docker("rm", "-v", user)
        assert anonymous not in volumes(engine)


# binds


@pytest.mark.parametrize("word", ["z", "Z", "cached", "delegated", "consistent"])
def test_words_without_effect(engine: Engine, source: Path, word: str) -> None:
    """Words for other systems are accepted and change nothing."""
    assert run(engine, "-v", f"{source}:/v:{word}", script="cat /v/file; echo new > /v/new") == "one\n"
    assert (source / "new").read_text() == "new\n"


def test_a_file_over_a_file(engine: Engine, source: Path) -> None:
    """A single file is bound over one of the image, and onto a place that is not there."""
    flags = ("-v", f"{source}/file:/etc/debian_version:ro", "-v", f"{source}/file:/new/place")
    script = "cat /etc/debian_version /new/place; echo more >> /new/place"
    assert run(engine, *flags, script=script) == "one\none\n"
    assert (source / "file").read_text() == "one\nmore\n"


def test_a_missing_source(engine: Engine, tmp_path: Path) -> None:
    """``-v`` makes the folder, and so does ``--mount`` when told to; otherwise it is refused."""
    run(engine, "-v", f"{tmp_path}/a/b:/v", script="echo x > /v/file")
    assert (tmp_path / "a" / "b" / "file").read_text() == "x\n"
    flag = bind(tmp_path / "c", "/v")
    line = refusal(engine, "run", "--rm", *ALONE, *flag, "debian", "true")
    assert line == f'invalid mount config for type "bind": bind source path does not exist: {tmp_path}/c'
    assert not (tmp_path / "c").exists()
    words = ("run", "--rm", *ALONE, *bind(tmp_path / "c", create_src=None), "debian", "touch", "/v/file")
    engine.corten(*words)
    assert (tmp_path / "c" / "file").exists()


def test_a_source_that_went(engine: Engine, source: Path) -> None:
    """A container whose bind has lost its source does not start, says why, and starts when it is back."""
    with container(engine, *bind(source), "debian", "cat", "/v/file", verb="create") as name:
        source.rename(source.with_name("away"))
        status, answer = engine.api("POST", f"/containers/{name}/start")
        assert status == 400
        assert str(source) in answer["message"]
        assert not source.exists()
        source.with_name("away").rename(source)
        assert engine.docker("start", "-a", name).stdout == "one\n"


def test_mounts_in_mounts(engine: Engine, source: Path) -> None:
    """Whatever the order of the flags, what lies deeper is mounted later."""
    with volume(engine) as name:
        flags = ("-v", f"{source}:/v/deep/bound", "--tmpfs", "/v/deep", "-v", f"{name}:/v")
        script = "cat /v/deep/bound/file; touch /v/a /v/deep/b; ls /v /v/deep"
        assert run(engine, *flags, script=script) == "one\n/v:\na\ndeep\n\n/v/deep:\nb\nbound\n"
        assert run(engine, "-v", f"{name}:/v", script="ls /v /v/deep") == "/v:\na\ndeep\n\n/v/deep:\n"


def test_a_target_through_a_link(engine: Engine, source: Path) -> None:
    """Links of the image at a target lead to a place in the container, never to one of this machine."""
    canary = source / "canary"
    canary.mkdir()
    script = f"ln -s {canary} /out && ln -s ../../../../../..{canary} /up"
    image = unique("links")
    with container(engine, "debian", "sh", "-c", script) as name:
        engine.docker("wait", name)
        engine.docker("commit", name, image)
    with volume(engine) as made:
        flags = ("-v", f"{made}:/out/a", *bind(source, "/up/b"))
        assert run(engine, *flags, image=image, script="touch /out/a/x; cat /up/b/file") == "one\n"
        assert run(engine, "-v", f"{made}:/v", script="ls /v") == "x\n"
    assert list(canary.iterdir()) == []


def test_read_only_is_deep(engine: Engine, nested: Path) -> None:
    """Read-only holds for what is mounted below as well, unless the user says otherwise."""
    for flag in (
        ("-v", f"{nested}:/v:ro"),
        bind(nested, readonly=None),
        bind(nested, readonly=None, bind_recursive="enabled"),
    ):
        for path in ("/v/x", "/v/inner/x"):
            assert "Read-only file system" in fails(engine, *flag, script=f"touch {path}")
    writable = bind(nested, readonly=None, bind_recursive="writable")
    assert "Read-only" in fails(engine, *writable, script="touch /v/x")
    run(engine, *writable, script="touch /v/inner/x")
    assert (nested / "inner" / "x").exists()
    must = bind(nested, readonly=None, bind_recursive="readonly", bind_propagation="rprivate")
    assert "Read-only" in fails(engine, *must, script="touch /v/inner/y")


def test_without_what_is_below(engine: Engine, nested: Path) -> None:
    """``bind-recursive=disabled`` shows the folder alone."""
    (nested / "inner" / "seen").touch()
    assert run(engine, *bind(nested), script="ls /v/inner") == "seen\n"
    assert run(engine, *bind(nested, bind_recursive="disabled"), script="ls /v/inner") == ""


def test_propagation(engine: Engine, tmp_path: Path) -> None:
    """What is mounted later is seen inside by slaves and peers, and outside from peers alone."""
    with shared(tmp_path / "shared") as base:
        (base / "private").mkdir()
        seen = {}
        modes = ("rprivate", "rslave", "rshared")
        flags = [word for mode in modes for word in bind(base, f"/{mode}", bind_propagation=mode)]
        with container(engine, "--privileged", *flags, *WAIT) as name:
            found = mounted(engine, name)
            assert [found[f"/{mode}"]["Propagation"] for mode in modes] == list(modes)
            with tmpfs(base / "late"):
                (base / "late" / "file").touch()
                for mode in modes:
                    seen[mode] = execute(engine, name, f"ls /{mode}/late")
            assert seen == {"rprivate": "", "rslave": "file\n", "rshared": "file\n"}
            for mode in modes:
                execute(engine, name, f"mkdir /{mode}/{mode} && mount -t tmpfs none /{mode}/{mode}")
            assert places(str(base)) == [str(base), f"{base}/rshared"]


@pytest.mark.parametrize("mode", ["rshared", "rslave", "shared", "slave"])
def test_propagation_needs_a_shared_source(engine: Engine, tmp_path: Path, mode: str) -> None:
    """A source that cannot propagate is refused, with the mount to change."""
    with tmpfs(tmp_path / "alone") as base:
        kernel.mount("none", str(base), flags=kernel.MS_PRIVATE)
        line = refusal(engine, "run", "--rm", *ALONE, "-v", f"{base}:/v:{mode}", "debian", "true")
        assert line.startswith(f"path {base} is mounted on {base} but it is not a shared")


def test_owners_are_mapped(engine: Engine, source: Path) -> None:
    """``idmap`` shows owners of files as others, both ways, without changing a file."""
    flag = bind(source, idmap="uids=1-1000-1#0-0-1;gids=1-1000-1#0-0-1")
    script = "stat -c %u:%g /v/file; touch /v/new; chown 1000:1000 /v/new; stat -c %u:%g /v/deep/er"
    done = engine.corten("run", "--rm", *ALONE, *flag, "debian", "sh", "-c", script)
    assert done.stdout == "1000:1000\n65534:65534\n"
    assert [(source / name).stat().st_uid for name in ("file", "new", "deep/er")] == [1, 1, 2]
    bad = bind(source, idmap="uids=1-1000")
    assert "idmap" in refusal(engine, "run", "--rm", *ALONE, *bad, "debian", "true", program="corten")


# parts of volumes and images


def test_a_part_of_a_volume(engine: Engine) -> None:
    """``volume-subpath`` shows a folder or file of it; one that is missing, or leads out, is refused."""
    with volume(engine) as name:
        script = "mkdir -p /v/a/b; echo one > /v/a/b/file; ln -s /etc /v/out; ln -s ../../../.. /v/up; ln -s a /v/in"
        run(engine, "-v", f"{name}:/v", script=script)

        def part(subpath: str) -> tuple[str, str]:
            return mount(type="volume", src=name, dst="/v", volume_subpath=subpath)

        assert run(engine, *part("a/b"), script="cat /v/file; echo two > /v/other") == "one\n"
        assert run(engine, *part("a/b/other"), script="cat /v") == "two\n"
        assert run(engine, "-v", f"{name}:/v", script="ls /v/a/b") == "file\nother\n"
        for subpath in ("nosuch", "out", "up"):
            refusal(engine, "run", "--rm", *ALONE, *part(subpath), "debian", "true")
        for subpath in ("/a", "../x", "a/../../x"):
            line = refusal(engine, "run", "--rm", *ALONE, *part(subpath), "debian", "true")
            assert line.endswith("subpath must be a relative path within the volume")


def test_an_image_as_a_mount(engine: Engine) -> None:
    """An image's tree, or a part of it, is there to read; the image stays as long as the container."""
    image = unique("data")
    with container(engine, "debian", "sh", "-c", "mkdir /site; echo hello > /site/index") as name:
        engine.docker("wait", name)
        engine.docker("commit", name, image)
    whole = mount(type="image", src=image, dst="/i")
    part = mount(type="image", src=image, dst="/p", image_subpath="site")
    with container(engine, *whole, *part, *WAIT) as name:
        assert execute(engine, name, "cat /i/site/index /p/index") == "hello\nhello\n"
        done = engine.docker("exec", name, "touch", "/p/new", check=False)
        assert "Read-only file system" in done.stderr
        assert (mounted(engine, name)["/i"]["Type"], mounted(engine, name)["/i"]["RW"]) == ("image", False)
        engine.docker("rmi", "-f", image, check=False)
        engine.docker("restart", "-t", "0", name)
        assert execute(engine, name, "cat /p/index") == "hello\n"
    engine.docker("rmi", "-f", image, check=False)
    missing = mount(type="image", src="nosuch", dst="/i")
    assert "nosuch" in refusal(engine, "create", "--pull", "never", *missing, "debian", "true")
    lost = mount(type="image", src="debian", dst="/i", image_subpath="no/such")
    assert "no/such" in refusal(engine, "run", "--rm", *ALONE, *lost, "debian", "true")


def test_a_volume_made_by_its_mount(engine: Engine) -> None:
    """A volume that is not there yet is made as the mount says; one that is there stays what it is."""
    name = unique("v")
    wishes = {"volume_driver": "local", "volume_opt": "type=tmpfs", "volume_label": "a=b"}
    flag = mount(type="volume", src=name, dst="/v", **wishes)
    flag = ("--mount", f"{flag[1]},volume-opt=device=tmpfs,volume-opt=o=size=1m")
    try:
        assert "size=1024k" in mounts(run(engine, *flag, script="cat /proc/self/mountinfo"))["/v"].super
        found = shown(engine, name)
        assert found["Options"] == {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
        assert found["Labels"] == {"a": "b"}
        assert (
            "size=1024k"
            in mounts(run(engine, "-v", f"{name}:/v", script="cat /proc/self/mountinfo"))["/v"].super
        )
        other = mount(type="volume", src=name, dst="/v", volume_opt="type=nfs")
        other = ("--mount", f"{other[1]},volume-opt=device=:/x")
        assert name in refusal(engine, "create", *other, "debian", "true")
    finally:
        engine.docker("volume", "rm", "-f", name)


# memory


def test_memory(engine: Engine) -> None:
    """A tmpfs has the size and mode that were asked for, and Docker's restrictions unless lifted."""
    flags = (
        *mount(type="tmpfs", dst="/a", tmpfs_size="1m", tmpfs_mode="700"),
        *("--tmpfs", "/b:size=2m,exec,uid=5,mode=1777", "--tmpfs", "/c:ro"),
    )
    script = "stat -c '%a %u' /a /b; stat -fc %b /a /b; cat /proc/self/mountinfo"
    modes, users, first, second, *table = run(engine, *flags, script=script).splitlines()
    assert (modes, users) == ("700 0", "1777 5")
    assert int(second) == 2 * int(first) == (2 << 20) // os.sysconf("SC_PAGE_SIZE")
    found = mounts("\n".join(table))
    assert {"nosuid", "nodev", "noexec", "rw"} <= set(found["/a"].options.split(","))
    assert "noexec" not in found["/b"].options.split(",")
    assert "ro" in found["/c"].options.split(",")
    assert "No space left" in fails(engine, *flags, script="head -c 1500000 /dev/zero > /a/big")
    assert run(engine, "--tmpfs", "/etc/apt", script="ls /etc/apt") == ""


def test_memory_forgets(engine: Engine) -> None:
    """What is written to a tmpfs is gone after a restart; a volume keeps it."""
    script = "ls /a /b; touch /a/x /b/x; sleep 60"
    with (
        volume(engine) as name,
        container(engine, "--tmpfs", "/a", "-v", f"{name}:/b", "debian", "sh", "-c", script) as user,
    ):
        until(lambda: engine.docker("exec", user, "ls", "/b/x", check=False).returncode == 0, "the files")
        engine.docker("restart", "-t", "0", user)
        until(lambda: engine.docker("logs", user).stdout.count("/b:") == 2, "the second look")
        assert engine.docker("logs", user).stdout == "/a:\n\n/b:\n/a:\n\n/b:\nx\n"


def test_volumes_from(engine: Engine, source: Path) -> None:
    """A container gets another's mounts, perhaps to read only; its own come first, and it keeps them afterwards."""
    with volume(engine) as name, volume(engine) as own:
        flags = (
            "-v",
            f"{name}:/named",
            "-v",
            "/anonymous",
            "-v",
            f"{source}:/bound:ro",
            "--tmpfs",
            "/memory",
        )
        with container(engine, *flags, "debian", "true", verb="create") as lender:
            lent = mounted(engine, lender)
            with container(engine, "--volumes-from", lender, *WAIT) as borrower:
                found = mounted(engine, borrower)
                assert {place: each["Source"] for place, each in found.items()} == {
                    place: each["Source"] for place, each in lent.items()
                }
                assert {place: each["RW"] for place, each in found.items()} == {
                    "/named": True,
                    "/anonymous": True,
                    "/bound": False,
                }
                execute(engine, borrower, "echo x > /named/file")
                engine.docker("rm", "-v", lender)
                assert lent["/anonymous"]["Name"] in volumes(engine)
                execute(engine, borrower, "touch /anonymous/y")
                script = "cat /named/file; ls /anonymous; touch /named/z"
                done = engine.docker(
                    *(
                        "run",
                        "--rm",
                        *ALONE,
                        "--volumes-from",
                        f"{borrower}:ro",
                        "debian",
                        "sh",
                        "-c",
                        script,
                    ),
                    check=False,
                )
                assert done.stdout == "x\ny\n"
                assert "Read-only" in done.stderr
                mixed = ("--volumes-from", borrower, "-v", f"{own}:/named")
                assert run(engine, *mixed, script="ls /named /anonymous") == "/anonymous:\ny\n\n/named:\n"
                engine.docker("rm", "-fv", borrower)
            assert lent["/anonymous"]["Name"] not in volumes(engine)
            assert name in volumes(engine)
            engine.docker("create", "--name", lender, *ALONE, "debian")


def test_a_read_only_root(engine: Engine, source: Path) -> None:
    """With ``--read-only`` volumes, binds and memory stay writable; an ordinary user needs the right to write."""
    with volume(engine) as name:
        flags = ("--read-only", "-v", f"{name}:/v", "-v", f"{source}:/b", "--tmpfs", "/t")
        run(engine, *flags, script="touch /v/a /b/a /t/a")
        assert "Read-only" in fails(engine, *flags, script="touch /root/a")
        assert "Permission denied" in fails(engine, "-u", "1000", *flags, script="touch /v/b")


def test_mounts_last(engine: Engine, source: Path) -> None:
    """A running container keeps all its mounts while the daemon is killed, and its restart has them again."""
    with volume(engine) as name:
        flags = (
            "-v",
            f"{name}:/v",
            "-v",
            f"{source}:/b:ro",
            "--tmpfs",
            "/t",
            *mount(type="image", src="debian", dst="/i"),
        )
        with container(engine, *flags, *WAIT) as user:
            look = "cat /proc/self/mountinfo"
            wanted = ("/v", "/b", "/t", "/i")

            def seen() -> list[tuple[str, str]]:
                found = mounts(execute(engine, user, look))
                return [(found[place].type, found[place].options) for place in wanted]

            before, listed = seen(), mounted(engine, user)
            engine.restart_daemon(9)
            assert (seen(), mounted(engine, user)) == (before, listed)
            engine.docker("restart", "-t", "0", user)
            assert (seen(), mounted(engine, user)) == (before, listed)
            assert state(engine, user) == "running"
    assert places(engine.root) == []


# bad input

BAD: list[tuple[dict[str, Any], str]] = [
    ({"Binds": ["data:x"]}, "mount path must be absolute"),
    ({"Binds": ["data:/"]}, "destination can't be '/'"),
    ({"Binds": ["data:/x:bogus"]}, "invalid mode: bogus"),
    ({"Binds": ["data:/x:ro,rw"]}, "invalid mode"),
    ({"Binds": ["a/b:/x"]}, "includes invalid characters for a local volume name"),
    ({"Binds": ["data:/x", "data:/x/"]}, "Duplicate mount point: /x"),
    ({"Binds": ["data:/x"], "Tmpfs": {"/x": ""}}, "Duplicate mount point: /x"),
    ({"Binds": ["a:b:c:d"]}, "invalid"),
    ({"Binds": [""]}, "invalid"),
    ({"Binds": ["data:/x"], "VolumeDriver": "nosuch"}, 'plugin "nosuch" not found'),
    (
        {"Mounts": [{"Type": "bogus", "Target": "/x"}]},
        'invalid mount config for type "bogus": mount type unknown',
    ),
    ({"Mounts": [{"Type": "bind", "Source": "/tmp"}]}, "field Target must not be empty"),
    ({"Mounts": [{"Type": "bind", "Target": "/x"}]}, "field Source must not be empty"),
    ({"Mounts": [{"Type": "bind", "Source": "rel", "Target": "/x"}]}, "mount path must be absolute"),
    (
        {"Mounts": [{"Type": "bind", "Source": "/nosuch", "Target": "/x"}]},
        "bind source path does not exist: /nosuch",
    ),
    (
        {"Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/x", "VolumeOptions": {}}]},
        "field VolumeOptions",
    ),
    (
        {
            "Mounts": [
                {"Type": "bind", "Source": "/tmp", "Target": "/x", "BindOptions": {"Propagation": "bogus"}}
            ]
        },
        "invalid propagation mode: bogus",
    ),
    ({"Mounts": [{"Type": "volume", "Source": "data", "Target": "x"}]}, "mount path must be absolute"),
    ({"Mounts": [{"Type": "tmpfs", "Source": "a", "Target": "/x"}]}, "field Source must not be specified"),
    (
        {"Mounts": [{"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"SizeBytes": -1}}]},
        "the size cannot be negative",
    ),
    ({"Mounts": [{"Type": "image", "Target": "/x"}]}, "field Source must not be empty"),
    ({"Tmpfs": {"x": ""}}, "mount path must be absolute"),
    ({"Tmpfs": {"/x": "bogus=1"}}, 'Invalid tmpfs option "bogus=1"'),
    ({"VolumesFrom": ["nosuch"]}, "No such container: nosuch"),
    ({"VolumesFrom": ["nosuch:bogus"]}, "invalid mode: bogus"),
]


@pytest.mark.parametrize(("wishes", "text"), BAD)
def test_bad_mounts(engine: Engine, wishes: dict[str, Any], text: str) -> None:
    """What makes no sense is refused at create with 400 and one line; no volume is left of it."""
    before = volumes(engine)
    status, answer = engine.api("POST", "/containers/create", {"Image": "debian", "HostConfig": wishes})
    assert status == 400, answer
    assert text in answer["message"]
    assert "\n" not in answer["message"]
    assert volumes(engine) == before
