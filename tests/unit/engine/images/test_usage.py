"""usage: what images take, alone and together."""

import io

import pytest

from corten.engine.images.load import load
from corten.engine.images.stores import Stores
from corten.engine.images.usage import Piece, Share, pieces, shares, sizes, trees
from corten.oci.digest import Digest
from corten.oci.platform import host
from tests.unit.engine.images.samples import Told, docker_archive, make

ONE = make([{"a": b"1"}])
TWO = make([{"a": b"1"}, {"b": b"2" * 9000}])


@pytest.fixture
def filled(stores: Stores) -> Stores:
    """Two images that share a layer."""
    load(io.BytesIO(docker_archive({"one": ONE, "two": TWO})), stores, host(), Told())
    return stores


def test_what_is_shared_is_counted_once_for_all(filled: Stores) -> None:
    """Size less what is shared, of all images, and the shared pieces once, are all that is stored."""
    images = filled.images.all()
    known = sizes({piece for image in images for piece in pieces(image)}, filled)
    found = shares(images, known)
    stored = sum(info.size for info in filled.content.walk())
    stored += sum(filled.snapshots.usage(each.key).bytes for each in filled.snapshots.walk())
    shared = found[ONE.id].shared
    assert found[TWO.id].shared == shared
    assert (
        sum(share.size - share.shared for share in found.values()) + shared == stored == sum(known.values())
    )


def test_recorded_sizes_are_those_on_disk(filled: Stores) -> None:
    """Trees have the size that they were recorded with."""
    images = filled.images.all()
    known = trees(images)
    assert known == sizes(known, filled)
    assert sum(known.values()) == max(image.size for image in images)


def test_what_is_missing_has_no_size(filled: Stores) -> None:
    """A piece that is not there is left out, and counts as nothing."""
    gone = Piece("blob", Digest.of(b"gone"))
    assert sizes([gone, Piece("tree", Digest.of(b"gone"))], filled) == {}
    assert shares(filled.images.all(), {})[ONE.id] == Share(0, 0)
