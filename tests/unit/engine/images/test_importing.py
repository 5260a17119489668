"""import: a tree in a tar becomes an image."""

import gzip
import io

import pytest

from corten.engine.images import importing
from corten.engine.images.stores import Stores
from corten.errors import DataCorrupted, InvalidInput
from corten.oci.digest import Digest
from corten.oci.platform import Platform
from corten.oci.reference import Reference
from tests.unit.engine.images.samples import Told, claimed, kept, read, tar

TREE = tar({"etc/name": b"tree"})
ORIGIN = importing.Origin(
    platform=Platform("linux", "arm64", "v8"), created="2024-01-01T00:00:00Z", comment="why"
)


def test_the_tree_is_the_only_layer(stores: Stores) -> None:
    """The image holds the tree, its words, and one step of history."""
    told = Told()
    origin = importing.Origin(platform=ORIGIN.platform, defaults=importing.changed(["CMD sh"]), comment="why")
    image = importing.import_tree(io.BytesIO(TREE), [Reference.parse("tree")], origin, stores, told)
    config = stores.config(image.id)
    assert image.references == ("docker.io/library/tree:latest",)
    assert image.diff_ids == (Digest.of(TREE),)
    assert read(stores, image, "etc/name") == b"tree"
    assert config.defaults.cmd == ("/bin/sh", "-c", "sh")
    assert config.fields.architecture == "arm64"
    assert [step.comment for step in config.fields.history or ()] == ["why"]
    assert kept(stores) == claimed(image)
    assert told.messages[-1]["progressDetail"] == {"current": len(TREE), "total": len(TREE)}


def test_a_compressed_tree_stays_compressed(stores: Stores) -> None:
    """The bytes are stored as they came, the diff id names what is in them."""
    packed = gzip.compress(TREE)
    image = importing.import_tree(io.BytesIO(packed), [], ORIGIN, stores, Told())
    (layer,) = stores.manifest(image.manifest).fields.layers
    assert (layer.digest, layer.media_type.rpartition("+")[2]) == (Digest.of(packed), "gzip")
    assert image.diff_ids == (Digest.of(TREE),)


def test_the_same_tree_gives_the_same_image(stores: Stores) -> None:
    """With a given time the id depends on the tree and the words alone."""
    first = importing.import_tree(io.BytesIO(TREE), [], ORIGIN, stores, Told())
    second = importing.import_tree(io.BytesIO(TREE), [], ORIGIN, stores, Told())
    assert (first.id, first.manifest) == (second.id, second.manifest)
    assert kept(stores) == claimed(first)


def test_what_is_no_tree_leaves_nothing(stores: Stores) -> None:
    """Bytes that are no tar are refused and freed."""
    with pytest.raises(DataCorrupted):
        importing.import_tree(io.BytesIO(b"x" * 4096), [], ORIGIN, stores, Told())
    assert kept(stores) == (set(), set())


def test_xz_is_refused(stores: Stores) -> None:
    """A compression that no image may use is refused, not stored."""
    import lzma

    with pytest.raises(InvalidInput, match="xz"):
        importing.import_tree(io.BytesIO(lzma.compress(TREE)), [], ORIGIN, stores, Told())
    assert stores.images.all() == []
