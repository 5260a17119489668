"""Manifests, tags, referrers and deletions of one repository."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from corten.core.distribution.manifests import MAX_MANIFEST
from corten.core.distribution.repository import Repository
from corten.core.distribution.settings import HostSettings, Patience
from corten.errors import (
    CortenError,
    DataCorrupted,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    NotFound,
    Unavailable,
    Unsupported,
)
from corten.oci.descriptor import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Descriptor
from corten.oci.digest import Digest
from corten.oci.image import Index, Manifest
from tests.fakes.registry import FakeRegistry, Names, endless, lies, refuse, reply, stalls
from tests.unit.core.distribution.client import ME, repository, run, settings

SIGNATURE = "application/vnd.example.signature"
MANIFESTS = "GET .*/manifests/"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """A registry with one image."""
    with FakeRegistry() as made:
        made.add_image("a/b", "1", b"layer")
        yield made


def ask(registry: FakeRegistry, method: str, *arguments: Any, patience: Patience | None = None) -> Any:
    """Call a method of the repository and return what it gives."""

    async def go() -> Any:
        given = settings(patience) if patience else settings()
        async with repository(f"{registry.host}/a/b", ME, given) as one:
            return await getattr(one, method)(*arguments)

    return run(go())


def image(registry: FakeRegistry) -> Manifest:
    """Return the image of the registry."""
    return Manifest.parse(registry.manifests["a/b", "1"][1])


def signature(subject: Digest, note: str = "") -> bytes:
    """Return a manifest that refers to *subject*."""
    empty = Descriptor(media_type="application/vnd.oci.empty.v1+json", digest=Digest.of(b"{}"), size=2)
    made = json.loads(Manifest.make(empty, [empty]).raw)
    made["subject"] = {"mediaType": OCI_MANIFEST, "digest": subject, "size": 1}
    made["artifactType"] = SIGNATURE
    made["annotations"] = {"note": note}
    return json.dumps(made).encode()


# resolve


def test_resolves_a_tag_and_a_digest(registry: FakeRegistry) -> None:
    """Both give the same bytes, described."""
    manifest = image(registry)

    for name in ("1", manifest.digest):
        received = ask(registry, "resolve", name)
        assert received.raw == manifest.raw
        assert received.descriptor == Descriptor(
            media_type=OCI_MANIFEST, digest=manifest.digest, size=len(manifest.raw)
        )
    accepted = registry.saw(MANIFESTS)[0].headers["Accept"]
    assert all(kind in accepted for kind in (OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST))


def test_resolves_an_index(registry: FakeRegistry) -> None:
    """An index is what a multi-platform name stands for."""
    index = Index.make([Descriptor(media_type=OCI_MANIFEST, digest=image(registry).digest, size=1)])
    registry.add_manifest("a/b", "all", index.raw, OCI_INDEX)

    assert ask(registry, "resolve", "all").descriptor.media_type == OCI_INDEX


def test_absent_manifest(registry: FakeRegistry) -> None:
    """The words are Docker's."""
    with pytest.raises(NotFound, match=f"^manifest for {registry.host}/a/b:2 not found: manifest unknown$"):
        ask(registry, "resolve", "2")


def test_other_bytes_than_the_digest_asked_for(registry: FakeRegistry) -> None:
    """Not a bit of a manifest may differ."""
    raw = bytearray(image(registry).raw)
    raw[20] ^= 1
    registry.order(MANIFESTS, reply(200, {"Content-Type": OCI_MANIFEST}, bytes(raw)))

    with pytest.raises(DataCorrupted, match="other bytes"):
        ask(registry, "resolve", image(registry).digest)


def test_other_bytes_than_the_digest_stated(registry: FakeRegistry) -> None:
    """A tag has no digest to compare, but the registry's own word must hold."""
    headers = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": Digest.of(b"else")}
    registry.order(MANIFESTS, reply(200, headers, image(registry).raw))

    with pytest.raises(DataCorrupted, match="digest it states"):
        ask(registry, "resolve", "1")


def test_endless_manifest_is_left(registry: FakeRegistry) -> None:
    """No more is read than a manifest may have."""
    registry.order(MANIFESTS, endless())

    with pytest.raises(LimitExceeded, match=f"more than {MAX_MANIFEST} bytes"):
        ask(registry, "resolve", "1")


def test_huge_manifest_is_refused(registry: FakeRegistry) -> None:
    """A length beyond the limit is refused, whatever comes."""
    registry.order(MANIFESTS, lies(b" " * (MAX_MANIFEST + 1), MAX_MANIFEST + 1))

    with pytest.raises(LimitExceeded):
        ask(registry, "resolve", "1")


def test_truncated_manifest_is_fetched_again(registry: FakeRegistry) -> None:
    """A break in the middle of a manifest is a break like any other."""
    registry.order(MANIFESTS, lies(image(registry).raw[:10], 100))

    assert ask(registry, "resolve", "1").raw == image(registry).raw


def test_silent_registry(registry: FakeRegistry) -> None:
    """A registry that says nothing more is left after the time for silence."""
    registry.order(MANIFESTS, stalls(registry), times=10)
    patience = Patience(attempts=2, pause=0.001, connect=5, silence=0.05)

    with pytest.raises(Unavailable, match="stopped answering"):
        ask(registry, "resolve", "1", patience=patience)


@pytest.mark.parametrize("name", ["", "a/b", "..", "../../x", "a b", "x" * 129, "1?x=1", "1#x", "ä"])
def test_name_that_is_no_tag(registry: FakeRegistry, name: str) -> None:
    """Nothing is sent for a name that could be read as something else."""
    with pytest.raises(InvalidInput):
        ask(registry, "resolve", name)
    assert not registry.saw("manifests")


def test_digest_that_is_none(registry: FakeRegistry) -> None:
    """A digest is checked before it is asked for."""
    with pytest.raises(InvalidInput):
        ask(registry, "resolve", "sha256:../../x")


@pytest.mark.parametrize(
    ("status", "code", "kind", "said"),
    [
        (404, "MANIFEST_UNKNOWN", NotFound, "manifest for .* not found: manifest unknown"),
        (404, "NAME_UNKNOWN", NotFound, "repository .*/a/b not found: name unknown"),
        (404, "", NotFound, "manifest unknown"),
        (401, "UNAUTHORIZED", Unsupported, "asks for no way at all"),
        (403, "DENIED", NotFound, "pull access denied for .*/a/b, repository does not exist or may require"),
        (400, "NAME_INVALID", InvalidInput, "refuses pull of .*: NAME_INVALID name invalid"),
        (429, "TOOMANYREQUESTS", LimitExceeded, "toomanyrequests: .* limits how often it may be asked"),
        (413, "", LimitExceeded, "too large"),
        (405, "UNSUPPORTED", Unsupported, "does not allow pull"),
        (500, "UNKNOWN", Unavailable, "answered 500"),
        (418, "", InvalidInput, "418"),
        (204, "", Unavailable, "unexpected answer"),
        (304, "", Unavailable, "unexpected answer"),
    ],
)
def test_each_answer_of_failure_has_a_line(
    registry: FakeRegistry, status: int, code: str, kind: type[CortenError], said: str
) -> None:
    """Users see what happened and what to do, in the words that they know."""
    registry.order(MANIFESTS, refuse(status, code) if code else reply(status), times=100)

    with pytest.raises(kind, match=said) as caught:
        ask(registry, "resolve", "1")
    assert "\n" not in str(caught.value)


# head


def test_head(registry: FakeRegistry) -> None:
    """What a name stands for is told without fetching it."""
    manifest = image(registry)

    assert ask(registry, "head", "1") == Descriptor(
        media_type=OCI_MANIFEST, digest=manifest.digest, size=len(manifest.raw)
    )
    assert not registry.saw(MANIFESTS)
    assert ask(registry, "head", "2") is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": "md5:1"},
        {"Content-Type": "text/html", "Docker-Content-Digest": Digest.of(b"")},
    ],
)
def test_head_that_says_too_little(registry: FakeRegistry, headers: dict[str, str]) -> None:
    """Where the headers do not tell, the manifest itself does."""
    registry.order("HEAD", reply(200, headers))

    assert ask(registry, "head", "1").digest == image(registry).digest


def test_head_that_is_denied(registry: FakeRegistry) -> None:
    """What is denied is not absent."""
    registry.order("HEAD", reply(403))

    with pytest.raises(NotFound, match="pull access denied"):
        ask(registry, "head", "1")


# put and delete


def test_put_and_delete(registry: FakeRegistry) -> None:
    """A manifest is stored as it is under a tag, and deleted."""
    raw = image(registry).raw

    assert ask(registry, "put", "2", OCI_MANIFEST, raw) == Digest.of(raw)
    assert registry.manifests["a/b", "2"] == (OCI_MANIFEST, raw)
    ask(registry, "delete", "2")
    assert ("a/b", "2") not in registry.manifests


def test_put_that_is_stored_as_something_else(registry: FakeRegistry) -> None:
    """A registry that changes a manifest on the way is caught."""
    registry.order("PUT", reply(201, {"Docker-Content-Digest": Digest.of(b"else")}))

    with pytest.raises(DataCorrupted, match="push again"):
        ask(registry, "put", "2", OCI_MANIFEST, image(registry).raw)


@pytest.mark.parametrize("status", [400, 404])
def test_put_without_its_blobs(registry: FakeRegistry, status: int) -> None:
    """A blob that went away meanwhile is told."""
    registry.order("PUT", refuse(status, "MANIFEST_BLOB_UNKNOWN"))

    with pytest.raises(InvalidInput, match="lacks a blob of it: push again"):
        ask(registry, "put", "2", OCI_MANIFEST, image(registry).raw)


def test_put_that_is_denied(registry: FakeRegistry) -> None:
    """Who may not push is told so."""
    registry.order("PUT", refuse(403, "DENIED"))

    with pytest.raises(Forbidden, match=r"requested access to .* is denied: push may require"):
        ask(registry, "put", "2", OCI_MANIFEST, image(registry).raw)


def test_delete_what_is_not_there(registry: FakeRegistry) -> None:
    """The name is told."""
    with pytest.raises(NotFound, match="a/b:9 not found"):
        ask(registry, "delete", "9")


@pytest.mark.parametrize(("status", "said"), [(405, "does not allow delete"), (400, "delete .* by digest")])
def test_registry_that_does_not_delete(registry: FakeRegistry, status: int, said: str) -> None:
    """A registry may not delete at all, or not by tag."""
    registry.order("DELETE", refuse(status, "UNSUPPORTED"))

    with pytest.raises(Unsupported, match=said):
        ask(registry, "delete", "1")


# tags


def test_tags_in_pages(registry: FakeRegistry) -> None:
    """All pages are fetched."""
    registry.page = 2
    for tag in ("2", "3", "4", "5"):
        registry.add_manifest("a/b", tag, image(registry).raw)

    assert ask(registry, "tags") == ["1", "2", "3", "4", "5"]
    assert len(registry.saw("tags")) == 3


@pytest.mark.parametrize("body", [b'{"name": "a/b", "tags": null}', b"{}", b'{"tags": []}'])
def test_no_tags(registry: FakeRegistry, body: bytes) -> None:
    """A repository without tags is not an absent one."""
    registry.order("GET .*/tags", reply(200, body=body))

    assert ask(registry, "tags") == []


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"tags": [1]}', b"[" * 100_000])
def test_tags_that_are_none(registry: FakeRegistry, body: bytes) -> None:
    """A registry that answers with something else is told of."""
    registry.order("GET .*/tags", reply(200, body=body))

    with pytest.raises(DataCorrupted, match="list of tags"):
        ask(registry, "tags")


def test_pages_in_a_circle(registry: FakeRegistry) -> None:
    """A page that was seen is no next one."""
    link = {"Link": '</v2/a/b/tags/list>; rel="next"'}
    registry.order("GET .*/tags", reply(200, link, b"{}"), times=100)

    with pytest.raises(Unavailable, match="next page"):
        ask(registry, "tags")


def test_tags_of_an_absent_repository(registry: FakeRegistry) -> None:
    """The repository is named."""
    registry.manifests.clear()

    with pytest.raises(NotFound, match=r"repository .*/a/b not found"):
        ask(registry, "tags")


# referrers


@pytest.mark.parametrize("api", [True, False], ids=["listed by the registry", "kept under a tag"])
def test_referrers(registry: FakeRegistry, api: bool) -> None:
    """What refers to an image is found, whether the registry lists it or clients do."""
    registry.referrers_api = api
    subject = image(registry).digest
    raws = [signature(subject, note) for note in ("one", "two")]

    for raw in (*raws, raws[0]):
        ask(registry, "put", Digest.of(raw), OCI_MANIFEST, raw)

    found = ask(registry, "referrers", subject).fields.manifests
    assert {one.digest for one in found} == {Digest.of(raw) for raw in raws}
    assert {one.artifact_type for one in found} == {SIGNATURE}
    assert len(found) == 2
    assert ask(registry, "referrers", subject, "other").fields.manifests == ()
    assert (("a/b", subject.replace(":", "-")) in registry.manifests) is not api


def test_fallback_tag_keeps_annotations_and_forgets_what_is_deleted(registry: FakeRegistry) -> None:
    """The list that clients keep follows pushes and deletions."""
    registry.referrers_api = False
    subject = image(registry).digest
    kept, gone = signature(subject, "kept"), signature(subject, "gone")
    for raw in (kept, gone):
        ask(registry, "put", Digest.of(raw), OCI_MANIFEST, raw)

    ask(registry, "delete", Digest.of(gone))

    (found,) = ask(registry, "referrers", subject).fields.manifests
    assert found.digest == Digest.of(kept)
    assert found.annotations == {"note": "kept"}


def test_no_referrers(registry: FakeRegistry) -> None:
    """No list is an empty list, with both ways."""
    for api in (True, False):
        registry.referrers_api = api
        assert ask(registry, "referrers", image(registry).digest).fields.manifests == ()


def test_fallback_tag_that_is_an_image(registry: FakeRegistry) -> None:
    """Something else under the tag means no referrers; it is not overwritten."""
    registry.referrers_api = False
    subject = image(registry).digest
    registry.add_manifest("a/b", subject.replace(":", "-"), image(registry).raw)

    assert ask(registry, "referrers", subject).fields.manifests == ()
    with pytest.raises(DataCorrupted, match="list of referrers"):
        ask(registry, "put", "sig", OCI_MANIFEST, signature(subject))


def test_filter_that_the_registry_does_not_apply(registry: FakeRegistry) -> None:
    """A filter is asked for, and applied here as well."""
    subject = image(registry).digest
    raw = signature(subject)
    ask(registry, "put", Digest.of(raw), OCI_MANIFEST, raw)

    assert ask(registry, "referrers", subject, "other").fields.manifests == ()
    assert registry.saw("referrers")[-1].query == {"artifactType": "other"}


# mirrors


def test_mirror_is_asked_first(registry: FakeRegistry) -> None:
    """What a mirror has the registry is not asked for."""
    with FakeRegistry() as mirror:
        mirror.add_image("proxy/a/b", "1", b"layer")

        async def go() -> None:
            hosts = {registry.host: HostSettings(mirrors=(mirror.url("/v2/proxy"),))}
            async with repository(f"{registry.host}/a/b", ME, settings(hosts=hosts)) as one:
                assert (await one.resolve("1")).raw == image(registry).raw
                assert await one.tags() == ["1"]

        run(go())
        assert mirror.saw("/v2/proxy/a/b/manifests/1")
        assert not registry.seen


@pytest.mark.parametrize("what", ["absent", "lying", "failing", "gone", "denied"])
def test_mirror_that_fails_is_passed_over(registry: FakeRegistry, what: str) -> None:
    """Whatever is wrong with a mirror, the registry itself has the last word."""
    with FakeRegistry() as mirror:
        orders = {
            "lying": reply(200, {"Content-Type": OCI_MANIFEST}, b"{}"),
            "failing": reply(500),
            "denied": reply(403),
        }
        if what in orders:
            mirror.order(MANIFESTS, orders[what], times=100)
        if what == "gone":
            mirror.close()

        async def go() -> None:
            hosts = {registry.host: HostSettings(mirrors=(mirror.url("/prefix"), "nowhere.example"))}
            async with repository(f"{registry.host}/a/b", ME, settings(hosts=hosts)) as one:
                for _ in range(2):
                    assert (await one.resolve("1")).raw == image(registry).raw

        run(go())
        assert all(seen.path.startswith("/prefix/v2/") for seen in mirror.seen)


def test_mirror_that_cannot_be_reached_rests(registry: FakeRegistry) -> None:
    """A mirror that is down does not slow down each request."""
    names = Names()

    async def go() -> None:
        hosts = {registry.host: HostSettings(mirrors=("nowhere.example",))}
        async with repository(f"{registry.host}/a/b", ME, settings(hosts=hosts), names) as one:
            for _ in range(5):
                await one.resolve("1")

    run(go())
    assert names.asked.count("nowhere.example") == 1


def test_pushes_do_not_go_to_a_mirror(registry: FakeRegistry) -> None:
    """A mirror is for pulling."""
    with FakeRegistry() as mirror:

        async def go() -> None:
            hosts = {registry.host: HostSettings(mirrors=(mirror.url(),))}
            async with repository(f"{registry.host}/a/b", ME, settings(hosts=hosts)) as one:
                await one.put("2", OCI_MANIFEST, image(registry).raw)
                await one.exists(Digest.of(b"x"))
                await one.delete("2")

        run(go())
        assert not mirror.seen


def test_many_at_once(registry: FakeRegistry) -> None:
    """One repository serves many tasks."""

    async def go() -> None:
        async with repository(f"{registry.host}/a/b") as one:
            await asyncio.gather(*(_all(one) for _ in range(5)))

    async def _all(one: Repository) -> None:
        await one.resolve("1")
        await one.tags()

    run(go())
    assert len(registry.saw("GET /v2/$")) == 1
