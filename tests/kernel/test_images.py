"""Images on the real kernel: whiteouts, stacked layers and a whole Debian."""

import io
import os
import subprocess
from pathlib import Path

import pytest

from corten.engine.images import save
from corten.engine.images.load import load
from corten.engine.images.stores import Stores
from corten.linux.mounts import overlay
from corten.oci.platform import host
from tests.unit.engine.images.samples import Told, claimed, docker_archive, kept, make, open_stores

pytestmark = pytest.mark.root


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    """Empty stores on the disk."""
    return open_stores(str(tmp_path / "engine"))


def options(stores: Stores, key: str) -> dict[str, str]:
    """Return the options of the overlay mount that shows *key*."""
    (mount,) = stores.snapshots.mounts(key)
    return dict(option.partition("=")[::2] for option in mount.options)


def test_layers_stack_and_hide(stores: Stores) -> None:
    """What a container sees is the union of the layers, without what the upper ones removed."""
    layers = [
        {"keep": b"1", "gone": b"2", "folder/old": b"3"},
        {".wh.gone": b"", "folder/.wh..wh..opq": b"", "folder/new": b"4"},
    ]
    archive = docker_archive({"stack": make(layers)})
    (image,) = load(io.BytesIO(archive), stores, host(), Told())
    stores.snapshots.prepare("container", image.chain_id)
    given = options(stores, "container")
    root = overlay(given["lowerdir"].split(":"), given["upperdir"], given["workdir"])
    try:
        seen = f"/proc/self/fd/{root}"
        assert (sorted(os.listdir(seen)), os.listdir(f"{seen}/folder")) == (["folder", "keep"], ["new"])
    finally:
        os.close(root)


@pytest.mark.slow
def test_a_debian_image_keeps_every_bit(stores: Stores, debian_tar: Path, tmp_path: Path) -> None:
    """Load, save and load again: same id, same bytes, same tree; remove leaves nothing."""
    with debian_tar.open("rb") as stream:
        images = load(stream, stores, host(), Told())
    first = tmp_path / "first.tar"
    with first.open("wb") as out:
        out.writelines(save.archive(save.choose([str(image.id) for image in images], stores), stores))
    other = open_stores(str(tmp_path / "other"))
    with first.open("rb") as stream:
        again = load(stream, other, host(), Told())
    assert {image.id for image in again} == {image.id for image in images}
    assert kept(other) == claimed(*again)
    assert tree(other, again[0].chain_id) == tree(stores, images[0].chain_id)
    for image in again:
        other.images.remove(image.id)
    other.collect()
    assert kept(other) == (set(), set())


def tree(stores: Stores, name: str | None) -> list[tuple[str, ...]]:
    """Return names, kinds, modes, owners and times of a snapshot's folder."""
    assert name is not None
    top = stores.snapshots.info(name).directory
    listing = subprocess.run(
        ["find", top, "-printf", "%P %y %m %U %G %s %T@ %l\n"], capture_output=True, text=True, check=True
    )
    return sorted(tuple(line.split(" ")) for line in listing.stdout.splitlines() if " d " not in line)


@pytest.mark.slow
def test_import_agrees_with_gnu_tar(stores: Stores, debian_tar: Path, tmp_path: Path) -> None:
    """The unpacked tree is the one that GNU tar makes of the same layer."""
    with debian_tar.open("rb") as stream:
        (image, *_) = load(stream, stores, host(), Told())
    (layer,) = image.layers
    expected = tmp_path / "expected"
    expected.mkdir()
    with stores.content.open(layer) as file:
        subprocess.run(["tar", "-xpf", "-", "--numeric-owner", "-C", expected], stdin=file, check=True)
    assert image.chain_id is not None
    actual = stores.snapshots.info(image.chain_id).directory
    checked = subprocess.run(
        ["diff", "-rq", "--no-dereference", "-x", "dev", expected, actual],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.stdout == ""
