"""The file of users."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from corten.errors import Conflict, InvalidInput, NotFound, Unavailable
from corten.serve.registry.access import htpasswd

SECRET = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"  # crypt(3) of "secret"


def test_reads_bcrypt_of_the_c_library() -> None:
    """A hash as htpasswd -B makes it fits its password and no other."""
    assert htpasswd.matches("secret", SECRET)
    assert not htpasswd.matches("Secret", SECRET)
    assert not htpasswd.matches("", SECRET)


def test_reads_sha_crypt() -> None:
    """A hash as htpasswd -2 makes it works too."""
    assert htpasswd.matches("hello", "$5$abcdefgh$UUoko/Tf0b.8LrDH6BE28ZvVbc7xd//GfzsD0NKugU7")


@pytest.mark.parametrize(
    "stored", ["secret", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "$apr1$a$b", "", "$2y$99$" + "." * 53]
)
def test_weak_or_broken_hashes_let_nobody_in(stored: str) -> None:
    """Plain text, SHA-1, MD5 and what is no hash fit no password."""
    assert not htpasswd.matches("secret", stored)


def test_what_bcrypt_cannot_see_does_not_count() -> None:
    """Only the first 72 bytes of a password count in a foreign hash; we make none of a longer one."""
    stored = htpasswd.make("x" * 72)
    assert htpasswd.matches("x" * 72 + "y", stored)
    with pytest.raises(InvalidInput, match="72"):
        htpasswd.make("x" * 73)
    with pytest.raises(InvalidInput):
        htpasswd.make("")


def test_made_hashes_fit_and_differ() -> None:
    """What we make is bcrypt with a salt of its own each time."""
    first, second = htpasswd.make("päss"), htpasswd.make("päss")
    assert first != second
    assert first.startswith("$2y$10$")
    assert htpasswd.matches("päss", first)


def test_parses_lines() -> None:
    """Comments, blank lines and lines without a colon are skipped; the first of two counts, as in Apache."""
    assert htpasswd.parse("# a: comment\n\nanna:x\nnothing\n ben :y\nanna:z\n") == {"anna": "x", "ben ": "y"}


def test_adds_replaces_and_removes(tmp_path: Path) -> None:
    """Editing keeps the other lines, and the file is private when it is made."""
    path = tmp_path / "users"
    assert htpasswd.add(str(path), "anna", "1")
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("# mine\nben:2\nanna:1\n")
    assert not htpasswd.add(str(path), "ben", "3")
    assert path.read_text() == "# mine\nanna:1\nben:3\n"
    htpasswd.remove(str(path), "anna")
    assert path.read_text() == "# mine\nben:3\n"
    with pytest.raises(NotFound):
        htpasswd.remove(str(path), "anna")
    assert os.listdir(tmp_path) == ["users"]


def test_a_link_and_its_mode_stay(tmp_path: Path) -> None:
    """A file reached by a link is edited in place; its mode is kept."""
    real = tmp_path / "real"
    real.write_text("anna:1\n")
    real.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(real)
    htpasswd.add(str(link), "ben", "2")
    assert link.is_symlink()
    assert real.read_text() == "anna:1\nben:2\n"
    assert real.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["", "a:b", "#a", "a\nb", " a"])
def test_names_that_cannot_stand_in_the_file(tmp_path: Path, name: str) -> None:
    """A name that would read back as something else is refused."""
    with pytest.raises(InvalidInput):
        htpasswd.add(str(tmp_path / "users"), name, "1")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """Reading says which file is missing and how to make it."""
    with pytest.raises(Unavailable, match="registry user add"):
        htpasswd.read(str(tmp_path / "users"))
    with pytest.raises(Unavailable, match="cannot read"):
        htpasswd.read(str(tmp_path))


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder in place of the file, and a file in a folder that is not there, are told."""
    with pytest.raises(Conflict, match="is a folder"):
        htpasswd.add(str(tmp_path), "anna", "1")
    with pytest.raises(Unavailable, match="cannot write"):
        htpasswd.add(str(tmp_path / "none" / "users"), "anna", "1")


def test_edits_wait_for_each_other(tmp_path: Path) -> None:
    """Users who are added at the same time are all there."""
    path = str(tmp_path / "users")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: htpasswd.add(path, f"user{number}", "1"), range(40)))
    assert len(htpasswd.read(path)) == 40
