"""The database of a registry."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from corten.errors import Conflict, Unsupported
from corten.serve.registry.database import Database, mark_complete


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A new database."""
    with closing(Database(tmp_path / "r.db")) as made:
        yield made


def add(c: sqlite3.Connection, name: str) -> str:
    """Add a repository and return its name."""
    c.execute("INSERT INTO repositories (name) VALUES (?)", (name,))
    return name


def names(database: Database) -> set[str]:
    """Return all repositories."""
    return {
        name for (name,) in database.read(lambda c: c.execute("SELECT name FROM repositories").fetchall())
    }


def test_many_writers_share_commits(database: Database) -> None:
    """What many threads write is all there, each with its own result."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: database.write(lambda c: add(c, f"r{n}")), range(100)))
    assert made == [f"r{n}" for n in range(100)]
    assert names(database) == {f"r{n}" for n in range(100)}


def test_one_failure_does_not_touch_the_others(database: Database) -> None:
    """Work that raises changes nothing, though it shares its commit with work that succeeds."""
    ready = threading.Barrier(8)

    def write(number: int) -> str:
        def work(c: sqlite3.Connection) -> None:
            add(c, f"r{number}")
            if number % 2:
                raise ValueError(number)

        ready.wait(10)
        try:
            database.write(work)
        except ValueError as failure:
            return str(failure)
        return ""

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(write, range(8)))
    assert results == ["", "1", "", "3", "", "5", "", "7"]
    assert names(database) == {"r0", "r2", "r4", "r6"}


def test_a_rehearsal_is_undone(database: Database) -> None:
    """A rehearsal sees its own changes, and nobody else ever does."""

    def work(c: sqlite3.Connection) -> int:
        add(c, "r")
        return len(c.execute("SELECT 1 FROM repositories").fetchall())

    assert database.rehearse(work) == 1
    assert names(database) == set()


def test_what_was_written_is_there_the_next_time(tmp_path: Path) -> None:
    """Durable and other writes outlive the process."""
    with closing(Database(tmp_path / "r.db")) as first:
        first.write(lambda c: add(c, "a"))
        first.write(lambda c: add(c, "b"), durable=False)
        first.write(mark_complete)
    with closing(Database(tmp_path / "r.db")) as second:
        assert names(second) == {"a", "b"}
        assert second.complete
        assert second.notes == []


def test_one_process_owns_it(database: Database) -> None:
    """A second registry is refused with the reason."""
    with pytest.raises(Conflict, match="another registry"):
        Database(database.path)


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_set_aside(tmp_path: Path, content: bytes) -> None:
    """What is no database is kept under another name, and an empty one that wants filling takes its place."""
    (tmp_path / "r.db").write_bytes(content)
    with closing(Database(tmp_path / "r.db")) as made:
        assert not made.complete
        assert names(made) == set()
        assert "is damaged" in made.notes[0]
    assert [path.read_bytes() for path in tmp_path.glob("r.db.damaged-*")] == [content]


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    """Guessing at a newer format would lose what it says."""
    with closing(sqlite3.connect(tmp_path / "r.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(Unsupported, match="newer"):
        Database(tmp_path / "r.db")
