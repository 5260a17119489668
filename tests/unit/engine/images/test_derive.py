"""derive: an image and one layer more."""

import asyncio
import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from corten.engine.images import show
from corten.engine.images.derive import Deriving, Step, derive
from corten.engine.images.load import load
from corten.engine.images.remove import User, remove
from corten.engine.images.stores import Stores
from corten.engine.records.images import Image
from corten.errors import InvalidInput
from corten.oci.image import Defaults
from corten.oci.platform import host
from corten.oci.reference import Reference
from tests.unit.engine.images.samples import Layout, Told, claimed, kept, make, read, tar

BASE = make([{"etc/name": b"base"}], author="first")
STEP = Step(defaults=Defaults(cmd=("run",)), created_by="sh -c make", author="second", comment="why")


@pytest.fixture
def base(stores: Stores) -> Image:
    """An image with one compressed layer, named base."""
    layout = Layout()
    name = {"io.containerd.image.name": "docker.io/library/base:latest"}
    layout.entries.append(layout.manifest(BASE, annotations=name))
    (image,) = load(io.BytesIO(layout.tar()), stores, host(), Told())
    return image


def writing(data: bytes) -> Callable[[Callable[[bytes], object]], None]:
    """Return what writes *data* in two pieces."""

    def write(out: Callable[[bytes], object]) -> None:
        out(data[:100])
        out(data[100:])

    return write


def made(base: Image, stores: Stores, data: bytes, name: str = "new:1") -> Image:
    """Derive an image from *base*."""
    return derive(base, STEP, writing(data), [Reference.parse(name)], stores)


def nobody(_: object) -> list[User]:
    """Return no container."""
    return []


def test_the_new_image_shares_its_parents_layers(base: Image, stores: Stores) -> None:
    """Blobs and trees of the parent are the new image's; only the layer on top is stored."""
    layer = tar({"etc/more": b"more"})
    image = made(base, stores, layer)
    assert image.layers[0] == base.layers[0]
    assert image.chain_ids[0] == base.chain_id
    assert read(stores, image, "etc/more") == b"more"
    assert kept(stores) == claimed(base, image)
    assert stores.images.find("new:1").id == image.id


def test_the_configuration_says_what_was_done(base: Image, stores: Stores) -> None:
    """Defaults, author and history are those of the step, on top of the parent's history."""
    image = made(base, stores, tar({"a": b"1"}))
    fields = stores.config(image.id).fields
    assert (fields.author, fields.config) == ("second", Defaults(cmd=("run",)))
    entry = (fields.history or ())[-1]
    assert [each.created_by for each in fields.history or ()] == ["step 0", "sh -c make"]
    assert (entry.author, entry.comment, entry.empty_layer) == ("second", "why", None)
    assert fields.created == entry.created


def test_the_same_layer_is_stored_once(base: Image, stores: Stores) -> None:
    """Equal changes give equal layers, also at another time."""
    layer = tar({"a": b"1"})
    first, second = made(base, stores, layer), made(base, stores, layer, "new:2")
    assert first.layers == second.layers


def test_no_change_is_no_layer(base: Image, stores: Stores) -> None:
    """An empty tar adds a step without a layer."""
    image = made(base, stores, bytes(1024))
    assert (image.layers, image.diff_ids) == (base.layers, base.diff_ids)
    assert (stores.config(image.id).fields.history or ())[-1].empty_layer is True
    assert image.id != base.id


def test_a_layer_that_cannot_be_written_leaves_nothing(base: Image, stores: Stores) -> None:
    """A failure in the middle of the layer leaves the stores as they were."""
    before = kept(stores)

    def fail(out: Callable[[bytes], object]) -> None:
        out(b"half of it")
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        derive(base, STEP, fail, [], stores)
    assert kept(stores) == before


def test_parents_are_told(base: Image, stores: Stores) -> None:
    """List, inspect and history know what an image was made from, as long as that is here."""
    image = made(base, stores, tar({"a": b"1"}))
    rows = show.history(image, stores)
    assert show.inspected(image, stores, nobody)["Parent"] == base.id
    assert show.summary(image, stores.images)["ParentId"] == base.id
    assert [(row["Id"], row["Tags"]) for row in rows] == [(image.id, ["new:1"]), (base.id, ["base:latest"])]
    remove("base", False, stores, nobody)
    assert show.inspected(image, stores, nobody)["Parent"] == ""
    assert [row["Id"] for row in show.history(image, stores)] == [image.id, "<missing>"]


def test_parents_without_a_name_are_hidden_and_go_with_the_last_child(base: Image, stores: Stores) -> None:
    """As in Docker: they are in the list where all are asked for, and nobody has to remove them."""
    middle = derive(base, STEP, writing(tar({"a": b"1"})), [], stores)
    made(middle, stores, tar({"b": b"2"}))
    assert len(show.listed({}, stores, nobody)) == 3
    assert len(show.listed({}, stores, nobody, all_images=False)) == 2
    report = remove("new:1", False, stores, nobody)
    assert {"Deleted": middle.id} in report
    assert kept(stores) == claimed(base)


def test_parents_stay_where_that_is_wanted(base: Image, stores: Stores) -> None:
    """With *noprune* the parent without a name stays, and so it does while another child needs it."""
    middle = derive(base, STEP, writing(tar({"a": b"1"})), [], stores)
    for name in ("new:1", "new:2"):
        made(middle, stores, tar({name: b"2"}), name)
    remove("new:1", False, stores, nobody)
    assert stores.images.get(middle.id)
    remove("new:2", False, stores, nobody, noprune=True)
    assert stores.images.get(middle.id)


def test_a_new_name_is_an_event(base: Image, stores: Stores) -> None:
    """Who listens for images hears of the name; one with a digest is refused before anything is written."""
    told: list[Any] = []
    deriving = Deriving(stores, lambda *event: told.append(event))
    image = asyncio.run(deriving.derive(base, STEP, writing(tar({"a": b"1"})), "new"))
    assert told == [("image", "tag", image.id, {"name": "new:latest"})]
    unread: Any = SimpleNamespace()
    with pytest.raises(InvalidInput, match="digest"):
        asyncio.run(deriving.derive(base, STEP, unread, f"new@{image.id}"))
