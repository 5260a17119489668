"""usage: the sums of a look at the disk, in Docker's members and our own."""

import io
from collections import Counter

import pytest
from msgspec.structs import replace

from corten.engine.containers.status import Status
from corten.engine.disk import Disk
from corten.engine.images.load import load
from corten.engine.images.stores import Stores
from corten.engine.records.container import Container, MountPoint
from corten.engine.records.volume import Volume
from corten.engine.usage import report
from corten.oci.digest import Digest
from corten.oci.platform import host
from tests.unit.engine.containers.test_status import container
from tests.unit.engine.images.conftest import folder, stores
from tests.unit.engine.images.samples import Told, docker_archive, make

__all__ = ["folder", "stores"]

ONE = make([{"a": b"1"}], created="2020-01-01T00:00:00Z")
TWO = make([{"a": b"1"}, {"b": b"2"}], created="2024-01-01T00:00:00Z")
OLD_LAYER = Digest.of(b"of a removed image")
FILES = Counter({"c1": 4})
DATA = Counter({"used": 1000, "idle": 2000})
VOLUMES = [
    Volume(name=name, created="2026-01-01T00:00:00Z", mountpoint=f"/{name}")
    for name in ("idle", "mounted", "used")
]


@pytest.fixture
def filled(stores: Stores) -> Stores:
    """Two images that share a layer."""
    load(io.BytesIO(docker_archive({"one": ONE, "two": TWO})), stores, host(), Told())
    return stores


def user(identifier: str, image: Digest, status: Status) -> Container:
    """Return a container of *image*."""
    return replace(container(status), id=identifier, image_id=str(image))


def disk(stores: Stores) -> Disk:
    """Return a disk on which each piece has a size of its own: a shared one hundreds, others tens."""
    one, two = stores.images.get(ONE.id), stores.images.get(TWO.id)
    blobs = Counter(dict.fromkeys(one.blobs | two.blobs, 10))
    blobs[one.layers[0]] = 100
    trees = Counter(
        {str(two.chain_ids[0]): 200, str(two.chain_ids[1]): 20, "c1": 7, "c2": 5, str(OLD_LAYER): 3}
    )
    return Disk(blobs, trees, FILES, DATA, kept=15, partial=11, trash=12, registry=14, engine=13)


USED = MountPoint(type="volume", source="/used", destination="/data", name="used")
FOLDER = MountPoint(type="bind", source="/idle", destination="/idle", name="idle")
CONTAINERS = [
    replace(user("c1", ONE.id, Status.RUNNING), mounts=(USED, replace(USED, destination="/again"), FOLDER)),
    replace(user("c2", ONE.id, Status.EXITED), mounts=(USED,)),
]


def test_images(filled: Stores) -> None:
    """What is shared is in each size and once in the sum; what no used image needs can be had back."""
    found = report(disk(filled), filled.images, CONTAINERS, VOLUMES, ())
    two, one = found["Images"]
    assert (one["Id"], one["Size"], one["SharedSize"], one["Containers"]) == (ONE.id, 320, 300, 2)
    assert (two["Id"], two["Size"], two["SharedSize"], two["Containers"]) == (TWO.id, 350, 300, 0)
    assert found["LayersSize"] == 370
    assert found["ImageUsage"] == {"ActiveCount": 1, "TotalCount": 2, "Reclaimable": 50, "TotalSize": 370}


def test_containers(filled: Stores) -> None:
    """The writable layers, of which those of what does not run can be had back."""
    found = report(disk(filled), filled.images, CONTAINERS, VOLUMES, ())
    assert [(row["Id"], row["SizeRw"]) for row in found["Containers"]] == [("c1", 7), ("c2", 5)]
    assert found["Containers"][0]["SizeRootFs"] == 7 + filled.images.get(ONE.id).size
    assert found["ContainerUsage"] == {"ActiveCount": 1, "TotalCount": 2, "Reclaimable": 5, "TotalSize": 12}


def test_volumes(filled: Stores) -> None:
    """Each with the containers that have it, running or not; what none has can be had back."""
    found = report(disk(filled), filled.images, CONTAINERS, VOLUMES, ())
    assert found["Volumes"] == [
        {"Name": "idle", "Size": 2000, "RefCount": 0},
        {"Name": "mounted", "Size": -1, "RefCount": 0},
        {"Name": "used", "Size": 1000, "RefCount": 2},
    ]
    sums = {"ActiveCount": 1, "TotalCount": 3, "Reclaimable": 2000, "TotalSize": 3000}
    assert found["VolumeUsage"] == sums


def test_all_adds_up(filled: Stores) -> None:
    """Images, containers, volumes and what Docker has no member for are the whole state folder."""
    found = report(disk(filled), filled.images, CONTAINERS, VOLUMES, ())
    rest = found["Corten"]
    assert rest == {
        "ContainerFiles": 4,
        "RemovedImages": 3,
        "VolumeSnapshots": 15,
        "Partial": 11,
        "Trash": 12,
        "Registry": 14,
        "Engine": 13,
        "Total": 370 + 12 + 3000 + 4 + 3 + 15 + 11 + 12 + 14 + 13,
    }
    assert rest["Total"] == disk(filled).total


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("image", {"LayersSize", "Images", "ImageUsage"}),
        ("container", {"Containers", "ContainerUsage"}),
        ("volume", {"Volumes", "VolumeUsage"}),
        ("build-cache", {"BuildCache", "BuilderSize", "BuildCacheUsage"}),
    ],
)
def test_some_kinds_alone(filled: Stores, kind: str, members: set[str]) -> None:
    """Nothing else is in the answer then."""
    assert set(report(disk(filled), filled.images, CONTAINERS, VOLUMES, [kind])) == members
