"""prune: what nothing uses goes, and what that frees is told."""

import asyncio
import io
from contextlib import suppress
from typing import Any

import pytest

from corten.engine.images.load import load
from corten.engine.images.prune import Pruning, prune
from corten.engine.images.remove import User
from corten.engine.images.stores import Stores
from corten.engine.images.usage import pieces, sizes
from corten.errors import InvalidInput
from corten.oci.digest import Digest
from corten.oci.platform import host
from tests.unit.engine.images.samples import Told, claimed, docker_archive, kept, make

OLD = make([{"a": b"1"}], created="2020-01-01T00:00:00Z")
NEW = make([{"a": b"1"}, {"b": b"2" * 9000}], created="2024-01-01T00:00:00Z")
BARE = make([{"c": b"3"}], created="2022-01-01T00:00:00Z", config={"Labels": {"keep": "yes"}})


@pytest.fixture
def filled(stores: Stores) -> Stores:
    """Two images that share a layer, one of them with two names, and one without a name."""
    load(io.BytesIO(docker_archive({"old:1": OLD, "new:1,other:2": NEW, "": BARE})), stores, host(), Told())
    return stores


def nobody(_: Digest) -> list[User]:
    """Return no container."""
    return []


def left(stores: Stores) -> set[str]:
    """Return the ids of the images that are there."""
    return {str(image.id) for image in stores.images.all()}


def test_dangling_images_go(filled: Stores) -> None:
    """Unless told otherwise only images without a tag go, with what they alone have."""
    bare = filled.images.get(BARE.id)
    size = sum(sizes(pieces(bare), filled).values())
    ((image, report),), freed = prune({}, filled, nobody)
    assert image == bare
    assert report == [{"Deleted": BARE.id}, {"Deleted": bare.chain_ids[0]}]
    assert freed == size > 0
    assert left(filled) == {str(OLD.id), str(NEW.id)}


def test_all_unused_images_go(filled: Stores) -> None:
    """With ``dangling=false`` tags do not protect, but containers do, running or not."""

    def users(image: Digest) -> list[User]:
        return [User("c" * 64, running=False)] if image == OLD.id else []

    removed, _ = prune({"dangling": ["false"]}, filled, users)
    told = [entry for _, report in removed for entry in report]
    assert {"Untagged": "new:1"} in told
    assert {"Untagged": "other:2"} in told
    assert left(filled) == {str(OLD.id)}
    assert kept(filled) == claimed(filled.images.get(OLD.id))


def test_shared_layers_are_not_freed(filled: Stores) -> None:
    """What an image that stays has, too, is not counted."""
    new = filled.images.get(NEW.id)
    own = pieces(new) - pieces(filled.images.get(OLD.id))
    size = sum(sizes(own, filled).values())
    _, freed = prune({"dangling": ["false"], "label!": ["keep"], "until": ["24h"]}, filled, only(OLD.id))
    assert freed == size


def only(used: Digest) -> Any:
    """Return who says that a container uses the image *used*."""
    return lambda image: [User("c" * 64, running=True)] if image == used else []


@pytest.mark.parametrize(
    ("filters", "gone"),
    [
        ({"dangling": ["0"], "until": ["2021-01-01"]}, OLD),
        ({"dangling": ["false"], "label": ["keep"]}, BARE),
        ({"label!": ["keep"]}, None),
        ({"until": ["2021-01-01"]}, None),
    ],
)
def test_filters(filled: Stores, filters: dict[str, list[str]], gone: Any) -> None:
    """Age and labels choose among what may go."""
    prune(filters, filled, nobody)
    assert left(filled) == {str(each.id) for each in (OLD, NEW, BARE) if each is not gone}


@pytest.mark.parametrize("filters", [{"name": ["x"]}, {"until": ["soon"]}])
def test_malformed_filters_are_refused(filled: Stores, filters: dict[str, list[str]]) -> None:
    """Nothing goes when a filter is not understood."""
    with pytest.raises(InvalidInput, match="invalid filter"):
        prune(filters, filled, nobody)
    assert len(left(filled)) == 3


def test_downloads_that_were_broken_off_go(filled: Stores) -> None:
    """What has come of them is freed, unless filters choose among images."""
    data = b"x" * 5000
    with suppress(ConnectionError), filled.content.ingest(Digest.of(data), 5000, resume=True) as ingest:
        ingest.write(data[:4000])
        raise ConnectionError
    prune({"until": ["1h"]}, filled, only(BARE.id))
    assert [info.size for info in filled.content.partials.walk()] == [4000]
    _, freed = prune({}, filled, only(BARE.id))
    assert freed == 4000
    assert list(filled.content.partials.walk()) == []


def test_what_went_is_told_as_events(filled: Stores) -> None:
    """One event for each name and image, and one for the whole."""
    told: list[Any] = []
    pruning = Pruning(filled, nobody, lambda *event: told.append(event))
    report, freed = asyncio.run(pruning.prune({}))
    assert report[0] == {"Deleted": BARE.id}
    assert told == [
        ("image", "delete", BARE.id, {"name": BARE.id}),
        ("image", "prune", "", {"reclaimed": str(freed)}),
    ]
