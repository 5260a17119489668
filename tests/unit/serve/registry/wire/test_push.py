"""Manifests and tags are put and deleted."""

import json
from pathlib import Path

import pytest

from corten.oci.descriptor import DOCKER_MANIFEST, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from corten.oci.digest import Digest
from corten.serve.registry.app import Config
from corten.serve.registry.wire.call import Limits
from tests.unit.serve.registry.live import Live, descriptor, index, manifest, served

CONFIG, LAYER = b'{"architecture": "amd64", "os": "linux"}', b"layer"


@pytest.fixture
def pushed(live: Live) -> Live:
    """A registry that holds the blobs of an image, but no manifest."""
    for blob in (CONFIG, LAYER):
        live.push_blob("a", blob)
    return live


def test_a_push_tells_where_it_is(pushed: Live) -> None:
    """Location and digest of a manifest that was put lead to it."""
    raw = manifest(CONFIG, LAYER)
    answer = pushed.put_manifest("a", "v1", raw)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, Digest.of(raw))
    assert "OCI-Subject" not in answer.headers
    assert pushed.call("GET", answer.headers["Location"]).body == raw


def test_the_digest_in_the_path_counts(pushed: Live) -> None:
    """Bytes with another digest than the path names are refused."""
    answer = pushed.put_manifest("a", Digest.of(b"other"), manifest(CONFIG, LAYER))
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_tags_have_a_grammar(pushed: Live) -> None:
    """What is no tag is refused."""
    for tag in (".x", "-x", "a" * 129, "a%20b"):
        answer = pushed.put_manifest("a", tag, manifest(CONFIG, LAYER))
        assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")


@pytest.mark.parametrize(
    ("media_type", "more"),
    [
        (OCI_INDEX, {}),
        (DOCKER_MANIFEST, {}),
        (OCI_MANIFEST, {"manifests": []}),
        (OCI_MANIFEST, {"mediaType": OCI_INDEX}),
        (OCI_MANIFEST, {"layers": None}),
        (OCI_MANIFEST, {"config": None}),
        (OCI_MANIFEST, {"schemaVersion": 1}),
        (OCI_MANIFEST, {"layers": [descriptor(LAYER, OCI_LAYER, size=-1)]}),
        (OCI_MANIFEST, {"layers": [descriptor(LAYER, OCI_LAYER, size=4)]}),
        (OCI_MANIFEST, {"layers": [{"digest": "sha256:../../x", "size": 1}]}),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", {"mediaType": ""}),
        ("text/plain", {"mediaType": ""}),
    ],
)
def test_confusing_manifests_are_refused(pushed: Live, media_type: str, more: dict[str, object]) -> None:
    """Type, shape and sizes must agree, and nothing of a refused manifest stays."""
    answer = pushed.put_manifest("a", "v1", manifest(CONFIG, LAYER, **more), media_type)
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID"), answer.body
    assert pushed.get_manifest("a", "v1").status == 404
    assert len(pushed.blobs()) == 2


@pytest.mark.parametrize("raw", [b"", b"{", b"null", b"[]", b'{"mediaType": 5}', b"\xff", b"[" * 100_000])
def test_what_is_no_manifest_is_refused(pushed: Live, raw: bytes) -> None:
    """Broken, empty and deep documents are answered, not crashed upon."""
    answer = pushed.put_manifest("a", "v1", raw, OCI_MANIFEST)
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")


def test_the_media_type_may_have_parameters_or_be_left_out(pushed: Live) -> None:
    """Parameters of the header are ignored; without a header the document says what it is."""
    raw = manifest(CONFIG, LAYER)
    assert pushed.put_manifest("a", "v1", raw, f"{OCI_MANIFEST}; charset=utf-8").status == 201
    bare = manifest(CONFIG, LAYER, mediaType="")
    assert pushed.call("PUT", "/v2/a/manifests/v2", bare).status == 201
    assert pushed.get_manifest("a", "v2").headers["Content-Type"] == OCI_MANIFEST


def test_all_that_is_referred_to_must_be_there(pushed: Live) -> None:
    """A manifest with a missing layer, or an index with a missing manifest, is refused by name."""
    missing = Digest.of(b"missing")
    for raw in (manifest(CONFIG, LAYER, b"missing"), manifest(b"missing"), index(b"missing")):
        answer = pushed.put_manifest("a", "v1", raw)
        assert (answer.status, answer.code) == (404, "MANIFEST_BLOB_UNKNOWN")
        assert answer.json()["errors"][0]["detail"] == {"digests": [missing]}


def test_blobs_of_other_repositories_do_not_count(pushed: Live) -> None:
    """Knowing a digest gives no right to it: it must be pushed or mounted first."""
    answer = pushed.put_manifest("b", "v1", manifest(CONFIG, LAYER))
    assert answer.code == "MANIFEST_BLOB_UNKNOWN"


def test_foreign_layers_may_be_elsewhere(pushed: Live) -> None:
    """A layer with addresses of its own, or that may not be distributed, need not be here."""
    for more in (
        {"urls": ["https://example.com/x"]},
        {"mediaType": f"{OCI_LAYER}".replace("layer", "layer.nondistributable")},
    ):
        far = descriptor(b"far", OCI_LAYER) | more
        assert pushed.put_manifest("a", "v1", manifest(CONFIG, layers=[far])).status == 201


def test_a_subject_may_come_later(pushed: Live) -> None:
    """The subject need not exist; the header says that it was understood."""
    image = manifest(CONFIG, LAYER)
    raw = manifest(CONFIG, subject=descriptor(image, OCI_MANIFEST))
    answer = pushed.put_manifest("a", "sig", raw)
    assert (answer.status, answer.headers["OCI-Subject"]) == (201, Digest.of(image))


@pytest.mark.slow
def test_too_large_manifests_are_refused(tmp_path: Path) -> None:
    """More than the limit gives 413, told in advance or found on the way; four mebibytes are fine."""
    with served(tmp_path / "r", config=Config(port=0, limits=Limits(manifest=5 << 20))) as live:
        live.push_blob("a", CONFIG)
        fine = manifest(CONFIG, annotations={"x": "y" * (4 << 20)})
        assert live.put_manifest("a", "fine", fine).status == 201
        large = manifest(CONFIG, annotations={"x": "y" * (6 << 20)})
        answer = live.put_manifest("a", "large", large)
        assert (answer.status, answer.code) == (413, "SIZE_INVALID")


def test_too_large_manifests_of_unknown_size_are_refused(tmp_path: Path) -> None:
    """A limit holds for bodies that come in chunks."""
    with served(tmp_path / "r", config=Config(port=0, limits=Limits(manifest=100))) as live:
        connection = live._connection
        connection.request("PUT", "/v2/a/manifests/x", iter([b"x" * 200]), {"Content-Type": OCI_MANIFEST})
        assert connection.getresponse().status == 413


def test_a_tag_moves(pushed: Live) -> None:
    """Putting a tag again points it to the new manifest; the old one stays by its digest."""
    first, second = manifest(CONFIG, LAYER), manifest(CONFIG)
    for raw in (first, second):
        assert pushed.put_manifest("a", "v1", raw).status == 201
    assert pushed.get_manifest("a", "v1").body == second
    assert pushed.get_manifest("a", Digest.of(first)).body == first


def test_conditions_guard_tags(pushed: Live) -> None:
    """If-Match and If-None-Match keep two clients from overwriting each other's tag."""
    first, second = manifest(CONFIG, LAYER), manifest(CONFIG)
    assert pushed.put_manifest("a", "v1", first, **{"If-Match": f'"{Digest.of(second)}"'}).status == 412
    assert pushed.put_manifest("a", "v1", first, **{"If-None-Match": "*"}).status == 201
    assert pushed.put_manifest("a", "v1", second, **{"If-None-Match": "*"}).status == 412
    assert pushed.put_manifest("a", "v1", second, **{"If-Match": f'"{Digest.of(first)}"'}).status == 201
    assert pushed.put_manifest("a", "v1", first, **{"If-Match": f'"{Digest.of(first)}"'}).status == 412
    assert pushed.get_manifest("a", "v1").body == second


def test_deleting_a_tag_leaves_the_manifest(pushed: Live) -> None:
    """The tag is gone, others and the manifest stay; twice gives 404."""
    raw = manifest(CONFIG, LAYER)
    for tag in ("v1", "v2"):
        pushed.put_manifest("a", tag, raw)
    assert pushed.call("DELETE", "/v2/a/manifests/v1").status == 202
    assert pushed.get_manifest("a", "v1").status == 404
    assert pushed.get_manifest("a", "v2").body == raw
    assert pushed.get_manifest("a", Digest.of(raw)).body == raw
    assert pushed.call("DELETE", "/v2/a/manifests/v1").code == "MANIFEST_UNKNOWN"


def test_deleting_a_manifest_takes_its_tags(pushed: Live) -> None:
    """Manifest and tags are gone at once; in other repositories they stay."""
    raw = pushed.push_image("b", "v1", LAYER)
    pushed.push_image("c", "v1", LAYER)
    assert pushed.call("DELETE", f"/v2/b/manifests/{Digest.of(raw)}").status == 202
    assert pushed.get_manifest("b", "v1").status == 404
    assert pushed.get_manifest("b", Digest.of(raw)).status == 404
    assert pushed.call("GET", "/v2/b/tags/list").json()["tags"] == []
    assert pushed.get_manifest("c", "v1").body == raw
    assert pushed.call("DELETE", f"/v2/b/manifests/{Digest.of(raw)}").code == "MANIFEST_UNKNOWN"
    assert pushed.call("DELETE", f"/v2/none/manifests/{Digest.of(raw)}").status == 404


def test_a_referrer_is_no_more_listed_when_it_is_deleted(pushed: Live) -> None:
    """Deleting a manifest with a subject takes it off the list."""
    image = manifest(CONFIG, LAYER)
    raw = manifest(CONFIG, subject=descriptor(image, OCI_MANIFEST))
    pushed.put_manifest("a", Digest.of(raw), raw)
    assert pushed.call("DELETE", f"/v2/a/manifests/{Digest.of(raw)}").status == 202
    assert pushed.call("GET", f"/v2/a/referrers/{Digest.of(image)}").json()["manifests"] == []


def test_what_is_part_of_something_is_not_deleted(pushed: Live) -> None:
    """Children of an index and blobs of a manifest go after it, in that order."""
    child = manifest(CONFIG, LAYER)
    pushed.put_manifest("a", Digest.of(child), child)
    parent = index(child)
    pushed.put_manifest("a", "multi", parent)
    steps = [f"manifests/{Digest.of(parent)}", f"manifests/{Digest.of(child)}", f"blobs/{Digest.of(LAYER)}"]
    for number, step in enumerate(steps):
        for later in steps[number + 1 :]:
            answer = pushed.call("DELETE", f"/v2/a/{later}")
            assert (answer.status, answer.code) == (405, "UNSUPPORTED")
        assert pushed.call("DELETE", f"/v2/a/{step}").status == 202


def test_deleting_a_blob(pushed: Live) -> None:
    """A blob that nothing refers to is gone from its repository alone."""
    digest = Digest.of(LAYER)
    pushed.push_blob("b", LAYER)
    answer = pushed.call("DELETE", f"/v2/a/blobs/{digest}")
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (202, digest)
    assert pushed.get_blob("a", digest).status == 404
    assert pushed.get_blob("b", digest).body == LAYER
    assert pushed.call("DELETE", f"/v2/a/blobs/{digest}").code == "BLOB_UNKNOWN"
    pushed.push_blob("a", LAYER)
    assert pushed.get_blob("a", digest).body == LAYER


def test_a_blob_that_was_promised_outlives_its_deletion(pushed: Live) -> None:
    """Who was told that a blob is there can push a manifest of it though another client deletes it."""
    digest = Digest.of(LAYER)
    assert pushed.call("HEAD", f"/v2/a/blobs/{digest}").status == 200
    with pushed.client() as other:
        assert other.call("DELETE", f"/v2/a/blobs/{digest}").status == 202
    assert pushed.put_manifest("a", "v1", manifest(CONFIG, LAYER)).status == 201
    assert pushed.get_blob("a", digest).body == LAYER


def test_build_caches_may_list_blobs(pushed: Live) -> None:
    """An index may refer to layers, as build caches do; they must be there."""
    body = json.loads(index())
    body["manifests"] = [descriptor(LAYER, OCI_LAYER)]
    assert pushed.put_manifest("a", "cache", json.dumps(body).encode()).status == 201
    body["manifests"] = [descriptor(b"missing", OCI_LAYER)]
    assert pushed.put_manifest("a", "cache", json.dumps(body).encode()).code == "MANIFEST_BLOB_UNKNOWN"


def test_unknown_methods_are_refused(live: Live) -> None:
    """A method that a route does not have gives 405 and those that it has."""
    answer = live.call("PATCH", "/v2/a/manifests/x")
    assert (answer.status, answer.code, answer.headers["Allow"]) == (405, "UNSUPPORTED", "GET, PUT, DELETE")
