"""What of an archive is taken when a platform is asked for."""

import io
import json

import pytest

from corten.engine.images.load import load
from corten.engine.images.stores import Stores
from corten.errors import InvalidInput
from corten.oci.platform import Platform, host
from tests.unit.engine.images.samples import Layout, Made, Told, claimed, docker_archive, kept, make

OWN = make([{"a": b"own"}])
FOREIGN = make([{"a": b"foreign"}], architecture="s390x")
MAINFRAME = Platform("linux", "s390x")
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.mark.parametrize(("platform", "expected"), [(MAINFRAME, FOREIGN), (host(), OWN)])
def test_only_what_was_asked_for(stores: Stores, platform: Platform, expected: Made) -> None:
    """Images for other platforms are left out, with all that they have; unasked, all are taken."""
    archive = docker_archive({"own": OWN, "foreign": FOREIGN})
    loaded = load(io.BytesIO(archive), stores, platform, Told(), only=True)
    assert [image.id for image in loaded] == [expected.id]
    assert kept(stores) == claimed(*loaded)
    assert len(load(io.BytesIO(archive), stores, platform, Told())) == 2


def test_an_archive_for_others_alone_is_refused(stores: Stores) -> None:
    """The message names the platform, and nothing stays."""
    archive = docker_archive({"own": OWN})
    with pytest.raises(InvalidInput, match="no image for linux/s390x"):
        load(io.BytesIO(archive), stores, MAINFRAME, Told(), only=True)
    assert kept(stores) == (set(), set())


def test_the_choice_in_an_index(stores: Stores) -> None:
    """Of one image for several platforms that for the platform asked for is taken."""
    layout = Layout()
    entries = [
        layout.manifest(made, platform={"os": "linux", "architecture": architecture})
        for made, architecture in ((OWN, host().architecture), (FOREIGN, "s390x"))
    ]
    body = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    name = {"io.containerd.image.name": "docker.io/library/both:1"}
    layout.entries.append(layout.blob(body, INDEX, annotations=name))
    (image,) = load(io.BytesIO(layout.tar()), stores, MAINFRAME, Told(), only=True)
    assert (image.id, image.references) == (FOREIGN.id, ("docker.io/library/both:1",))
