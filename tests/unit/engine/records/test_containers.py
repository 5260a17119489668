"""The recorded containers: names, references, and rows that cannot be read."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from corten.engine.records.config import ContainerConfig, HostConfig
from corten.engine.records.container import Container, State
from corten.engine.records.containers import ContainerRepository
from corten.engine.records.database import Database
from corten.errors import Conflict, InvalidInput, NotFound


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    made = Database(tmp_path / "corten.db")
    yield made
    made.close()


@pytest.fixture
def repository(database: Database) -> ContainerRepository:
    """A repository without containers."""
    return ContainerRepository(database)


def container(start: str, name: str, created: str = "2026-01-01T00:00:00Z") -> Container:
    """Return a container whose id begins with *start*."""
    return Container(
        id=start.ljust(64, "0"),
        name=name,
        created=created,
        image_id="sha256:" + "1" * 64,
        config=ContainerConfig(),
        host_config=HostConfig(),
        path="true",
        args=(),
        snapshotter="overlay",
    )


def test_a_container_survives_a_restart(database: Database, repository: ContainerRepository) -> None:
    """What was put is what a new repository reads, oldest first."""
    young, old = container("a", "young", "2026-02-01T00:00:00Z"), container("b", "old")
    repository.put(young)
    repository.put(old)
    again = ContainerRepository(database)
    assert again.all() == [old, young]
    assert again.get(old.id) == old
    assert again.notes == []


def test_putting_again_replaces(database: Database, repository: ContainerRepository) -> None:
    """A changed container takes the place of what was recorded."""
    before = container("a", "web")
    after = msgspec.structs.replace(before, state=State(status="running", pid=7))
    repository.put(before)
    repository.put(after)
    assert repository.all() == ContainerRepository(database).all() == [after]


@pytest.mark.parametrize("reference", ["web", "/web", "ab", "abc0", "abc".ljust(64, "0")])
def test_finds_by_name_id_and_prefix(repository: ContainerRepository, reference: str) -> None:
    """A name with or without slash, an id and the start of one all mean the container."""
    wanted = container("abc", "web")
    repository.put(wanted)
    repository.put(container("b", "other"))
    assert repository.find(reference) == wanted


def test_a_name_wins_over_a_prefix(repository: ContainerRepository) -> None:
    """When a name is also the start of another's id, the name is meant."""
    named = container("1", "abc")
    repository.put(named)
    repository.put(container("abc", "other"))
    assert repository.find("abc") == named


def test_an_ambiguous_prefix_is_refused(repository: ContainerRepository) -> None:
    """Two ids with the same start are told in Docker's words."""
    repository.put(container("ab", "one"))
    repository.put(container("ac", "two"))
    with pytest.raises(InvalidInput, match=r"^multiple IDs found with provided prefix: a$"):
        repository.find("a")


def test_nothing_found_names_what_was_sought(repository: ContainerRepository) -> None:
    """An unknown name, id or an empty reference fails by name."""
    for attempt in (repository.find, repository.get):
        with pytest.raises(NotFound, match="no such container: nowhere"):
            attempt("nowhere")
    with pytest.raises(InvalidInput):
        repository.find("/")


def test_names_are_unique(repository: ContainerRepository) -> None:
    """A second container of the same name is refused in Docker's words, and not recorded."""
    first = container("a", "web")
    repository.put(first)
    with pytest.raises(Conflict) as failure:
        repository.put(container("b", "/web"))
    assert str(failure.value) == (
        f'Conflict. The container name "/web" is already in use by container "{first.id}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )
    assert repository.all() == [first]


def test_renaming_frees_the_old_name(repository: ContainerRepository) -> None:
    """After a rename the new name finds the container and the old one is free."""
    repository.put(container("a", "old"))
    renamed = container("a", "new")
    repository.put(renamed)
    assert repository.find("new") == renamed
    assert (repository.has_name("/new"), repository.has_name("old")) == (True, False)
    repository.put(container("b", "old"))


def test_deleting_forgets(database: Database, repository: ContainerRepository) -> None:
    """A deleted container is gone from memory and disk; deleting again does nothing."""
    gone = container("a", "web")
    repository.put(gone)
    repository.delete(gone.id)
    repository.delete(gone.id)
    assert repository.all() == ContainerRepository(database).all() == []
    repository.put(container("b", "web"))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"null", b'{"id": 5}', msgspec.json.encode(container("f", "web"))]
)
def test_a_body_that_cannot_be_read_is_set_aside(
    database: Database, repository: ContainerRepository, body: bytes
) -> None:
    """A damaged row is kept for a person and told; the others are read."""
    healthy, broken = container("a", "healthy"), container("b", "web")
    repository.put(healthy)
    repository.put(broken)
    database.execute("UPDATE containers SET body = ? WHERE id = ?", (body, broken.id))
    again = ContainerRepository(database)
    assert again.all() == [healthy]
    assert "the record of container web" in again.notes[0]
    assert database.read("SELECT noun, id, name, body FROM damaged") == [
        ("container", broken.id, "web", body)
    ]
    assert ContainerRepository(database).notes == []


def test_bodies_of_other_versions_are_read(database: Database, repository: ContainerRepository) -> None:
    """Fields that are not known are ignored, missing ones take their default."""
    kept = container("a", "web")
    repository.put(kept)
    fields = msgspec.json.decode(msgspec.json.encode(kept))
    del fields["restart_count"]
    body = msgspec.json.encode(fields | {"from_the_future": [1, 2]})
    database.execute("UPDATE containers SET body = ?", (body,))
    assert ContainerRepository(database).all() == [kept]
