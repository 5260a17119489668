"""What clients get: manifests, blobs, lists."""

import hashlib
import json
import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from corten.oci.descriptor import DOCKER_INDEX, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from corten.oci.digest import Digest
from corten.serve.registry.app import Config
from corten.serve.registry.wire.call import Limits
from tests.unit.serve.registry.live import Answer, Client, Live, descriptor, index, manifest, served

ABSENT = Digest.of(b"absent")
DATA = bytes(range(256)) * 1000


def follow(client: Client, answer: Answer) -> str:
    """Return the path of the next page, empty if there is none."""
    link = answer.headers.get("Link", "")
    assert not link or link.endswith('>; rel="next"')
    return link[1:].partition(">")[0]


def test_the_base_says_what_it_is(live: Live) -> None:
    """GET /v2/ tells that this is a registry; /healthz that it is well."""
    answer = live.call("GET", "/v2/")
    assert (answer.status, answer.json()) == (200, {})
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert live.call("HEAD", "/v2/").status == 200
    assert live.call("GET", "/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_manifests_come_back_byte_for_byte(live: Live, media_type: str) -> None:
    """By tag and by digest, GET and HEAD give what was put: bytes, type, digest, size."""
    raw = live.push_image("a/b", "v1", b"layer", mediaType=media_type, custom=[1, {"x": None}])
    digest = Digest.of(raw)
    for reference in ("v1", digest, digest.replace(":", "%3A")):
        answer = live.get_manifest("a/b", reference)
        head = live.call("HEAD", f"/v2/a/b/manifests/{reference}")
        assert answer.body == raw
        for each in (answer, head):
            assert each.status == 200
            assert each.headers["Content-Type"] == media_type
            assert each.headers["Docker-Content-Digest"] == digest
            assert each.headers["ETag"] == f'"{digest}"'
            assert each.headers["Content-Length"] == str(len(raw))


def test_indexes_come_back_byte_for_byte(live: Live) -> None:
    """OCI indexes and Docker's manifest lists are kept as they were sent."""
    child = live.push_image("a", "", b"layer")
    for media_type in (OCI_INDEX, DOCKER_INDEX):
        raw = index(child, mediaType=media_type)
        assert live.put_manifest("a", "multi", raw).status == 201
        answer = live.get_manifest("a", "multi")
        assert (answer.body, answer.headers["Content-Type"]) == (raw, media_type)


def test_what_the_client_has_is_not_sent(live: Live) -> None:
    """If-None-Match with the digest gives 304 for manifests and blobs."""
    raw = live.push_image("a", "v1", DATA)
    for path, digest in (("manifests/v1", Digest.of(raw)), (f"blobs/{Digest.of(DATA)}", Digest.of(DATA))):
        for tag in (f'"{digest}"', f'W/"{digest}"', f'"x", "{digest}"', "*"):
            answer = live.call("GET", f"/v2/a/{path}", headers={"If-None-Match": tag})
            assert (answer.status, answer.body) == (304, b"")
        assert live.call("GET", f"/v2/a/{path}", headers={"If-None-Match": '"x"'}).status == 200


@pytest.mark.parametrize("size", [0, 1, 100, 200_000, 3_000_000])
def test_blobs_come_back(live: Live, size: int) -> None:
    """GET and HEAD of a blob of any size."""
    data = os.urandom(size)
    digest = live.push_blob("a", data)
    answer, head = live.get_blob("a", digest), live.call("HEAD", f"/v2/a/blobs/{digest}")
    assert (answer.status, answer.body) == (200, data)
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(size))
    for each in (answer, head):
        assert each.headers["Docker-Content-Digest"] == digest
        assert each.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=1000-", 1000, len(DATA)),
        ("bytes=-7", len(DATA) - 7, len(DATA)),
        (f"bytes={len(DATA) - 1}-", len(DATA) - 1, len(DATA)),
        ("bytes=10-99999999999", 10, len(DATA)),
        ("bytes=-99999999999", 0, len(DATA)),
    ],
)
def test_ranges(live: Live, wanted: str, start: int, end: int) -> None:
    """A range gives its bytes and says which they are."""
    digest = live.push_blob("a", DATA)
    for condition in ({}, {"If-Range": f'"{digest}"'}):
        answer = live.get_blob("a", digest, Range=wanted, **condition)
        assert (answer.status, answer.body) == (206, DATA[start:end])
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(DATA)}"


@pytest.mark.parametrize("wanted", ["bytes=9-5", "bytes=-", "bytes=0-1,5-6", "lines=1-2", "bytes=a-b", ""])
def test_ranges_that_mean_nothing_are_ignored(live: Live, wanted: str) -> None:
    """What is no single range gives the whole blob, as RFC 9110 allows."""
    answer = live.get_blob("a", live.push_blob("a", DATA), Range=wanted)
    assert (answer.status, len(answer.body)) == (200, len(DATA))


def test_a_range_of_other_bytes_is_ignored(live: Live) -> None:
    """If-Range with another tag asks for the whole."""
    answer = live.get_blob("a", live.push_blob("a", DATA), **{"Range": "bytes=1-2", "If-Range": '"x"'})
    assert answer.status == 200


@pytest.mark.parametrize("wanted", [f"bytes={len(DATA)}-", f"bytes={len(DATA)}-{len(DATA) + 5}", "bytes=-0"])
def test_ranges_behind_the_end(live: Live, wanted: str) -> None:
    """A range outside of the blob gives 416 and its size."""
    answer = live.get_blob("a", live.push_blob("a", DATA), Range=wanted)
    assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(DATA)}")


def test_absent_things(live: Live) -> None:
    """Each kind of thing that is not there has its code."""
    live.push_image("a", "v1", DATA)
    for path, code in (
        ("/v2/a/manifests/v2", "MANIFEST_UNKNOWN"),
        ("/v2/a/manifests/.bad", "MANIFEST_UNKNOWN"),
        (f"/v2/a/manifests/{ABSENT}", "MANIFEST_UNKNOWN"),
        (f"/v2/a/blobs/{ABSENT}", "BLOB_UNKNOWN"),
        (f"/v2/b/blobs/{Digest.of(DATA)}", "BLOB_UNKNOWN"),
        ("/v2/b/manifests/v1", "NAME_UNKNOWN"),
        ("/v2/b/tags/list", "NAME_UNKNOWN"),
        ("/v2/a/blobs/uploads/x", "BLOB_UPLOAD_UNKNOWN"),
        ("/elsewhere", "NAME_UNKNOWN"),
    ):
        answer = live.call("GET", path)
        assert (answer.status, answer.code) == (404, code), path
        head = live.call("HEAD", path)
        assert (head.status, head.body) == (404, b"")


def test_invalid_things(live: Live) -> None:
    """Names and digests that are none give 400 and their codes."""
    for path, code in (
        ("/v2/A/manifests/v1", "NAME_INVALID"),
        ("/v2/a%2Fb/manifests/v1", "NAME_INVALID"),
        ("/v2/a/manifests/sha256:1", "DIGEST_INVALID"),
        ("/v2/a/blobs/sha256:1", "DIGEST_INVALID"),
        ("/v2/a/referrers/sha256:1", "DIGEST_INVALID"),
        ("/v2/_catalog?n=-1", "UNSUPPORTED"),
        ("/v2/_catalog?n=1&n=2", "UNSUPPORTED"),
    ):
        answer = live.call("GET", path)
        assert (answer.status, answer.code) == (400, code), path


def test_tags_in_lexical_order_and_pages(live: Live) -> None:
    """Letters sort without regard to case; n and last page; the Link header leads on."""
    tags = ["b", "B", "a", "C", "_z", "1", "v1.10", "v1.9"]
    raw = live.push_image("a/b", "first", b"x")
    assert live.call("DELETE", "/v2/a/b/manifests/first").status == 202
    for tag in tags:
        assert live.put_manifest("a/b", tag, raw).status == 201
    expected = sorted(tags, key=lambda tag: (tag.lower(), tag))

    answer = live.call("GET", "/v2/a/b/tags/list")
    assert answer.json() == {"name": "a/b", "tags": expected}
    assert "Link" not in answer.headers
    assert live.call("GET", "/v2/a/b/tags/list?n=0").json()["tags"] == []
    assert live.call("GET", "/v2/a/b/tags/list?last=B").json()["tags"] == expected[expected.index("B") + 1 :]
    assert live.call("GET", "/v2/a/b/tags/list?n=100").headers.get("Link") is None

    found, path = [], "/v2/a/b/tags/list?n=3"
    while path:
        answer = live.call("GET", path)
        found += answer.json()["tags"]
        path = follow(live, answer)
    assert found == expected


def test_the_catalog_in_pages(live: Live) -> None:
    """Repositories that hold a manifest are listed in order, page by page."""
    names = ["z", "a", "a/b", "m-n", "m"]
    for name in names:
        live.push_image(name, "v1", b"x")
    live.push_blob("only-a-blob", b"x")

    assert live.call("GET", "/v2/_catalog").json() == {"repositories": sorted(names)}
    answer = live.call("GET", "/v2/_catalog?n=2")
    assert answer.json()["repositories"] == ["a", "a/b"]
    parameters = parse_qs(urlsplit(follow(live, answer)).query)
    assert parameters == {"n": ["2"], "last": ["a/b"]}
    assert live.call("GET", follow(live, answer)).json()["repositories"] == ["m", "m-n"]


def test_lists_have_a_longest_page(tmp_path: Path) -> None:
    """A client that asks for more than the registry gives at a time is led on."""
    with served(tmp_path / "r", config=Config(port=0, limits=Limits(page=2))) as live:
        raw = live.push_image("a", "t1", b"x")
        for tag in ("t2", "t3"):
            live.put_manifest("a", tag, raw)
        for query in ("", "?n=50"):
            answer = live.call("GET", f"/v2/a/tags/list{query}")
            assert answer.json()["tags"] == ["t1", "t2"]
            assert live.call("GET", follow(live, answer)).json()["tags"] == ["t3"]


def test_referrers(live: Live) -> None:
    """Manifests and indexes with a subject are listed with type and annotations, and filtered by type."""
    image = live.push_image("a", "v1", b"layer")
    subject = descriptor(image, OCI_MANIFEST)
    marks = {"org.example": "1"}
    typed = live.push_image(
        "a", "", b"sig", subject=subject, artifactType="application/sig", annotations=marks
    )
    plain = live.push_image("a", "", b"sbom", subject=subject)
    listed = index(subject=subject, annotations=marks)
    assert live.put_manifest("a", Digest.of(listed), listed).headers["OCI-Subject"] == Digest.of(image)

    answer = live.call("GET", f"/v2/a/referrers/{Digest.of(image)}")
    assert answer.headers["Content-Type"] == OCI_INDEX
    assert "OCI-Filters-Applied" not in answer.headers
    body = answer.json()
    assert (body["schemaVersion"], body["mediaType"]) == (2, OCI_INDEX)
    found = {each["digest"]: each for each in body["manifests"]}
    assert found == {
        Digest.of(typed): descriptor(typed, OCI_MANIFEST, artifactType="application/sig", annotations=marks),
        Digest.of(plain): descriptor(plain, OCI_MANIFEST, artifactType=OCI_CONFIG),
        Digest.of(listed): descriptor(listed, OCI_INDEX, annotations=marks),
    }
    answer = live.call("GET", f"/v2/a/referrers/{Digest.of(image)}?artifactType=application/sig")
    assert [each["digest"] for each in answer.json()["manifests"]] == [Digest.of(typed)]
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"


def test_no_referrers_is_an_empty_list(live: Live) -> None:
    """Unknown subjects and repositories have no referrers, and that is no error."""
    for repository in ("a", "b"):
        answer = live.call("GET", f"/v2/{repository}/referrers/{ABSENT}")
        assert (answer.status, answer.json()["manifests"]) == (200, [])


def test_referrers_come_in_pages(live: Live) -> None:
    """A long list is continued by its Link header, with the filter kept."""
    subject = descriptor(b"not there yet", OCI_MANIFEST)
    expected = {
        Digest.of(live.push_image("a", "", bytes([n]), subject=subject, artifactType="x/y")) for n in range(5)
    }
    found, path = [], f"/v2/a/referrers/{subject['digest']}?artifactType=x/y&n=2"
    while path:
        answer = live.call("GET", path)
        assert answer.headers["OCI-Filters-Applied"] == "artifactType"
        found += [each["digest"] for each in answer.json()["manifests"]]
        path = follow(live, answer)
    assert len(found) == 5
    assert set(found) == expected


def test_the_fallback_tag_is_honoured(live: Live) -> None:
    """A list that clients keep under a tag is theirs, and what it lists is known by its subject."""
    image = live.push_image("a", "v1", b"layer")
    signature = live.push_image("a", "", b"sig", subject=descriptor(image, OCI_MANIFEST))
    listing = index(signature)
    tag = Digest.of(image).replace(":", "-")
    assert live.put_manifest("a", tag, listing).status == 201

    assert live.get_manifest("a", tag).body == listing
    assert tag in live.call("GET", "/v2/a/tags/list").json()["tags"]
    found = live.call("GET", f"/v2/a/referrers/{Digest.of(image)}").json()["manifests"]
    assert [each["digest"] for each in found] == [Digest.of(signature)]


def test_sha512_works_throughout(live: Live) -> None:
    """Blobs and manifests may be named by sha512."""
    config, layer = b"{}", b"layer"
    for data in (config, layer):
        digest = f"sha512:{hashlib.sha512(data).hexdigest()}"
        assert live.call("POST", f"/v2/a/blobs/uploads/?digest={digest}", data).status == 201
    body = json.loads(manifest(config, layer))
    body["config"]["digest"] = f"sha512:{hashlib.sha512(config).hexdigest()}"
    body["layers"][0]["digest"] = f"sha512:{hashlib.sha512(layer).hexdigest()}"
    raw = json.dumps(body).encode()
    name = f"sha512:{hashlib.sha512(raw).hexdigest()}"
    answer = live.put_manifest("a", name, raw)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, name)
    assert live.get_manifest("a", name).body == raw
