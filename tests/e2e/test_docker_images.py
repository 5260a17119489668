"""Images by the real client: archives in and out, names, lists, what may be removed."""

from __future__ import annotations

import hashlib
import json
import tarfile
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.tools import ALONE, container, unique, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identifier(engine: Engine, name: str) -> str:
    """Return an image's id."""
    return str(engine.docker("image", "inspect", "-f", "{{.Id}}", name).stdout).strip()


@pytest.fixture(scope="module")
def tree_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of three files as a tar, of which an image is quickly made."""
    folder = tmp_path_factory.mktemp("tree")
    (folder / "etc").mkdir()
    (folder / "etc" / "note").write_text("small\n")
    (folder / "link").symlink_to("/etc/note")
    archive = folder.parent / "small.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, ".")
    return archive


@pytest.fixture
def small(engine: Engine, tree_tar: Path) -> Iterator[str]:
    """A small image of its own name, and its own content."""
    name = unique("img")
    engine.docker("import", "-c", f"LABEL own={name}", "-m", "made small", str(tree_tar), f"{name}:1")
    yield f"{name}:1"
    engine.docker("rmi", "-f", f"{name}:1", check=False)


def test_two_saves_are_the_same_bytes(engine: Engine, small: str, tmp_path: Path) -> None:
    """``save`` is reproducible, and takes several names."""
    for number in (1, 2):
        engine.docker("save", "-o", str(tmp_path / f"{number}.tar"), small)
    assert digest(tmp_path / "1.tar") == digest(tmp_path / "2.tar")


def test_save_and_load_keep_the_id(engine: Engine, fresh_engine: Engine, small: str, tmp_path: Path) -> None:
    """What one engine saves another loads under the same names and ids, and saves as the same bytes."""
    there, back = tmp_path / "there.tar", tmp_path / "back.tar"
    engine.docker("save", "-o", str(there), small, "debian")
    loaded = fresh_engine.docker("load", "-i", str(there)).stdout
    assert f"Loaded image: {small}\n" in loaded
    assert "Loaded image: debian:latest\n" in loaded
    for name in (small, "debian"):
        assert identifier(engine, name) == identifier(fresh_engine, name)
    fresh_engine.docker("save", "-o", str(back), small, "debian")
    assert digest(there) == digest(back)
    assert fresh_engine.docker("run", "--rm", *ALONE, "debian", "echo", "runs").stdout == "runs\n"


def test_load_through_stdin(engine: Engine, small: str) -> None:
    """``docker save | docker load`` brings an image back that was removed."""
    before = identifier(engine, small)
    data = engine.docker("save", small, input=b"").stdout
    engine.docker("rmi", small)
    assert engine.docker("load", "-q", input=data).stdout == f"Loaded image: {small}\n".encode()
    assert identifier(engine, small) == before


def test_a_broken_archive_is_refused(engine: Engine, small: str, tmp_path: Path) -> None:
    """Half an archive, or none at all, loads nothing and says why in one line."""
    whole = tmp_path / "whole.tar"
    engine.docker("save", "-o", str(whole), "debian")
    before = engine.docker("images", "-q").stdout
    for data in (whole.read_bytes()[: 1 << 20], b"no tar at all"):
        done = engine.docker("load", input=data, check=False)
        assert done.returncode == 1
        assert done.stderr.strip().count(b"\n") == 0
        assert done.stderr.strip()
    assert engine.docker("images", "-q").stdout == before


def test_import_makes_an_image(engine: Engine, small: str) -> None:
    """``import`` applies its changes and tells its message in the history."""
    (facts,) = json.loads(engine.docker("image", "inspect", small).stdout)
    assert facts["Config"]["Labels"]["own"] == small.removesuffix(":1")
    assert facts["RepoTags"] == [small]
    assert facts["Os"] == "linux"
    assert "made small" in engine.docker("history", small).stdout


def test_export_and_import_round_trip(engine: Engine, small: str, tmp_path: Path) -> None:
    """What export writes, import reads: two trips give the same bytes."""
    name, first, second = unique("img"), tmp_path / "1.tar", tmp_path / "2.tar"
    with container(engine, small, "true", verb="create") as made:
        engine.docker("export", "-o", str(first), made)
    until(lambda: first.stat().st_mtime + 1 < time.time())  # times in an archive are whole seconds
    engine.docker("import", str(first), name)
    with container(engine, name, "true", verb="create") as made:
        engine.docker("export", "-o", str(second), made)
    assert digest(first) == digest(second)
    with tarfile.open(second) as tar:
        assert tar.getmember("link").linkname == "/etc/note"
    engine.docker("rmi", name)


def test_import_from_stdin(engine: Engine, tree_tar: Path) -> None:
    """``cat tree.tar | docker import - NAME`` prints the new id."""
    name = unique("img")
    done = engine.docker("import", "-", name, input=tree_tar.read_bytes())
    assert done.stdout.strip().decode() == identifier(engine, name)
    engine.docker("rmi", name)


def test_tag_and_untag(engine: Engine, small: str) -> None:
    """A second name leads to the same image; removing one name leaves the other."""
    other = f"registry.example:5000/team/{unique('img')}:v2"
    engine.docker("tag", small, other)
    assert identifier(engine, other) == identifier(engine, small)
    assert engine.docker("rmi", other).stdout == f"Untagged: {other}\n"
    assert identifier(engine, small)


def test_tag_moves(engine: Engine, small: str) -> None:
    """A name given to another image leaves the first without it."""
    name = unique("img")
    engine.docker("tag", small, name)
    engine.docker("tag", "debian", name)
    assert identifier(engine, name) == identifier(engine, "debian")
    engine.docker("rmi", name)


@pytest.mark.parametrize("name", ["Upper", "a//b", "a:b:c", "-x", "a b", "x" * 300])
def test_tag_refuses_bad_names(engine: Engine, small: str, name: str) -> None:
    """A name that is no reference is refused in one line."""
    done = engine.docker("tag", "--", small, name, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().count("\n") == 0
    assert (
        "invalid reference format" in done.stderr
        or "must be lowercase" in done.stderr
        or "must not be more" in done.stderr
    )


def test_rmi_refuses_what_is_in_use(engine: Engine, small: str) -> None:
    """An image that a container uses is removed by force only, by its id not even then while it runs."""
    with container(engine, small, "/nothing", verb="create") as name:
        done = engine.docker("rmi", small, check=False)
        assert done.returncode == 1
        short = engine.docker("inspect", "-f", "{{.Id}}", name).stdout[:12]
        assert "conflict: unable to remove repository reference" in done.stderr
        assert f"container {short} is using its referenced image" in done.stderr
        assert engine.docker("rmi", "-f", small).stdout.startswith(f"Untagged: {small}\n")
        assert engine.docker("inspect", "-f", "{{.Config.Image}}", name).stdout == f"{small}\n"


def test_rmi_of_a_running_containers_image(engine: Engine) -> None:
    """By id, the image of a running container cannot be removed, force or not."""
    with container(engine, "debian", "sleep", "1000"):
        done = engine.docker("rmi", "-f", identifier(engine, "debian"), check=False)
        assert done.returncode == 1
        assert "cannot be forced" in done.stderr
    assert identifier(engine, "debian")


def test_rmi_deletes_the_last_name(engine: Engine, small: str) -> None:
    """With its last name an image goes, and its layers; unknown names are told."""
    removed = identifier(engine, small)
    lines = engine.docker("rmi", small).stdout.splitlines()
    assert lines[0] == f"Untagged: {small}"
    assert lines[1] == f"Deleted: {removed}"
    done = engine.docker("rmi", small, check=False)
    assert (done.returncode, done.stderr) == (1, f"Error response from daemon: No such image: {small}\n")


def test_images_lists(engine: Engine, small: str) -> None:
    """``images`` shows each name with id, age and size, by format, quiet or filtered."""
    name, tag = small.split(":")
    line = engine.docker("images", "--format", "{{.Repository}} {{.Tag}} {{.ID}}", name).stdout
    assert line.split() == [name, tag, identifier(engine, small).removeprefix("sha256:")[:12]]
    assert engine.docker("images", "-q", "--no-trunc", small).stdout.strip() == identifier(engine, small)
    assert engine.docker("images").stdout.splitlines()[0].split()[:3] == ["REPOSITORY", "TAG", "IMAGE"]
    row = json.loads(engine.docker("images", "--format", "json", small).stdout)
    assert (row["Repository"], row["Tag"]) == (name, tag)


def test_images_filters(engine: Engine, small: str) -> None:
    """Filters by reference, label, age relative to another, and being without a name."""
    name = small.removesuffix(":1")

    def found(*filters: str) -> set[str]:
        flags = [word for text in filters for word in ("--filter", text)]
        return set(engine.docker("images", *flags, "--format", "{{.Repository}}").stdout.split())

    assert found(f"reference={name}") == {name}
    assert found("reference=img*:1") >= {name}
    assert found(f"label=own={name}") == {name}
    assert name in found("since=debian")
    assert "debian" in found(f"before={small}")
    assert name not in found("dangling=true")
    engine.docker("tag", "debian", small)
    assert found("dangling=true", f"label=own={name}") == {"<none>"}
    untagged = engine.docker("images", "-q", "--filter", "dangling=true", "--filter", f"label=own={name}")
    engine.docker("rmi", untagged.stdout.strip())


def test_history(engine: Engine) -> None:
    """``history`` tells how each layer came about."""
    (line,) = engine.docker(
        "history", "--no-trunc", "--format", "{{.ID}}|{{.CreatedBy}}", "debian"
    ).stdout.splitlines()
    shown, made_by = line.split("|")
    assert shown == identifier(engine, "debian")
    assert made_by


def test_image_names_have_short_forms(engine: Engine) -> None:
    """An image is found by name, name and tag, full name, id and beginning of the id."""
    whole = identifier(engine, "debian")
    short = whole.removeprefix("sha256:")[:12]
    for name in ("debian:latest", "docker.io/library/debian", "library/debian:latest", whole, short):
        assert identifier(engine, name) == whole


def test_containers_outlive_their_images_name(engine: Engine, tree_tar: Path) -> None:
    """A stopped container still starts after its image lost its last name by force."""
    name = unique("img")
    engine.docker("tag", "debian", name)
    with container(engine, name, "echo", "still here", verb="create") as made:
        engine.docker("rmi", "-f", name)
        assert engine.docker("start", "-a", made).stdout == "still here\n"
