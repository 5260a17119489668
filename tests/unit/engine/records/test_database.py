"""What the database promises, also when its file is torn, strange, newer, locked or without room."""

import os
import re
import sqlite3
import threading
from pathlib import Path

import pytest

from corten.engine.records.database import Database, migrations
from corten.errors import OutOfSpace, Unavailable, Unsupported

ROW = ("a" * 64, "web", "2026-01-01T00:00:00Z", b"{}")
INSERT = "INSERT INTO containers (id, name, created, body) VALUES (?, ?, ?, ?)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database of a test is."""
    return tmp_path / "corten.db"


def count(database: Database) -> object:
    """Return how many containers are recorded."""
    return database.read("SELECT count(*) FROM containers")[0][0]


def fill(database: Database) -> None:
    """Let the file grow no more."""
    pages = database.read("PRAGMA page_count")[0][0]
    database.read(f"PRAGMA max_page_count = {pages!r}")


def filled(path: Path) -> None:
    """Make a database with one row and close it."""
    database = Database(path)
    database.execute(INSERT, ROW)
    database.close()


def test_keeps_what_was_committed(path: Path) -> None:
    """A committed row is there after closing and opening again, without a note."""
    filled(path)
    database = Database(path)
    assert (database.read("SELECT name, body FROM containers"), database.notes) == ([("web", b"{}")], [])
    database.close()


def test_settings_survive_a_power_cut(path: Path) -> None:
    """The log is written ahead, every commit is synchronised, foreign keys are checked."""
    database = Database(path)
    names = ("journal_mode", "synchronous", "foreign_keys")
    assert [database.read(f"PRAGMA {name}")[0][0] for name in names] == ["wal", 2, 1]
    database.close()


def test_a_transaction_that_fails_changes_nothing(path: Path) -> None:
    """An exception in the block undoes its writes, and the next transaction works."""
    database = Database(path)

    def fail() -> None:
        with database.transaction() as connection:
            connection.execute(INSERT, ROW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert count(database) == 0
    database.execute(INSERT, ROW)
    assert count(database) == 1
    database.close()


def test_mistakes_in_sql_are_not_hidden(path: Path) -> None:
    """An error of the program stays an error of SQLite."""
    database = Database(path)
    with pytest.raises(sqlite3.OperationalError):
        database.read("SELECT * FROM nowhere")
    with pytest.raises(sqlite3.IntegrityError):
        database.execute("INSERT INTO containers (id) VALUES (?)", ("x",))
    database.close()


def test_threads_take_turns(path: Path) -> None:
    """Transactions from many threads all happen, none inside another."""
    database = Database(path)

    def work(first: int) -> None:
        for number in range(first, first + 10):
            database.execute(INSERT, (f"id{number}", f"name{number}", "", b""))

    threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 40, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(database) == 40
    database.close()


def test_a_kill_keeps_what_was_committed(path: Path, tmp_path: Path) -> None:
    """The files as they are at any instant, copied, open without loss."""
    database = Database(path)
    database.execute(INSERT, ROW)
    copy = tmp_path / "copy" / "corten.db"
    copy.parent.mkdir()
    for suffix in ("", "-wal"):
        Path(f"{copy}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    after = Database(copy)
    assert (count(after), after.notes) == (1, [])
    after.close()
    database.close()


def test_a_torn_log_loses_only_its_torn_end(path: Path, tmp_path: Path) -> None:
    """Garbage at the end of the write-ahead log is ignored."""
    database = Database(path)
    database.execute(INSERT, ROW)
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    Path(f"{copy}-wal").write_bytes(Path(f"{path}-wal").read_bytes() + os.urandom(5000))
    database.close()
    after = Database(copy)
    assert (count(after), after.notes) == (1, [])
    after.close()


def zeros(data: bytes) -> bytes:
    """All bytes zero."""
    return bytes(len(data))


def garbage(data: bytes) -> bytes:
    """Something else of the same length."""
    return os.urandom(len(data))


def half(data: bytes) -> bytes:
    """Cut in the middle of a page."""
    return data[: len(data) // 2 + 100]


def nothing(_: bytes) -> bytes:
    """An empty file."""
    return b""


def torn_page(data: bytes) -> bytes:
    """A page in the middle that was never written."""
    return data[:4096] + bytes(4096) + data[8192:]


@pytest.mark.parametrize("damage", [zeros, garbage, half, nothing, torn_page])
def test_a_damaged_file_is_set_aside(path: Path, damage: object) -> None:
    """Start goes on with an empty database, says so, and deletes nothing."""
    filled(path)
    broken = damage(path.read_bytes())  # type: ignore[operator]
    path.write_bytes(broken)
    database = Database(path)
    assert count(database) == 0
    database.execute(INSERT, ROW)
    database.close()
    (kept,) = path.parent.glob("corten.db.damaged-*")
    assert re.fullmatch(r"corten\.db\.damaged-\d{8}T\d{6}\.\d{9}Z", kept.name)
    assert kept.read_bytes() == broken
    assert len(database.notes) == 1
    assert str(kept) in database.notes[0]


def test_the_log_of_a_damaged_file_is_kept_with_it(path: Path) -> None:
    """The write-ahead log moves with its database: it must not be applied to the new one."""
    filled(path)
    path.write_bytes(os.urandom(8192))
    Path(f"{path}-wal").write_bytes(b"log")
    Database(path).close()
    (kept,) = path.parent.glob("corten.db.damaged-*Z-wal")
    assert kept.read_bytes() == b"log"


def test_a_step_that_does_not_fit_is_damage(path: Path) -> None:
    """A file whose version was garbled to an older one does not stop start."""
    filled(path)
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 0")
    raw.close()
    database = Database(path)
    assert count(database) == 0
    assert "does not apply" in database.notes[0]
    database.close()


def test_refuses_a_newer_format(path: Path) -> None:
    """A file of a newer version is left alone, and the message says what to do."""
    filled(path)
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 9999")
    raw.close()
    with pytest.raises(Unsupported, match=r"newer corten .* install that version again"):
        Database(path)
    assert not list(path.parent.glob("*damaged*"))


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    """No folder, no database: one line that names it."""
    with pytest.raises(Unavailable, match="check its folder"):
        Database(tmp_path / "absent" / "corten.db")


def test_numbers_of_steps_have_no_gap() -> None:
    """Steps are numbered from 1, so that a version says which were applied."""
    numbers = [number for number, _ in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_full_file_is_out_of_space(path: Path) -> None:
    """What SQLite cannot store for lack of room changes nothing and is told as such."""
    database = Database(path)
    fill(database)
    with pytest.raises(OutOfSpace, match="free space"):
        database.execute(INSERT, ("id", "name", "", bytes(1 << 20)))
    assert count(database) == 0
    database.close()


def test_essential_writes_use_the_ballast(path: Path) -> None:
    """On a full disk the ballast is given up once, then the failure is told."""
    database = Database(path)
    ballast = Path(f"{path}.ballast")
    assert ballast.stat().st_blocks * 512 >= 1 << 20
    fill(database)
    with pytest.raises(OutOfSpace):
        database.execute(INSERT, ("id", "name", "", bytes(1 << 20)), essential=True)
    assert not ballast.exists()
    database.execute("DELETE FROM containers", essential=True)
    assert ballast.exists()
    database.close()
