"""Volumes from outside: made, filled, shared, kept, copied and removed; by docker, docker-py and our own client."""

from __future__ import annotations

import io
import json
import os
import tarfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import pytest
from docker.errors import APIError

from tests.e2e.looking import fails, run
from tests.e2e.tools import ALONE, container, state, told, unique, until
from tests.e2e.volumes import (
    device,
    execute,
    mounted,
    places,
    read,
    refusal,
    shown,
    sums,
    used,
    volume,
    volumes,
    write,
)

if TYPE_CHECKING:
    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

ANONYMOUS = "com.docker.volume.anonymous"
COUNT = "i=0; while :; do i=$((i+1)); echo $i >> /data/lines; sleep 0.01; done"


@pytest.fixture(scope="module")
def declaring(engine: Engine) -> str:
    """An image that declares the volume /data and has files there: of 5:6, and one of them private."""
    script = "mkdir -p /data/deep && echo one > /data/deep/a && chmod 600 /data/deep/a && chown -R 5:6 /data && chmod 750 /data"
    with container(engine, "debian", "sh", "-c", script) as name:
        engine.docker("wait", name)
        engine.docker("commit", "--change", "VOLUME /data", name, "declaring")
    return "declaring"


# made, shown, removed


def test_a_volume_comes_and_goes(engine: Engine) -> None:
    """Inspect gives exactly Docker's members; the list can be filtered; what is removed is not found any more."""
    with volume(engine, "--label", "tier=data", "--label", "bare") as name:
        facts = shown(engine, name)
        assert facts.pop("CreatedAt").endswith("Z")
        assert facts == {
            "Driver": "local",
            "Labels": {"tier": "data", "bare": ""},
            "Mountpoint": f"{engine.root}/volumes/{name}/_data",
            "Name": name,
            "Options": None,
            "Scope": "local",
        }
        assert os.path.isdir(facts["Mountpoint"])
        for choice in (f"name={name[:6]}", "label=tier=data", "label=bare", "dangling=true", "driver=local"):
            assert name in volumes(engine, choice)
        for choice in ("label=tier=web", "dangling=false", "name=nosuch"):
            assert name not in volumes(engine, choice)
        assert engine.docker("volume", "rm", name).stdout == f"{name}\n"
        assert refusal(engine, "volume", "inspect", name) == f"get {name}: no such volume"
        assert not os.path.exists(facts["Mountpoint"])
        engine.docker("volume", "rm", "-f", name)
    assert [event["Action"] for event in told(engine, f"volume={name}")] == ["create", "destroy"]


def test_our_own_client_shows_the_same(engine: Engine) -> None:
    """Both clients print the same list and the same facts."""
    with volume(engine, "--label", "a=b") as name:
        for words in (("ls", "-q"), ("ls", "--format", "json"), ("inspect", name), ("ls",)):
            ours, docker_s = engine.corten("volume", *words).stdout, engine.docker("volume", *words).stdout
            assert ours == docker_s
        assert engine.corten("volume", "rm", name).stdout == f"{name}\n"


def test_a_name_is_one_volume(engine: Engine) -> None:
    """The same name again is the same volume with its labels; with other options it is refused."""
    with volume(engine, "--label", "a=b") as name:
        write(engine, name, "kept")
        assert engine.docker("volume", "create", "--label", "other=1", name).stdout == f"{name}\n"
        assert shown(engine, name)["Labels"] == {"a": "b"}
        assert read(engine, name) == "kept"
        other = {"Name": name, "DriverOpts": {"type": "tmpfs", "device": "tmpfs"}}
        status, answer = engine.api("POST", "/volumes/create", other)
        assert status == 409
        assert name in answer["message"]


def test_docker_py_manages_volumes(engine: Engine) -> None:
    """The Python client makes, finds, uses, removes and prunes volumes."""
    client = docker.DockerClient(base_url=engine.environment["DOCKER_HOST"], timeout=30)
    try:
        made = client.volumes.create(unique("v"), driver="local", labels={"made": "by-py"})
        assert [each.name for each in client.volumes.list(filters={"label": "made=by-py"})] == [made.name]
        assert client.volumes.get(made.name).attrs["Labels"] == {"made": "by-py"}
        place = {made.name: {"bind": "/v", "mode": "rw"}}
        script = ["sh", "-c", "echo hello > /v/file; cat /v/file"]
        said = client.containers.run("debian", script, volumes=place, remove=True, network_mode="none")
        assert said == b"hello\n"
        user = client.containers.create("debian", "true", volumes=place, network_mode="none")
        with pytest.raises(APIError, match=f"volume is in use - \\[{user.id}\\]") as caught:
            made.remove()
        assert caught.value.status_code == 409
        user.remove()
        gone = client.volumes.prune(filters={"label": "made=by-py", "all": True})
        assert gone["VolumesDeleted"] == [made.name]
        assert gone["SpaceReclaimed"] > 0
    finally:
        client.close()


@pytest.mark.parametrize("verb", ["run", "create"])
def test_a_volume_in_use_stays(engine: Engine, verb: str) -> None:
    """A volume of a container, running or not, is refused with that container's id, by force as well."""
    with (
        volume(engine) as name,
        container(engine, "-v", f"{name}:/v", "debian", "sleep", "60", verb=verb) as user,
    ):
        identity = state(engine, user, "{{.Id}}")
        for force in ("0", "1"):
            status, answer = engine.api("DELETE", f"/volumes/{name}", force=force)
            assert (status, answer["message"]) == (409, f"remove {name}: volume is in use - [{identity}]")
        assert name in volumes(engine, "dangling=false")
        engine.docker("volume", "prune", "-af")
        assert name in volumes(engine)


BAD = [
    ({"Name": "a/b"}, 400, '"a/b" includes invalid characters for a local volume name'),
    ({"Name": "a"}, 400, "volume name is too short"),
    ({"Name": "a" * 300}, 400, "volume name is too long"),
    ({"Name": "../../etc"}, 400, "includes invalid characters"),
    ({"Name": "good", "Driver": "nosuch"}, 404, 'plugin "nosuch" not found'),
    ({"Name": "good", "DriverOpts": {"bogus": "1"}}, 400, 'invalid option: "bogus"'),
    ({"Name": "good", "DriverOpts": {"type": "tmpfs"}}, 400, 'missing required option: "device"'),
    ({"Name": "good", "DriverOpts": {"device": "/srv"}}, 400, 'missing required option: "type"'),
    ({"Name": "good", "DriverOpts": {"size": "many"}}, 400, "invalid size: 'many'"),
    ({"Name": "good", "Size": -1}, 400, "invalid size"),
    ({"Name": 5}, 400, "Expected"),
    ({"Name": "good", "Size": 1 << 20}, 501, "this file system does not keep"),
]


@pytest.mark.parametrize(("body", "status", "text"), BAD)
def test_bad_volumes(engine: Engine, body: dict[str, object], status: int, text: str) -> None:
    """What makes no sense is refused in one line, and nothing is made."""
    found, answer = engine.api("POST", "/volumes/create", body)
    assert found == status, answer
    assert text in answer["message"]
    assert "\n" not in answer["message"]
    assert "good" not in volumes(engine)


# what containers make of them


def test_anonymous_volumes_go_with_their_container(engine: Engine) -> None:
    """Those of ``--rm`` and ``rm -v`` go, those of ``rm`` and those with a name stay."""
    with volume(engine) as name:
        places_wanted = ("-v", "/anonymous", "-v", f"{name}:/named")
        for flags, words in ((("--rm",), ()), ((), ("rm", "-v")), ((), ("rm",))):
            user = unique()
            engine.docker("create", "--name", user, *flags, *ALONE, *places_wanted, "debian", "true")
            made = mounted(engine, user)["/anonymous"]["Name"]
            assert shown(engine, made)["Labels"] == {ANONYMOUS: ""}
            assert len(made) == 64
            engine.docker("start", "-a", user)
            if words:
                engine.docker(*words, user)
            stays = words == ("rm",)
            until(partial(_is_there, engine, made, stays), "the volume to go or stay")
            assert name in volumes(engine)
        assert engine.docker("volume", "prune", "-f").stdout.splitlines()[1:-2] == [made]
        assert name in volumes(engine)


def _is_there(engine: Engine, name: str, wanted: bool) -> bool:
    return (name in volumes(engine)) == wanted


def test_an_images_volume_is_filled_from_it(engine: Engine, declaring: str) -> None:
    """A container gets a volume of its own for what the image declares: content, owners and modes included."""
    script = "stat -c '%u:%g %a' /data /data/deep/a; cat /data/deep/a; echo changed > /data/deep/a"
    with (
        container(engine, declaring, "sh", "-c", script) as first,
        container(engine, declaring, "sh", "-c", script) as second,
    ):
        for name in (first, second):
            engine.docker("wait", name)
            assert engine.docker("logs", name).stdout == "5:6 750\n5:6 600\none\n"
        assert mounted(engine, first)["/data"]["Name"] != mounted(engine, second)["/data"]["Name"]
        for name in (first, second):
            engine.docker("rm", "-fv", name)
    assert volumes(engine, "dangling=true") == set()


def test_the_first_use_copies(engine: Engine, declaring: str) -> None:
    """An empty volume takes over what is in its place; a used one keeps what it has; ``nocopy`` leaves it empty."""
    look = "stat -c '%u:%g %a' /data; ls /data"
    with volume(engine) as name:
        assert run(engine, "-v", f"{name}:/data", image=declaring, script=look) == "5:6 750\ndeep\n"
    with volume(engine) as name:
        write(engine, name, "mine")
        assert run(engine, "-v", f"{name}:/data", image=declaring, script="ls /data") == "file\n"
    with volume(engine) as name:
        assert run(engine, "-v", f"{name}:/data:nocopy", image=declaring, script=look) == "0:0 755\n"
        flag = f"type=volume,src={name},dst=/data,volume-nocopy"
        assert run(engine, "--mount", flag, image=declaring, script="ls /data") == ""
    with volume(engine) as name:  # of what the image does not declare, too
        assert "debian_version" in run(engine, "-v", f"{name}:/etc", script="ls /etc")


def test_a_volume_is_shared(engine: Engine) -> None:
    """Two containers see each other's writes at once; one of them may only read."""
    with (
        volume(engine) as name,
        container(engine, "-v", f"{name}:/a", "debian", "sleep", "60") as writer,
        container(engine, "-v", f"{name}:/b:ro", "debian", "sleep", "60") as reader,
    ):
        execute(engine, writer, "echo hello > /a/file")
        assert execute(engine, reader, "cat /b/file") == "hello\n"
        done = engine.docker("exec", reader, "touch", "/b/other", check=False)
        assert "Read-only file system" in done.stderr


# the local driver's mounts


def test_a_volume_in_memory(engine: Engine) -> None:
    """``type=tmpfs`` is mounted with its options while a container uses it, and forgotten with the last one."""
    with device(engine, "tmpfs", "tmpfs", "size=1m,uid=1000,mode=700") as name:
        folder = f"{engine.root}/volumes/{name}"
        wanted = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000,mode=700"}
        assert shown(engine, name)["Options"] == wanted
        with container(engine, "-v", f"{name}:/v", "debian", "sleep", "60") as first:
            assert execute(engine, first, "stat -c '%u %a' /v; echo x > /v/file") == "1000 700\n"
            assert read(engine, name) == "x\n"
            assert "No space left" in fails(
                engine, "-v", f"{name}:/v", script="head -c 2000000 /dev/zero > /v/big"
            )
            assert places(folder) == [f"{folder}/_data"]
        until(lambda: not places(folder), "the volume to be unmounted")
        assert run(engine, "-v", f"{name}:/v", script="ls /v") == ""
    events = [event["Action"] for event in told(engine, f"volume={name}")]
    assert events.count("mount") == events.count("unmount") == 4


def test_a_volume_that_is_a_folder_of_the_host(engine: Engine, tmp_path: Path) -> None:
    """``type=none,o=bind`` shows the folder; it is not counted as space of the engine, and outlives the volume."""
    tmp_path.joinpath("file").write_bytes(b"h" * 500_000)
    with device(engine, "none", str(tmp_path), "bind,ro") as name:
        with container(engine, "-v", f"{name}:/v", "debian", "sleep", "60") as user:
            assert execute(engine, user, "head -c 3 /v/file") == "hhh"
            assert "Read-only" in engine.docker("exec", user, "touch", "/v/x", check=False).stderr
            answer = engine.api("GET", "/system/df", type="volume")[1]
            sizes = {row["Name"]: row["UsageData"] for row in answer["Volumes"]}
            assert sizes[name] == {"Size": -1, "RefCount": 1}
        engine.docker("volume", "rm", name)
    assert tmp_path.joinpath("file").stat().st_size == 500_000


@pytest.mark.parametrize(
    ("kind", "source", "options", "text"),
    [
        ("none", "/nonexistent", "bind", "failed to mount /nonexistent"),
        ("nosuchfs", "x", "", "failed to mount x as nosuchfs"),
        ("tmpfs", "tmpfs", "bogus=1", "bogus"),
    ],
)
def test_a_mount_that_fails(engine: Engine, kind: str, source: str, options: str, text: str) -> None:
    """The container does not start, the line says why, and nothing is left mounted."""
    with device(engine, kind, source, options) as name:
        assert text in refusal(engine, "run", "--rm", *ALONE, "-v", f"{name}:/v", "debian", "true")
        assert places(f"{engine.root}/volumes") == []


# what lasts


def test_data_outlives_everything(engine: Engine) -> None:
    """A container that writes on while the daemon is killed loses nothing, nor does its restart."""
    with volume(engine) as name, device(engine, "tmpfs", "tmpfs") as memory:
        flags = ("-v", f"{name}:/data", "-v", f"{memory}:/memory")
        with container(engine, *flags, "debian", "sh", "-c", COUNT) as writer:
            execute(engine, writer, "echo kept > /memory/file")
            engine.restart_daemon(9)
            lines = int(execute(engine, writer, "wc -l < /data/lines"))
            until(lambda: int(execute(engine, writer, "wc -l < /data/lines")) > lines, "more lines")
            assert execute(engine, writer, "cat /memory/file") == "kept\n"
            assert read(engine, memory) == "kept\n"  # the new daemon knows that it is mounted
            assert refusal(engine, "volume", "rm", memory).startswith(f"remove {memory}: volume is in use")
            engine.docker("restart", "-t", "0", writer)
            until(lambda: int(execute(engine, writer, "wc -l < /data/lines")) > lines + 1, "more lines")
            numbers = [int(line) for line in execute(engine, writer, "cat /data/lines").split()]
            second = numbers.index(1, 1)
            assert numbers == [*range(1, second + 1), *range(1, len(numbers) - second + 1)]
        until(lambda: not places(f"{engine.root}/volumes"), "the volume to be unmounted")
        engine.restart_daemon()
        assert {name, memory} <= volumes(engine)
        assert len(read(engine, name, "lines").split()) >= len(numbers)


# what Docker's users have asked for


def test_files_go_in_and_out(engine: Engine, tmp_path: Path) -> None:
    """``volume cp`` copies files and folders both ways without a container; a dash is a tar."""
    with volume(engine) as name:
        tmp_path.joinpath("in", "deep").mkdir(parents=True)
        tmp_path.joinpath("in", "deep", "a").write_text("one")
        engine.corten("volume", "cp", f"{tmp_path}/in", f"{name}:/")
        engine.corten("volume", "cp", f"{tmp_path}/in/deep/a", f"{name}:/in/b")
        assert read(engine, name, "in/deep/a") + read(engine, name, "in/b") == "oneone"
        engine.corten("volume", "cp", f"{name}:/in", f"{tmp_path}/another")
        assert tmp_path.joinpath("another", "deep", "a").read_text() == "one"
        stream = engine.corten("volume", "cp", f"{name}:/in/b", "-", input=b"").stdout
        with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
            assert tar.getnames() == ["b"]
        missing = engine.corten("volume", "cp", f"{name}:/nosuch", str(tmp_path), check=False)
        assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
        assert "/nosuch" in missing.stderr


def test_a_volume_travels_as_a_tar(engine: Engine, tmp_path: Path) -> None:
    """What is exported and imported elsewhere has the same content, owners, modes and links."""
    script = (
        "mkdir /v/d; echo one > /v/d/a; chmod 640 /v/d/a; chown 5:6 /v/d/a; ln -s d/a /v/l; ln /v/d/a /v/h"
    )
    look = "cd /v; stat -c '%n %u:%g %a %h %s' d/a h; readlink l"
    with volume(engine) as name, volume(engine) as other:
        run(engine, "-v", f"{name}:/v", script=script)
        engine.corten("volume", "export", name, "-o", f"{tmp_path}/v.tar")
        engine.corten("volume", "import", other, f"{tmp_path}/v.tar")
        first, second = (run(engine, "-v", f"{each}:/v", script=look) for each in (name, other))
        assert first == second == "d/a 5:6 640 2 4\nh 5:6 640 2 4\nd/a\n"


def test_a_bad_archive_changes_nothing(engine: Engine, tmp_path: Path) -> None:
    """What is no tar, or leads out of the volume, is refused, and the volume is as it was."""
    evil = io.BytesIO()
    with tarfile.open(fileobj=evil, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("fine"))
        tar.addfile(tarfile.TarInfo("../../../out"))
    with volume(engine) as name:
        write(engine, name, "kept")
        for data in (b"no tar at all" * 100, evil.getvalue()):
            file = tmp_path / "bad.tar"
            file.write_bytes(data)
            refused = engine.corten("volume", "import", name, str(file), check=False)
            assert refused.returncode == 1
            assert refused.stderr.count("\n") == 1
        assert run(engine, "-v", f"{name}:/v", script="ls /v") == "file\n"


def test_clones_and_names(engine: Engine) -> None:
    """A clone is a volume of its own with the same files; a volume in use keeps its name."""
    with volume(engine, "--label", "a=b") as name:
        write(engine, name, "first")
        copy, other = unique("v"), unique("v")
        engine.corten("volume", "clone", name, copy)
        write(engine, name, "second")
        assert read(engine, copy) == "first"
        assert shown(engine, copy)["Labels"] == {"a": "b"}
        assert "exists" in refusal(engine, "volume", "clone", name, copy, program="corten")
        assert "exists" in refusal(engine, "volume", "rename", name, copy, program="corten")
        engine.corten("volume", "rename", copy, other)
        assert read(engine, other) == "first"
        assert copy not in volumes(engine)
        with container(engine, "-v", f"{other}:/v", "debian", "true", verb="create"):
            assert "in use" in refusal(engine, "volume", "rename", other, copy, program="corten")
        engine.docker("volume", "rm", other)


def test_back_to_a_moment(engine: Engine) -> None:
    """A snapshot is restored whole, what was there can be taken back, and a mounted volume is left alone."""
    with volume(engine) as name:
        write(engine, name, "before")
        assert engine.corten("volume", "snapshot", name, "s1").stdout == "s1\n"
        write(engine, name, "after")
        write(engine, name, "more", "other")
        with container(engine, "-v", f"{name}:/v", "debian", "sleep", "60"):
            assert "in use" in refusal(engine, "volume", "restore", name, "s1", program="corten")
        said = engine.corten("volume", "restore", name, "s1").stderr
        assert run(engine, "-v", f"{name}:/v", script="ls /v; cat /v/file") == "file\nbefore"
        lost = unique("v")
        engine.corten("volume", "undelete", said.split("undelete ")[1].split()[0], lost)
        assert read(engine, lost, "other") == "more"
        engine.docker("volume", "rm", lost)
        assert "nosuch" in refusal(engine, "volume", "restore", name, "nosuch", program="corten")
        assert "s1" in engine.corten("volume", "snapshot", "--list", name).stdout
        engine.corten("volume", "snapshot", "--rm", name, "s1")
        assert "s1" not in engine.corten("volume", "snapshot", "--list", name).stdout


def test_a_removed_volume_comes_back(engine: Engine) -> None:
    """For a day it is in the trash, over a restart of the daemon too; with ``--now`` or a prune it is gone at once."""
    name = unique("v")
    engine.docker("volume", "create", "--label", "a=b", name)
    write(engine, name, "kept")
    engine.docker("volume", "rm", name)
    engine.restart_daemon()
    assert name in engine.corten("volume", "ls", "--trash").stdout
    engine.corten("volume", "undelete", name)
    assert (read(engine, name), shown(engine, name)["Labels"]) == ("kept", {"a": "b"})
    engine.corten("volume", "rm", "--now", name)
    assert name not in engine.corten("volume", "ls", "--trash").stdout
    assert "trash" in refusal(engine, "volume", "undelete", name, program="corten")


def test_a_size_needs_quotas(engine: Engine) -> None:
    """Where the file system keeps no project quotas a size is refused, and the line says what to do."""
    name = unique("v")
    text = refusal(engine, "volume", "create", "--size", "10m", name, program="corten")
    assert "prjquota" in text
    assert name not in volumes(engine)
    assert refusal(engine, "volume", "create", "-o", "size=10m", name) == text


# space


def test_every_byte_is_explained(engine: Engine) -> None:
    """Volumes, snapshots, trash and all else add up to the whole state folder; ``-v`` shows each volume."""
    with volume(engine) as name, container(engine, "-v", f"{name}:/v", "debian", "sleep", "60"):
        run(engine, "-v", f"{name}:/v", script="head -c 300000 /dev/urandom > /v/file")
        engine.corten("volume", "snapshot", name, "s1")
        lost = unique("v")
        write(engine, lost, "x" * 1000)
        engine.docker("volume", "rm", lost)
        parts = sums(engine)
        total = parts.pop("Total")
        assert total == sum(parts.values())
        assert parts["VolumeUsage"] >= 300_000
        assert parts["VolumeSnapshots"] >= 4096
        assert parts["Trash"] >= 4096

        def agrees() -> bool:  # records and logs are written meanwhile
            return sums(engine)["Total"] == used(engine.root)

        until(agrees, "the sum to be what is on the disk")
        table = engine.docker("system", "df", "-v").stdout
        (row,) = (line.split() for line in table.splitlines() if line.startswith(name))
        assert row[1] == "1"
        assert row == next(
            line.split()
            for line in engine.corten("system", "df", "-v").stdout.splitlines()
            if line.startswith(name)
        )
        listed = [
            json.loads(line) for line in engine.docker("system", "df", "--format", "json").stdout.splitlines()
        ]
        (volumes_row,) = (each for each in listed if each["Type"] == "Local Volumes")
        assert int(volumes_row["Active"]) == 1


def test_pruning(engine: Engine) -> None:
    """Without more words anonymous volumes go, with ``-a`` those with names; labels choose; ``system prune`` knows volumes."""
    with volume(engine, "--label", "keep") as kept, volume(engine) as named:
        anonymous = engine.docker("volume", "create").stdout.strip()
        assert anonymous in engine.docker("volume", "prune", "-f").stdout
        assert {kept, named} <= volumes(engine)
        told_so = engine.docker("volume", "prune", "-af", "--filter", "label!=keep").stdout
        assert named in told_so
        assert "Total reclaimed space: " in told_so
        assert kept in volumes(engine)
        anonymous = engine.docker("volume", "create").stdout.strip()
        engine.docker("system", "prune", "-f")
        assert anonymous in volumes(engine)
        assert anonymous in engine.docker("system", "prune", "-f", "--volumes").stdout
        assert volumes(engine) >= {kept}
        assert anonymous not in volumes(engine)
        status, answer = engine.api("POST", "/volumes/prune", filters='{"bogus":["1"]}')
        assert (status, answer["message"]) == (400, "invalid filter 'bogus'")
