"""Retiring: rules carried out on real records."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from corten.errors import NotFound
from corten.oci.descriptor import OCI_CONFIG, Descriptor
from corten.oci.digest import Digest
from corten.oci.image import Index, Manifest
from corten.serve.registry import manifests
from corten.serve.registry.registry import Registry, open_registry
from corten.serve.registry.retention import Plan, Retention, RetentionRule
from corten.serve.registry.retire import retire
from corten.serve.registry.shelves import Terms
from corten.serve.registry.storage.folder import FolderStorage

DAY = 86400.0


class Clock:
    """A time that tests set."""

    now = 1000 * DAY

    def __call__(self) -> float:
        """Return the time set."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock of its own."""
    return Clock()


@pytest.fixture
def registry(tmp_path: Path, clock: Clock) -> Iterator[Registry]:
    """An empty registry that keeps what clients rely on for an hour."""
    storage = FolderStorage(tmp_path / "data")
    opened = open_registry(storage, tmp_path / "registry.db", Terms(grace=3600.0), clock)
    yield opened
    opened.close()
    storage.close()


def push(registry: Registry, repository: str, tag: str, text: str) -> Digest:
    """Push a manifest that differs by *text*; an empty tag gives it none."""
    config = Descriptor(media_type=OCI_CONFIG, digest=Digest.of(text.encode()), size=1)
    checked = manifests.check(Manifest.make(config, ()).raw, "")
    registry.pushes.put(repository, checked, tag, complete=False)
    return checked.digest


def test_removes_tags_and_then_manifests(registry: Registry, clock: Clock) -> None:
    """Old tags go, and manifests that nothing needs; a dry run says the same and changes nothing."""
    for number in range(4):
        push(registry, "team/app", f"v{number}", f"image {number}")
        clock.now += DAY
    push(registry, "other", "v0", "image 0")
    clock.now += 10 * DAY
    rules = Retention([RetentionRule(repositories=("team/*",), keep_last=2, delete_untagged_after="2d")])

    planned = retire(registry.shelves, rules, dry_run=True)
    assert registry.pulls.tags("team/app", "", 10) == ["v0", "v1", "v2", "v3"]
    assert retire(registry.shelves, rules) == planned
    assert [plan.tags for plan in planned] == [("v0", "v1")]
    assert len(planned[0].manifests) == 2
    assert registry.pulls.tags("team/app", "", 10) == ["v2", "v3"]
    for digest in planned[0].manifests:
        with pytest.raises(NotFound):
            registry.pulls.manifest("team/app", digest)
    assert registry.pulls.tags("other", "", 10) == ["v0"]
    assert retire(registry.shelves, rules) == []


def test_an_index_keeps_its_parts(registry: Registry, clock: Clock) -> None:
    """Parts of a tagged index stay without a tag of their own, and go with it."""
    part = push(registry, "r", "", "part")
    held = registry.pulls.manifest("r", part)
    index = Index.make([Descriptor(media_type=held.media_type, digest=part, size=len(held.raw))])
    registry.pushes.put("r", manifests.check(index.raw, ""), "multi", complete=False)
    clock.now += 10 * DAY
    rules = Retention([RetentionRule(delete_untagged_after="1d")])
    assert retire(registry.shelves, rules) == []
    registry.pushes.delete_tag("r", "multi")
    assert retire(registry.shelves, rules) == [Plan("r", (), (index.digest, part))]


def test_what_a_client_relies_on_stays(registry: Registry, clock: Clock) -> None:
    """A manifest under a lease counts as young."""
    digest = push(registry, "r", "", "x")
    clock.now += 10 * DAY
    registry.pulls.manifest("r", digest, promise=True)
    rules = Retention([RetentionRule(delete_untagged_after="0s")])
    clock.now += 60
    assert retire(registry.shelves, Retention([RetentionRule(delete_untagged_after="1d")])) == []
    clock.now += 7200
    assert [plan.manifests for plan in retire(registry.shelves, rules)] == [(digest,)]
