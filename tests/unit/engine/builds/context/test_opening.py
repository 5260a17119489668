"""opening: which ignore file counts, and who is bound by it."""

import os
from pathlib import Path

import pytest

from corten.engine.builds.context.opening import open_context
from corten.errors import InvalidInput, LimitExceeded
from tests.unit.engine.builds.context.making import paths, write


def visible(top: Path, dockerfile: str = "") -> list[str]:
    """Return what instructions see of *top*."""
    root = os.open(top, os.O_RDONLY)
    try:
        with open_context(root, dockerfile) as context:
            return paths(context.visible)
    finally:
        os.close(root)


def test_the_builder_reads_what_copy_does_not_see(tmp_path: Path) -> None:
    """Dockerfile and ignore file may be left out, and still reach the builder."""
    write(tmp_path, {".dockerignore": "Dockerfile\n.dockerignore\n", "Dockerfile": "FROM scratch", "a": ""})
    root = os.open(tmp_path, os.O_RDONLY)
    with open_context(root) as context:
        assert paths(context.visible) == ["a"]
        assert context.everything.read("Dockerfile", 100) == b"FROM scratch"
    os.close(root)


@pytest.mark.parametrize(
    ("dockerfile", "expected"),
    [("", ["b", "c"]), ("Dockerfile", ["b", "c"]), ("sub/web", ["a", "c"]), ("/other", ["a", "b"])],
)
def test_the_ignore_file_beside_the_dockerfile_wins(
    tmp_path: Path, dockerfile: str, expected: list[str]
) -> None:
    """Each Dockerfile may have an ignore file of its own; the common one is then not read."""
    hidden = "*.dockerignore\nsub\n.dockerignore\n"
    write(
        tmp_path,
        {
            ".dockerignore": f"a\n{hidden}",
            "sub/web.dockerignore": f"b\n{hidden}",
            "other.dockerignore": f"c\n{hidden}",
            "a": "",
            "b": "",
            "c": "",
        },
    )
    assert visible(tmp_path, dockerfile) == expected


def test_without_rules_everything_is_visible(tmp_path: Path) -> None:
    """There need not be an ignore file."""
    assert visible(write(tmp_path, {"a": "", "b/c": ""})) == ["a", "b", "b/c"]


def test_rules_may_be_no_text(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 match names that have them."""
    (tmp_path / ".dockerignore").write_bytes(b"\xff\n.dockerignore")
    Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"\xff"))).touch()
    assert visible(tmp_path) == []


def test_refuses_rules_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder, an endless file or a bad pattern instead of rules is refused by name."""
    (tmp_path / ".dockerignore").mkdir()
    with pytest.raises(InvalidInput, match=r"\.dockerignore in the build context is not a file"):
        visible(tmp_path)
    (tmp_path / ".dockerignore").rmdir()
    (tmp_path / ".dockerignore").write_text("\n[")
    with pytest.raises(InvalidInput, match=r"\.dockerignore, line 2"):
        visible(tmp_path)
    (tmp_path / ".dockerignore").write_text("a\n" * 2_000_000)
    with pytest.raises(LimitExceeded, match=r"\.dockerignore"):
        visible(tmp_path)


def test_rules_are_not_read_from_outside(tmp_path: Path) -> None:
    """An ignore file that is a link out of the context is refused: a build without its rules copies too much."""
    (tmp_path / "outside").write_text("*")
    top = write(tmp_path / "context", {".dockerignore": "-> ../outside", "a": ""})
    with pytest.raises(InvalidInput, match="link out of the build context"):
        visible(top)
