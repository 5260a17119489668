"""The records of images: names, ids, prefixes; what is written is there after a restart."""

from pathlib import Path

import pytest

from corten.engine.records.database import Database
from corten.engine.records.images import Image, ImageRepository
from corten.errors import InvalidInput, NotFound
from corten.oci.digest import Digest
from corten.oci.reference import Reference


def image(name: str) -> Image:
    """Return an image of one layer with digests made of *name*."""
    layer = Digest.of(f"layer {name}".encode())
    return Image(
        id=Digest.of(name.encode()),
        manifest=Digest.of(f"manifest {name}".encode()),
        manifest_size=1,
        manifest_type="application/vnd.oci.image.manifest.v1+json",
        layers=(layer,),
        diff_ids=(layer,),
        layer_sizes=(10,),
        created="2020-01-01T00:00:00Z",
        labels={"a": "b"},
    )


ONE, TWO = image("one"), image("two")


@pytest.fixture
def database(folder: str) -> Database:
    """An empty database."""
    return Database(f"{folder}/records")


@pytest.fixture
def images(database: Database) -> ImageRepository:
    """An empty repository."""
    return ImageRepository(database)


def named(*names: str) -> list[Reference]:
    """Return references."""
    return [Reference.parse(name) for name in names]


def test_everything_is_there_after_a_restart(images: ImageRepository, database: Database) -> None:
    """Values and names come back as they were."""
    put = images.put(ONE, named("a:1", "b"))
    images.put(TWO)
    again = ImageRepository(database)
    assert again.get(ONE.id) == put
    assert {each.id for each in again.all()} == {ONE.id, TWO.id}
    assert again.complete


def test_finding(images: ImageRepository) -> None:
    """An image is found by name, by id, and by the beginning of its id."""
    images.put(ONE, named("a:1"))
    for text in (
        "a:1",
        "docker.io/library/a:1",
        ONE.id,
        ONE.id.hex,
        ONE.id.hex[:4],
        f"sha256:{ONE.id.hex[:4]}",
    ):
        assert images.find(text).id == ONE.id


def test_finding_by_digest(images: ImageRepository) -> None:
    """A name by digest fits the manifest or the image of the same repository only."""
    images.put(ONE, named("a:1"))
    assert images.find(f"a@{ONE.manifest}").id == ONE.id
    assert images.find(f"a:1@{ONE.id}").id == ONE.id
    for text in (f"b@{ONE.manifest}", f"a@{TWO.manifest}"):
        with pytest.raises(NotFound):
            images.find(text)


def test_a_name_wins_over_an_id(images: ImageRepository) -> None:
    """A name that looks like the beginning of an id means the name."""
    images.put(ONE)
    images.put(TWO, named(ONE.id.hex[:6]))
    assert images.find(ONE.id.hex[:6]).id == TWO.id
    assert images.find(ONE.id.hex[:7]).id == ONE.id


def test_an_ambiguous_beginning(images: ImageRepository) -> None:
    """The beginning of several ids is refused; the whole id is not."""
    made = [images.put(image(str(number))) for number in range(17)]
    firsts = [each.id.hex[0] for each in made]
    twice = next(first for first in firsts if firsts.count(first) > 1)
    with pytest.raises(InvalidInput, match="multiple images"):
        images.find(twice)
    assert images.find(made[0].id.hex) == made[0]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("gone", "gone:latest"),
        ("gone:2", "gone:2"),
        ("me/gone", "me/gone:latest"),
        ("sha256:12", "sha256:12"),
        ("f" * 64, "f" * 64),
    ],
)
def test_nothing_of_that_name(images: ImageRepository, text: str, shown: str) -> None:
    """The message names what was looked for, with the tag."""
    with pytest.raises(NotFound) as failure:
        images.find(text)
    assert (failure.value.what, failure.value.name) == ("image", shown)


def test_malformed_names(images: ImageRepository) -> None:
    """What is no name is refused as such."""
    for text in ("", "A", "a:", "sha256"):
        with pytest.raises((InvalidInput, NotFound)):
            images.find(text)
    with pytest.raises(NotFound):
        images.get("no id")


def test_a_name_moves(images: ImageRepository, database: Database) -> None:
    """A name belongs to the image that got it last."""
    images.put(ONE, named("a", "b"))
    images.put(TWO, named("a"))
    for repository in (images, ImageRepository(database)):
        assert repository.get(ONE.id).references == ("docker.io/library/b:latest",)
        assert repository.get(TWO.id).references == ("docker.io/library/a:latest",)


def test_putting_again_keeps_the_first(images: ImageRepository) -> None:
    """The first manifest and layers of an image stay; names are added."""
    images.put(ONE, named("a"))
    other = images.put(
        Image(**{**{f: getattr(ONE, f) for f in ONE.__struct_fields__}, "manifest": TWO.manifest}), named("b")
    )
    assert other.manifest == ONE.manifest
    assert other.references == ("docker.io/library/a:latest", "docker.io/library/b:latest")


def test_untag_and_remove(images: ImageRepository, database: Database) -> None:
    """Names and images go for good, also twice."""
    images.put(ONE, named("a", "b"))
    for _ in range(2):
        images.untag("docker.io/library/a:latest")
    assert ImageRepository(database).get(ONE.id).references == ("docker.io/library/b:latest",)
    for _ in range(2):
        images.remove(ONE.id)
    assert ImageRepository(database).all() == images.all() == []
    assert images.named(Reference.parse("b")) is None


def test_tagging_what_is_gone(images: ImageRepository) -> None:
    """A removed image gets no name."""
    with pytest.raises(NotFound):
        images.tag(ONE.id, Reference.parse("a"))


def test_tags_of_a_repository(images: ImageRepository) -> None:
    """All names of a repository come with their images, sorted."""
    images.put(ONE, named("a:2", "ab"))
    images.put(TWO, named("a:1"))
    found = images.tags("docker.io/library/a")
    assert list(found) == ["docker.io/library/a:1", "docker.io/library/a:2"]
    assert [each.id for each in found.values()] == [TWO.id, ONE.id]


def test_a_damaged_record_is_set_aside(images: ImageRepository, database: Database) -> None:
    """One row that cannot be read takes its names along, and nothing else; the loss is known."""
    images.put(ONE, named("a"))
    images.put(TWO, named("b"))
    database.execute("UPDATE images SET body = ? WHERE id = ?", (b"{", str(ONE.id)))
    again = ImageRepository(database)
    assert [each.id for each in again.all()] == [TWO.id]
    assert again.named(Reference.parse("a")) is None
    assert not again.complete
    assert database.read("SELECT noun, id FROM damaged") == [("image", str(ONE.id))]


def test_a_lost_database_is_known(folder: str) -> None:
    """After a damaged file was set aside the records are not complete."""
    Path(folder, "records").write_bytes(b"x" * 8192)
    assert not ImageRepository(Database(f"{folder}/records")).complete
