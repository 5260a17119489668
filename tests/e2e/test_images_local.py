"""Images without a network: commit, diff, what inspect and list say, disk use, and the prunes."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import pytest

from tests.e2e.changed import SCRIPT, SLACK, alone, changed, committed, engine, facts, occupied, other, run
from tests.e2e.tools import ALONE, FOREVER, container, told, unique, until

if TYPE_CHECKING:
    from tests.e2e.conftest import Engine

__all__ = ["alone", "changed", "engine", "other"]  # fixtures

pytestmark = [pytest.mark.root, pytest.mark.slow]

CHANGED = {
    "A /a",
    "A /a/b",
    "A /a/b/c",
    "A /etc/new",
    "A /link",
    "C /etc",
    "C /etc/group",
    "C /tmp",
    "D /usr/bin/tr",
}

# diff and commit


def test_diff_tells_what_changed(engine: Engine, changed: str) -> None:
    """Both clients say the same, and nothing of what the engine itself had to put there."""
    for verb in (engine.docker, engine.corten):
        lines = verb("diff", changed).stdout.splitlines()
        assert set(lines) - {"C /usr", "C /usr/bin"} == CHANGED
        assert lines.index("A /a") < lines.index("A /a/b") < lines.index("A /a/b/c")
    with container(engine, "base", "true", verb="create") as fresh:
        assert engine.docker("diff", fresh).stdout == ""
    with container(engine, "base", *FOREVER) as running:
        assert engine.docker("diff", running).stdout == ""


def test_a_committed_image_is_what_the_container_was(engine: Engine, changed: str) -> None:
    """Files are there and gone as they were; a container of the image has changed nothing."""
    image = committed(engine, changed)
    script = "cat /etc/new /link/b/c; ls /usr/bin/tr; stat -c %a /tmp"
    done = engine.docker("run", "--rm", *ALONE, image, "sh", "-c", script)
    assert done.stdout == "hi\nx\n700\n"
    assert "/usr/bin/tr" in done.stderr
    with container(engine, image, "true", verb="create") as fresh:
        assert engine.docker("diff", fresh).stdout == ""


def test_commit_applies_changes(engine: Engine, changed: str) -> None:
    """Dockerfile instructions, author and message are in the image."""
    changes = [
        'CMD ["cat", "/etc/new"]',
        "ENV A=1 B=two",
        "LABEL stage=test",
        "EXPOSE 80 53/udp",
        "USER 12:34",
        "WORKDIR /a",
        "VOLUME /data",
        "ONBUILD RUN make",
        "STOPSIGNAL SIGINT",
        "HEALTHCHECK --interval=5s CMD true",
    ]
    flags = [word for change in changes for word in ("--change", change)]
    image = committed(engine, changed, "-a", "Me <me@example>", "-m", "why", *flags)
    shown = facts(engine, image)
    config = shown["Config"]
    assert (shown["Author"], shown["Comment"]) == ("Me <me@example>", "why")
    assert shown["Parent"] == facts(engine, "base")["Id"]
    assert config["Cmd"] == ["cat", "/etc/new"]
    assert {"A=1", "B=two"} <= set(config["Env"])
    assert (config["User"], config["WorkingDir"], config["StopSignal"]) == ("12:34", "/a", "SIGINT")
    assert set(config["ExposedPorts"]) == {"80/tcp", "53/udp"}
    assert (config["Labels"], config["Volumes"]) == ({"stage": "test"}, {"/data": {}})
    assert (config["OnBuild"], config["Healthcheck"]["Test"]) == (["RUN make"], ["CMD-SHELL", "true"])
    assert run(engine, image) == "hi\n"
    history = engine.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", image).stdout
    assert history.splitlines()[0] == f"sh -c {SCRIPT}|why"


def test_the_same_changes_are_the_same_layer(engine: Engine, changed: str) -> None:
    """A commit is reproducible, and shares its parent's layers."""
    first, second = committed(engine, changed), committed(engine, changed)
    layers = facts(engine, first)["RootFS"]["Layers"]
    assert facts(engine, second)["RootFS"]["Layers"] == layers
    assert layers[:-1] == facts(engine, "base")["RootFS"]["Layers"]


def test_a_running_container_is_paused_meanwhile(engine: Engine) -> None:
    """Unless asked otherwise; it runs on afterwards."""
    with container(engine, "base", *FOREVER) as name:
        for flags, expected in (((), ["pause", "unpause", "commit"]), (("--pause=false",), ["commit"])):
            before = len(told(engine, f"container={name}"))
            committed(engine, name, *flags)
            assert [event["Action"] for event in told(engine, f"container={name}")[before:]] == expected
        assert engine.docker("exec", name, "sh", "-c", "echo on").stdout == "on\n"
        image = engine.corten("commit", "--no-pause", name, unique("img")).stdout.strip()
        assert told(engine, f"container={name}")[-1]["Actor"]["Attributes"]["imageID"] == image


def test_a_writer_is_caught_at_one_moment(engine: Engine) -> None:
    """Two files that are written one after the other never differ by more than one step in the image."""
    script = "while :; do echo x >> /one; echo x >> /two; done"
    with container(engine, "base", "sh", "-c", script) as name:
        until(lambda: "A /two" in engine.docker("diff", name).stdout, "the writer to write")
        image = committed(engine, name)
    one, two = run(engine, image, "stat", "-c", "%s", "/one", "/two").split()
    assert int(one) - int(two) in (0, len("x\n"))


def test_commit_by_docker_py(engine: Engine, changed: str) -> None:
    """The Python client sends a configuration in the body."""
    name = unique("img")
    with closing(docker.DockerClient(base_url=engine.environment["DOCKER_HOST"])) as client:
        found = client.containers.get(changed)
        assert {(row["Path"], row["Kind"]) for row in found.diff()} >= {
            ("/a", 1),
            ("/usr/bin/tr", 2),
            ("/tmp", 0),
        }
        image = found.commit(
            name,
            "2",
            message="why",
            author="me",
            changes="USER 1",
            conf={"Cmd": ["sh", "-c", "echo $A"], "Env": ["A=ok"]},
        )
        assert image.tags == [f"{name}:2"]
        assert image.attrs["Config"]["User"] == "1"
        assert client.containers.run(f"{name}:2", remove=True, network_mode="none") == b"ok\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gone", "a"), "No such container: gone"),
        (("{name}", "UPPER"), "must be lowercase"),
        (("-c", "RUN x", "{name}"), "RUN is not a valid change command"),
        (("-c", "EXPOSE many", "{name}"), "Invalid containerPort: many"),
    ],
)
def test_commit_refuses(engine: Engine, changed: str, words: tuple[str, ...], message: str) -> None:
    """One clear line, and no image."""
    before = engine.docker("images", "-aq").stdout
    done = engine.docker("commit", *(word.format(name=changed) for word in words), check=False)
    assert done.returncode != 0
    assert message in done.stderr
    assert engine.docker("images", "-aq").stdout == before


def test_a_container_without_its_image_cannot_be_committed(engine: Engine, changed: str) -> None:
    """What it was made from is gone, and with it what the new image would share."""
    image = committed(engine, changed)
    with container(engine, image, "true", verb="create") as name:
        engine.docker("rmi", "-f", image)
        done = engine.docker("commit", name, check=False)
        assert (done.returncode, "No such image: sha256:" in done.stderr) == (1, True)


# what inspect, list and history say


def test_inspect_leads_to_the_files(engine: Engine) -> None:
    """Paths are those of the host, and they are there."""
    with container(engine, "base", "sh", "-c", "echo x > /new; echo said; exec sleep 1000") as name:
        until(lambda: "said" in engine.docker("logs", name).stdout, "the container to write")
        shown = json.loads(engine.docker("inspect", name).stdout)[0]
        assert Path(shown["GraphDriver"]["Data"]["UpperDir"], "new").read_text() == "x\n"
        assert Path(shown["GraphDriver"]["Data"]["MergedDir"], "new").read_text() == "x\n"
        for member in ("HostsPath", "HostnamePath", "ResolvConfPath", "LogPath"):
            assert os.path.exists(shown[member]), member


def test_platforms_are_looked_at(engine: Engine, tmp_path: Path) -> None:
    """An image for this machine is none for another one; each verb says so."""
    for words in (
        ("save", "--platform", "linux/s390x", "-o", f"{tmp_path}/a.tar", "base"),
        ("history", "--platform", "linux/s390x", "base"),
        ("image", "inspect", "--platform", "linux/s390x", "base"),
    ):
        done = engine.docker(*words, check=False)
        assert done.returncode == 1
        assert "base for linux/s390x" in done.stderr
    own = engine.docker("version", "-f", "{{.Server.Os}}/{{.Server.Arch}}").stdout.strip()
    assert engine.docker("image", "inspect", "--platform", own, "-f", "{{.Os}}", "base").stdout == "linux\n"


def test_trees(other: Engine, alone: str) -> None:
    """Docker's own client can draw its tree, and ours draws the layers."""
    image = committed(other, alone)
    assert image in other.docker("images", "--tree").stdout
    lines = other.corten("images", "--tree").stdout.splitlines()
    base = next(number for number, line in enumerate(lines) if "base:latest" in line)
    assert any(image in line and line[0] in "├└" for line in lines[base + 1 :])
    assert "without sharing it would be" in lines[-1]
    form = "{{.Repository}}:{{.Tag}} {{.SharedSize}}"
    shared = dict(line.split() for line in other.corten("images", "--format", form).stdout.splitlines())
    assert shared[image] == shared["base:latest"] != "0B"


# disk use and prune


def test_df_explains_every_byte(engine: Engine, changed: str) -> None:
    """What is told adds up to what du(1) finds in the state folder."""
    committed(engine, changed)
    with container(engine, "base", "sh", "-c", "head -c 300000 /dev/zero; exec sleep 1000") as name:
        until(lambda: len(engine.docker("logs", name).stdout) == 300_000, "the log")
        partial = Path(engine.root, "content", "partial", f"sha256-{'ab' * 32}")
        partial.write_bytes(os.urandom(100_000))
        found = occupied(engine)
        done = subprocess.run(["du", "-s", "-B1", engine.root], capture_output=True, check=True)
        rest, sizes = found["Corten"], [each["SizeRw"] for each in found["Containers"]]
        assert abs(rest["Total"] - int(done.stdout.split()[0])) <= SLACK
        parts = [value for member, value in rest.items() if member != "Total"]
        assert found["LayersSize"] + sum(sizes) + sum(parts) == rest["Total"]
        assert rest["ContainerFiles"] >= 300_000
        assert 100_000 <= rest["Partial"] <= 110_000
        rows = engine.corten("system", "df", "--format", "{{.Type}}={{.TotalCount}}").stdout
        assert f"Containers={len(sizes)}\n" in rows
        assert (
            engine.docker("system", "df", "--format", "{{.Type}}={{.TotalCount}}").stdout.splitlines()[1]
            in rows
        )
        verbose = engine.docker("system", "df", "-v").stdout
        assert name in verbose
        assert name in engine.corten("system", "df", "-v").stdout
    engine.docker("image", "prune", "-f")
    assert occupied(engine)["Corten"]["Partial"] < SLACK


def test_container_prune(engine: Engine, changed: str) -> None:
    """What does not run goes, if its labels let it; both clients tell the same."""
    with (
        container(engine, "base", *FOREVER) as running,
        container(engine, "--label", "keep", "base", "true") as kept,
    ):
        done = engine.docker("container", "prune", "-f", "--filter", "label!=keep").stdout
        assert done.startswith("Deleted Containers:\n")
        assert "\n\nTotal reclaimed space: " in done
        names = engine.docker("ps", "-a", "--format", "{{.Names}}").stdout.split()
        assert running in names
        assert kept in names
        assert changed not in names
        assert engine.corten("container", "prune", "-f", "--filter", "label=none").stdout == (
            "Total reclaimed space: 0B\n"
        )
    assert {event["Action"] for event in told(engine, "type=container")} >= {"destroy", "prune"}


def test_image_prune(engine: Engine, changed: str) -> None:
    """Dangling images go, others when all unused ones are meant, and what a container uses never."""
    used, free = committed(engine, changed), committed(engine, changed, "-c", "LABEL a=b")
    dangling = engine.docker("commit", "-m", "no name", changed).stdout.strip()
    with container(engine, used, "true", verb="create"):
        shown = engine.corten("image", "prune", "-f").stdout
        assert f"deleted: {dangling}\n" in shown
        assert used in engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout
        done = engine.docker("image", "prune", "-a", "-f", "--filter", "label=a=b").stdout
        assert f"Deleted Images:\nuntagged: {free}\n" in done
        engine.docker("image", "prune", "-a", "-f", "--filter", "until=1s", "--filter", "label!=keep")
        left = engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
        assert used in left
        assert free not in left
    engine.docker("tag", "base", "again", check=False)


def test_system_prune_leaves_nothing(other: Engine, small_tar: Path) -> None:
    """After it, all that the engine has is its own; the reclaimed space is what the disk got back."""
    other.import_tree(small_tar, "base")
    other.docker("run", "--name", "c", *ALONE, "base", "sh", "-c", SCRIPT, check=False)
    other.docker("create", "--name", "c2", *ALONE, "base", "true")
    before = occupied(other)["Corten"]["Total"]
    shown = other.docker("system", "prune", "-a", "-f").stdout
    assert "Deleted Containers:" in shown
    assert "untagged: base:latest\n" in shown
    found = occupied(other)
    assert (found["Images"], found["Containers"], found["LayersSize"]) == ([], [], 0)
    assert found["Corten"]["ContainerFiles"] == found["Corten"]["RemovedImages"] == 0
    reclaimed = json.loads(json.dumps(told(other, "event=prune")))
    freed = sum(int(event["Actor"]["Attributes"]["reclaimed"]) for event in reclaimed)
    assert abs(before - found["Corten"]["Total"] - freed) <= 2 * SLACK
    assert other.corten("system", "prune", "-f").stdout == "Total reclaimed space: 0B\n"


def test_layers_of_removed_images_stay_with_their_containers(other: Engine, alone: str) -> None:
    """They have a line of their own, until the container goes."""
    image = committed(other, alone)
    with container(other, image, "true", verb="create"):
        other.docker("rmi", "-f", image)
        assert occupied(other)["Corten"]["RemovedImages"] > 0
    until(lambda: occupied(other)["Corten"]["RemovedImages"] == 0, "the layers to go with the container")


# what survives


def test_a_commit_that_is_killed(other: Engine, small_tar: Path) -> None:
    """The next daemon finds the container running, not frozen, and nothing half done."""
    other.import_tree(small_tar, "base")
    fill = "head -c 200000000 /dev/zero > /big; echo done; exec sleep 1000"
    with container(other, "base", "sh", "-c", fill) as name:
        until(lambda: "done" in other.docker("logs", name).stdout, "the container to write")
        commit = subprocess.Popen(
            ["docker", "commit", name, "half"],
            env=other.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: any(e["Action"] == "pause" for e in told(other, f"container={name}")), "the pause")
        other.restart_daemon(9)
        commit.wait(20)
        assert other.docker("exec", name, "sh", "-c", "echo on").stdout == "on\n"
        if not other.docker("images", "-q", "half").stdout:  # else it was done before it was killed
            found = occupied(other)["Corten"]
            assert found["RemovedImages"] == 0
            assert found["Partial"] < SLACK
