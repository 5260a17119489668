"""save: one tar that every tool can read."""

import io
import json
import tarfile
from collections.abc import Sequence

import pytest

from corten.engine.images import save
from corten.engine.images.load import load
from corten.engine.images.stores import Stores
from corten.errors import DataCorrupted, InvalidInput, NotFound
from corten.oci.digest import Digest
from corten.oci.platform import Platform, host
from corten.oci.reference import Reference
from tests.unit.engine.images.samples import Layout, Told, claimed, docker_archive, kept, make, open_stores

ONE = make([{"etc/name": b"one"}])
TWO = make([{"etc/name": b"one"}, {"etc/more": b"two"}])


def saved(stores: Stores, *names: str) -> bytes:
    """Return the archive of *names*."""
    return b"".join(save.archive(save.choose(names, stores), stores))


def fill(stores: Stores) -> None:
    """Load two images, one with two tags."""
    load(io.BytesIO(docker_archive({"one": ONE, "two:1,two:2": TWO})), stores, host(), Told())


def documents(archive: bytes) -> dict[str, bytes]:
    """Return the files of a tar."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as file:
        members = [member for member in file if member.isfile()]
        return {member.name: file.extractfile(member).read() for member in members}  # type: ignore[union-attr]


def test_blobs_have_their_digests(stores: Stores) -> None:
    """Every blob is once in the archive, under the digest of its bytes."""
    fill(stores)
    files = documents(saved(stores, "one", "two"))
    blobs = {name: data for name, data in files.items() if name.startswith("blobs/")}
    assert all(name == f"blobs/sha256/{Digest.of(data).hex}" for name, data in blobs.items())
    assert len(blobs) == 2 + 2 + 2


def test_both_kinds_describe_the_same_images(stores: Stores) -> None:
    """The index and ``manifest.json`` name the same images by the same names."""
    fill(stores)
    files = documents(saved(stores, "one", "two:2"))
    index, docker = json.loads(files["index.json"]), json.loads(files["manifest.json"])
    names = [entry["annotations"]["io.containerd.image.name"] for entry in index["manifests"]]
    assert sorted(names) == ["docker.io/library/one:latest", "docker.io/library/two:2"]
    assert sorted(tag for item in docker for tag in item["RepoTags"]) == ["one:latest", "two:2"]
    assert all(path in files for item in docker for path in (item["Config"], *item["Layers"]))
    assert json.loads(files["repositories"])["two"] == {"2": TWO.id.hex}
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert {entry["platform"]["architecture"] for entry in index["manifests"]} == {host().architecture}


@pytest.mark.parametrize(
    ("names", "references"),
    [
        (["two"], {"two:1", "two:2"}),
        (["two:1"], {"two:1"}),
        ([TWO.id.hex[:12]], set()),
        ([str(TWO.id)], set()),
        (["two:1", TWO.id.hex[:12]], {"two:1"}),
    ],
)
def test_what_a_name_takes_along(stores: Stores, names: Sequence[str], references: set[str]) -> None:
    """A repository takes all its tags, a tag itself, an id none."""
    fill(stores)
    (chosen,) = save.choose(names, stores)
    assert chosen.image.id == TWO.id
    assert {reference.familiar for reference in chosen.references} == references


def test_the_same_images_give_the_same_bytes(stores: Stores) -> None:
    """Neither the time nor the order of the names shows."""
    fill(stores)
    assert saved(stores, "one", "two") == saved(stores, "two", "one")


def test_load_of_save_is_the_same_image(stores: Stores, folder: str) -> None:
    """Another engine that loads what was saved saves the same bytes again."""
    fill(stores)
    archive = saved(stores, "one", "two")
    other = open_stores(f"{folder}/other")
    images = load(io.BytesIO(archive), other, host(), Told())
    assert {image.id for image in images} == {ONE.id, TWO.id}
    assert kept(other) == claimed(*images)
    assert saved(other, "one", "two") == archive


def test_an_oci_manifest_survives(stores: Stores) -> None:
    """Compressed layers and unknown members of the manifest go out as they came in."""
    layout = Layout()
    entry = layout.manifest(ONE)
    layout.entries = [entry]
    (image,) = load(io.BytesIO(layout.tar()), stores, host(), Told())
    stores.images.tag(image.id, Reference.parse("packed"))
    files = documents(saved(stores, "packed"))
    path = f"blobs/sha256/{Digest(entry['digest']).hex}"
    assert files[path] == layout.files[path]


def test_missing_names_are_refused_at_once(stores: Stores) -> None:
    """A name that is not there, or no name, fails before any byte."""
    fill(stores)
    with pytest.raises(NotFound, match="gone:latest"):
        save.choose(["one", "gone"], stores)
    with pytest.raises(InvalidInput):
        save.choose([], stores)


def test_a_blob_that_was_lost_is_named(stores: Stores) -> None:
    """Damage on disk is told, not written into the archive."""
    fill(stores)
    lost = stores.images.find("one").layers[0]
    stores.content.delete(lost)
    with pytest.raises(DataCorrupted, match=lost):
        saved(stores, "one")


def test_other_platforms_are_refused(stores: Stores) -> None:
    """What is asked for and not there is no archive of something else."""
    fill(stores)
    assert save.choose(["one"], stores, [Platform("linux", "s390x"), host()])
    with pytest.raises(NotFound, match="one for linux/s390x"):
        save.choose(["one"], stores, [Platform("linux", "s390x")])


def test_a_tag_that_looks_like_an_id_is_a_tag(stores: Stores) -> None:
    """The name goes into the archive, though it is also the beginning of the image's id."""
    fill(stores)
    name = ONE.id.hex[:6]
    stores.images.tag(ONE.id, Reference.parse(name))
    (chosen,) = save.choose([f"{name}:latest"], stores)
    assert [str(each.familiar) for each in chosen.references] == [f"{name}:latest"]
