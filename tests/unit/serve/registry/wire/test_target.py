"""Paths are read one way only."""

import pytest

from corten.errors import InvalidInput, NotFound
from corten.oci.digest import Digest
from corten.serve.registry.refusal import Code, Refusal
from corten.serve.registry.wire.target import Target, digest_of, parse, query_of

DIGEST = Digest.of(b"x")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/healthz", Target("health")),
        ("/v2", Target("base")),
        ("/v2/", Target("base")),
        ("/v2/_catalog", Target("catalog")),
        ("/v2/a/tags/list", Target("tags", "a")),
        ("/v2/a/b/c/tags/list", Target("tags", "a/b/c")),
        ("/v2/a/manifests/latest", Target("manifest", "a", "latest")),
        (f"/v2/a/manifests/{DIGEST}", Target("manifest", "a", DIGEST)),
        ("/v2/a/manifests/sha256%3Aabc", Target("manifest", "a", "sha256:abc")),
        (f"/v2/a/blobs/{DIGEST}", Target("blob", "a", DIGEST)),
        ("/v2/a/blobs/uploads/", Target("uploads", "a")),
        ("/v2/a/blobs/uploads", Target("uploads", "a")),
        ("/v2/a/blobs/uploads/1234", Target("upload", "a", "1234")),
        (f"/v2/a/referrers/{DIGEST}", Target("referrers", "a", DIGEST)),
        ("/v2/tags/list/manifests/tags", Target("manifest", "tags/list", "tags")),
        ("/v2/blobs/uploads/blobs/uploads/", Target("uploads", "blobs/uploads")),
        ("/v2/manifests/manifests/manifests", Target("manifest", "manifests", "manifests")),
    ],
)
def test_reads_paths(path: str, expected: Target) -> None:
    """A path is read from its end, since a name may hold any word."""
    assert parse(path) == expected


@pytest.mark.parametrize(
    "name",
    [
        *("A", "a/B", "a//b", "a%2Fb", "a%2fb", "%61", "a b", "a..b", "a/../b", "a/./b", "-a", "a-", "a___b"),
        *("a/_b", "é", "a\\b", "a;b", "..", "." * 3, "a" * 256),
    ],
)
def test_refuses_names(name: str) -> None:
    """Upper case, encoded letters and dots that climb are no names, for each route."""
    for rest in ("manifests/x", f"blobs/{DIGEST}", "blobs/uploads/", "tags/list", f"referrers/{DIGEST}"):
        with pytest.raises(Refusal) as caught:
            parse(f"/v2/{name}/{rest}")
        assert caught.value.code == Code.NAME_INVALID


@pytest.mark.parametrize(
    "path",
    ["/", "/v1/", "/v2/a", "/v2/a/x/y", "/v2//", "/v2x/a/tags/list", "/V2/", "http://h/v2/", "/v2/a/tags"],
)
def test_knows_no_other_pages(path: str) -> None:
    """Anything else is not there."""
    with pytest.raises(NotFound):
        parse(path)


@pytest.mark.parametrize(
    "text", ["", "x", "sha256:xyz", f"SHA256:{'a' * 64}", f"sha256:{'A' * 64}", "md5:abc"]
)
def test_refuses_digests(text: str) -> None:
    """What is no digest is told as such."""
    with pytest.raises(Refusal) as caught:
        digest_of(text)
    assert caught.value.code == Code.DIGEST_INVALID


def test_refuses_doubled_parameters() -> None:
    """A parameter that is given twice could be read in two ways."""
    assert query_of("n=1&last=a%20b&empty=") == {"n": "1", "last": "a b", "empty": ""}
    with pytest.raises(InvalidInput):
        query_of("digest=a&digest=b")
