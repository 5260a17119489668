"""remove: names first, images with their last one, nothing that is in use."""

import io
from collections.abc import Sequence

import pytest

from corten.engine.images.load import load
from corten.engine.images.remove import Report, User, remove
from corten.engine.images.stores import Stores
from corten.errors import Conflict, NotFound
from corten.oci.digest import Digest
from corten.oci.platform import host
from corten.oci.reference import Reference
from tests.unit.engine.images.samples import Told, claimed, docker_archive, kept, make

ONE = make([{"etc/name": b"one"}])
TWO = make([{"etc/name": b"one"}, {"etc/more": b"two"}])
STOPPED, RUNNING = User("c" * 64, False), User("d" * 64, True)


@pytest.fixture
def filled(stores: Stores) -> Stores:
    """Two images that share a layer; the second has two names."""
    load(io.BytesIO(docker_archive({"one": ONE, "two:1,two:2": TWO})), stores, host(), Told())
    return stores


def without(name: str, stores: Stores, force: bool = False, users: Sequence[User] = ()) -> Report:
    """Remove while *users* were made from every image."""
    return remove(name, force, stores, lambda _: users)


def test_a_name_goes_alone_while_others_remain(filled: Stores) -> None:
    """The image stays as long as it has a name."""
    assert without("two:1", filled) == [{"Untagged": "two:1"}]
    assert filled.images.find("two:2").id == TWO.id


def test_the_image_goes_with_its_last_name(filled: Stores) -> None:
    """Image and layers are reported as Docker reports them; shared layers stay."""
    image = filled.images.find("two:1")
    without("two:1", filled)
    report = without("two:2", filled)
    assert report == [{"Untagged": "two:2"}, {"Deleted": image.id}, {"Deleted": image.chain_ids[1]}]
    assert kept(filled) == claimed(filled.images.find("one"))


def test_everything_goes_in_the_end(filled: Stores) -> None:
    """After the last image nothing is left on disk."""
    for name in ("one", "two:1", "two:2"):
        without(name, filled)
    assert kept(filled) == (set(), set())


@pytest.mark.parametrize("name", [str(TWO.id), TWO.id.hex, TWO.id.hex[:8]])
def test_an_id_takes_all_names_by_force(filled: Stores, name: str) -> None:
    """Several names in one repository need force, as Docker counts tags."""
    with pytest.raises(Conflict, match=r"must be forced\) - image is referenced in multiple repositories"):
        without(name, filled)
    report = without(name, filled, force=True)
    assert report[:3] == [{"Untagged": "two:1"}, {"Untagged": "two:2"}, {"Deleted": TWO.id}]


def test_an_id_with_one_name(filled: Stores) -> None:
    """A single name goes with the id without force."""
    assert without(ONE.id.hex[:8], filled)[:2] == [{"Untagged": "one:latest"}, {"Deleted": ONE.id}]
    assert kept(filled) == claimed(filled.images.get(TWO.id))


def test_digests_go_with_the_last_tag_of_their_repository(filled: Stores) -> None:
    """A name by digest does not keep an image when the tags beside it are gone."""
    digest = Digest.of(b"manifest")
    filled.images.tag(ONE.id, Reference.parse(f"one@{digest}"))
    report = without("one", filled)
    assert report[:3] == [{"Untagged": "one:latest"}, {"Untagged": f"one@{digest}"}, {"Deleted": ONE.id}]


def test_what_a_container_uses_keeps_its_last_name(filled: Stores) -> None:
    """Without force the last name of an image in use stays; one of several goes."""
    short = ONE.id.hex[:12]
    with pytest.raises(Conflict) as failure:
        without("one", filled, users=[STOPPED])
    assert str(failure.value) == (
        f'conflict: unable to remove repository reference "one" (must force) - container {"c" * 12} '
        f"is using its referenced image {short}"
    )
    assert without("two:1", filled, users=[RUNNING]) == [{"Untagged": "two:1"}]


def test_force_takes_the_name_of_a_running_container(filled: Stores) -> None:
    """The image itself stays, without a name."""
    assert without("one", filled, force=True, users=[RUNNING]) == [{"Untagged": "one:latest"}]
    assert filled.images.get(ONE.id).references == ()


def test_force_removes_the_image_of_a_stopped_container(filled: Stores) -> None:
    """The tree stays as long as the container builds on it, and goes with a later collect."""
    image = filled.images.find("one")
    filled.snapshots.prepare("container", image.chain_id)
    report = without("one", filled, force=True, users=[STOPPED])
    assert {"Deleted": ONE.id} in report
    assert image.chain_id in kept(filled)[1]


def test_a_running_container_forbids_removal_by_id(filled: Stores) -> None:
    """By id even force is refused while a container runs; a stopped one yields to force."""
    with pytest.raises(
        Conflict, match=rf"cannot be forced\) - image is being used by running container {'d' * 12}"
    ):
        without(ONE.id.hex, filled, force=True, users=[STOPPED, RUNNING])
    with pytest.raises(
        Conflict, match=rf"must be forced\) - image is being used by stopped container {'c' * 12}"
    ):
        without(ONE.id.hex, filled, users=[STOPPED])
    assert without(ONE.id.hex, filled, force=True, users=[STOPPED])


def test_nothing_of_that_name(filled: Stores) -> None:
    """What is not there is named with its tag."""
    with pytest.raises(NotFound, match="no such image: gone:latest"):
        without("gone", filled)


def test_collect_frees_what_no_image_claims(filled: Stores) -> None:
    """Blobs and trees of nobody go; those of images, and active snapshots, stay."""
    filled.write(b"nobody's")
    filled.snapshots.prepare("active")
    filled.snapshots.commit(Digest.of(b"tree"), "active")
    filled.snapshots.prepare("container", filled.images.find("one").chain_id)
    filled.collect()
    blobs, snapshots = kept(filled)
    assert (blobs, snapshots - {"container"}) == claimed(*filled.images.all())


def test_collect_keeps_all_when_records_were_lost(filled: Stores) -> None:
    """While it is known that records are missing, nothing is taken for unclaimed."""
    blob = filled.write(b"of an image whose record was damaged")
    filled.images.complete = False
    filled.collect()
    assert filled.content.exists(blob)


def test_a_tag_that_looks_like_an_id_is_a_tag(filled: Stores) -> None:
    """Only the name goes, though it is also the beginning of the image's id."""
    name = ONE.id.hex[:6]
    filled.images.tag(ONE.id, Reference.parse(name))
    assert without(name, filled) == [{"Untagged": f"{name}:latest"}]
    assert filled.images.find("one").id == ONE.id


def test_a_digest_that_is_no_name_cannot_go(filled: Stores) -> None:
    """An image is found by the digest of its manifest, but keeps all its names."""
    image = filled.images.find("one")
    name = f"one@{image.manifest}"
    with pytest.raises(NotFound):
        without(name, filled)
    filled.images.tag(image.id, Reference.parse(name))
    assert without(name, filled) == [{"Untagged": name}]
    assert filled.images.find("one").references == ("docker.io/library/one:latest",)
