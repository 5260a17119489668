"""The recorded volumes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from corten.engine.records.database import Database
from corten.engine.records.volume import Volume
from corten.engine.records.volumes import VolumeRepository
from corten.errors import Conflict, NotFound


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    made = Database(tmp_path / "corten.db")
    yield made
    made.close()


@pytest.fixture
def repository(database: Database) -> VolumeRepository:
    """A repository without volumes."""
    return VolumeRepository(database)


def volume(name: str, created: str = "2026-01-01T00:00:00Z") -> Volume:
    """Return a volume."""
    return Volume(name=name, created=created, mountpoint=f"/v/{name}/_data", labels={"a": "b"}, size=7)


def test_a_volume_survives_a_restart(database: Database, repository: VolumeRepository) -> None:
    """What was put is what a new repository reads, the oldest first."""
    young, old = volume("a", "2026-02-01T00:00:00Z"), volume("b")
    repository.put(young)
    repository.put(old)
    again = VolumeRepository(database)
    assert again.all() == repository.all() == [old, young]
    assert again.get("a") == young
    assert again.has("b")
    assert again.notes == []


def test_deleting_is_idempotent(database: Database, repository: VolumeRepository) -> None:
    """A deleted volume is gone, also for a new repository."""
    repository.put(volume("a"))
    repository.delete("a")
    repository.delete("a")
    with pytest.raises(NotFound, match="no such volume: a"):
        repository.get("a")
    assert VolumeRepository(database).all() == []


def test_a_renamed_volume(database: Database, repository: VolumeRepository) -> None:
    """It is there under its new name only."""
    repository.put(volume("a"))
    repository.rename("a", volume("b"))
    assert repository.all() == VolumeRepository(database).all() == [volume("b")]
    with pytest.raises(NotFound):
        repository.rename("a", volume("c"))


def test_no_volume_is_overwritten_by_renaming(repository: VolumeRepository) -> None:
    """A name that is taken is a Conflict, and nothing changes."""
    repository.put(volume("a"))
    repository.put(volume("b"))
    with pytest.raises(Conflict, match="volume b exists"):
        repository.rename("a", volume("b"))
    assert repository.has("a")


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"name": "b", "created": "", "mountpoint": ""}', None])
def test_a_damaged_row_is_set_aside(
    database: Database, repository: VolumeRepository, body: bytes | None
) -> None:
    """It never keeps the others from being read, and a note tells of it."""
    repository.put(volume("good"))
    database.execute("INSERT INTO volumes VALUES ('bad', '', ?)", (body or "text",))
    again = VolumeRepository(database)
    assert [each.name for each in again.all()] == ["good"]
    assert "the record of volume bad is damaged" in again.notes[0]
    assert VolumeRepository(database).notes == []
    assert len(database.read("SELECT * FROM damaged WHERE noun = 'volume'")) == 1
