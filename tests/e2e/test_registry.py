"""Our registry as a process, driven by the clients that people have: docker, podman, skopeo, our own, plain HTTP."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import object_store
from tests.e2e.conftest import running_engine
from tests.e2e.registries import (
    INSECURE,
    OCI,
    Docker,
    Layout,
    Podman,
    Registry,
    Site,
    new_site,
    sha256,
)
from tests.kernel.isolated import NEEDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Engine

pytestmark = [*NEEDS, pytest.mark.slow]


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """An index of two platforms in an OCI layout."""
    return Layout(tmp_path_factory.mktemp("layout"))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Where registry and clients live."""
    with new_site() as made:
        yield made


@pytest.fixture(scope="module")
def registry(site: Site, layout: Layout) -> Registry:
    """An open registry that holds the layout as ``team/app:multi``."""
    made = site.registry()
    site.skopeo("copy", "--all", *INSECURE, layout.name, made.image("team/app:multi"))
    return made


@pytest.fixture(scope="module")
def docker(site: Site) -> Iterator[Docker]:
    """A docker daemon."""
    made = Docker(site)
    yield made
    made.close()


@pytest.fixture
def place() -> Iterator[Site]:
    """A site for one test."""
    with new_site() as made:
        yield made


def blobs_of(registry: Registry, repository: str, layout: Layout) -> dict[str, bytes]:
    """Fetch all that the layout holds from a repository, manifests and blobs."""
    found = {}
    manifests = {str(image["digest"]) for image in (layout.index, *layout.images.values())}
    for digest in layout.blobs():
        kind = "manifests" if digest in manifests else "blobs"
        answer = registry.ask("GET", f"/v2/{repository}/{kind}/{digest}")
        assert answer.status == 200, digest
        found[digest] = answer.body
    return found


# skopeo


def test_skopeo_copies_an_index_there_and_back(
    site: Site, registry: Registry, layout: Layout, tmp_path: Path
) -> None:
    """All platforms arrive, and come back, byte for byte."""
    assert blobs_of(registry, "team/app", layout) == layout.blobs()
    site.skopeo("copy", "--all", *INSECURE, registry.image("team/app:multi"), f"oci:{tmp_path}/back:multi")
    back = {f"sha256:{path.name}": path.read_bytes() for path in (tmp_path / "back/blobs/sha256").iterdir()}
    assert back == layout.blobs()


def test_skopeo_copies_between_repositories_and_deletes(
    site: Site, registry: Registry, layout: Layout
) -> None:
    """A copy has the same digest; deleting it leaves the original alone."""
    site.skopeo("copy", "--all", *INSECURE, registry.image("team/app:multi"), registry.image("other/copy:1"))
    raw = site.skopeo("inspect", "--raw", "--tls-verify=false", registry.image("other/copy:1"))
    assert sha256(raw.encode()) == layout.index["digest"]
    site.skopeo("delete", "--tls-verify=false", registry.image("other/copy:1"))
    assert registry.ask("GET", "/v2/other/copy/manifests/1").status == 404
    tags = json.loads(site.skopeo("list-tags", "--tls-verify=false", registry.image("team/app")))
    assert "multi" in tags["Tags"]


def test_another_registry_takes_a_copy(site: Site, registry: Registry, layout: Layout) -> None:
    """A second registry of ours gets all platforms from the first one."""
    second = site.registry()
    site.skopeo("copy", "--all", *INSECURE, registry.image("team/app:multi"), second.image("mirror:1"))
    assert blobs_of(second, "mirror", layout) == layout.blobs()


# docker and podman


def test_docker_pulls_and_pushes(docker: Docker, registry: Registry, layout: Layout) -> None:
    """Docker gets its platform by the digest of the index, and what it pushes it can pull again."""
    first, second = f"{registry.address}/team/app:multi", f"{registry.address}/by/docker:1"
    assert str(layout.index["digest"]) in docker("pull", first)
    docker("tag", first, second)
    pushed = docker("push", second)
    digest = registry.ask("GET", "/v2/by/docker/manifests/1").headers["Docker-Content-Digest"]
    assert digest in pushed
    assert sha256(registry.ask("GET", f"/v2/by/docker/manifests/{digest}").body) == digest
    docker("rmi", first, second)
    assert digest in docker("pull", f"{registry.address}/by/docker@{digest}")


def test_podman_pulls_and_pushes(site: Site, registry: Registry, layout: Layout) -> None:
    """Podman gets the same image id as everybody, and its push keeps the configuration."""
    podman = Podman(site)
    manifest = json.loads(layout.raw(layout.images["amd64"]))
    image = podman("pull", "-q", "--tls-verify=false", f"{registry.address}/team/app:multi").strip()
    assert f"sha256:{image}" == manifest["config"]["digest"]
    podman("push", "-q", "--tls-verify=false", image, f"{registry.address}/by/podman:1")
    pushed = json.loads(registry.ask("GET", "/v2/by/podman/manifests/1").body)
    assert pushed["config"]["digest"] == manifest["config"]["digest"]
    podman("rmi", "-f", image)


def test_docker_sees_what_podman_pushes(site: Site, docker: Docker, registry: Registry) -> None:
    """An image goes from one client to the other with its id."""
    podman = Podman(site)
    image = podman("pull", "-q", "--tls-verify=false", f"{registry.address}/team/app:multi").strip()
    podman("push", "-q", "--tls-verify=false", image, f"{registry.address}/from/podman:1")
    docker("pull", f"{registry.address}/from/podman:1")
    found = docker("image", "inspect", "-f", "{{.Id}}", f"{registry.address}/from/podman:1").strip()
    assert found == f"sha256:{image}"
    podman("rmi", "-f", image)


# plain HTTP


def push_artifact(registry: Registry, repository: str, subject: dict[str, object], kind: str) -> str:
    """Push a manifest that says something about *subject*; return its digest."""
    empty, note = b"{}", f"{kind} of {subject['digest']}".encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "artifactType": kind,
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": registry.push_blob(repository, empty),
                "size": len(empty),
            },
            "layers": [
                {"mediaType": kind, "digest": registry.push_blob(repository, note), "size": len(note)}
            ],
            "subject": subject,
            "annotations": {"about": kind},
        }
    ).encode()
    answer = registry.ask(
        "PUT",
        f"/v2/{repository}/manifests/{sha256(manifest)}",
        manifest,
        {"Content-Type": f"{OCI}.manifest.v1+json"},
    )
    assert (answer.status, answer.headers["OCI-Subject"]) == (201, subject["digest"])
    return sha256(manifest)


def test_signatures_and_lists_of_contents_are_referrers(registry: Registry, layout: Layout) -> None:
    """What refers to an image is found by the image's digest, all or by kind."""
    subject = layout.images["amd64"]
    signature = push_artifact(registry, "team/app", subject, "application/vnd.example.signature")
    contents = push_artifact(registry, "team/app", subject, "application/spdx+json")
    path = f"/v2/team/app/referrers/{subject['digest']}"
    listed = json.loads(registry.ask("GET", path).body)["manifests"]
    assert {entry["digest"] for entry in listed} == {signature, contents}
    answer = registry.ask("GET", f"{path}?artifactType=application/spdx%2Bjson")
    (only,) = json.loads(answer.body)["manifests"]
    assert (only["digest"], only["annotations"]) == (contents, {"about": "application/spdx+json"})
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"


def test_figures_and_health(registry: Registry) -> None:
    """Prometheus and a load balancer find what they ask for."""
    assert registry.ask("GET", "/healthz").status == 200
    text = registry.ask("GET", "/metrics").body.decode()
    assert 'corten_registry_requests_total{method="GET",route="health",code="200"}' in text
    assert "\ncorten_registry_storage_bytes " in text


def test_a_web_page_cannot_use_an_open_registry(registry: Registry) -> None:
    """Requests under a foreign name, or sent by a page, are refused where there are no users."""
    assert registry.ask("GET", "/v2/", headers={"Host": "evil.example"}).status == 403
    assert (
        registry.ask("POST", "/v2/x/blobs/uploads/", headers={"Origin": "http://evil.example"}).status == 403
    )


# upkeep


def test_collects_what_was_deleted(place: Site) -> None:
    """The running server frees exactly the bytes that the dry run told; a stopped one's folder is collected too."""
    settings = Path(place.folder, "settings.toml")
    settings.write_text('grace = "0s"\n')
    registry = place.registry("--config", str(settings))
    for data in (b"a" * 1000, b"b" * 2345):
        registry.push_blob("team/app", data)
    flags = ("--config", str(settings))
    assert "would free 3345 bytes: 2 blobs" in registry.command("gc", "--dry-run", *flags).stdout
    assert registry.ask("GET", f"/v2/team/app/blobs/{sha256(b'a' * 1000)}").status == 200
    assert "freed 3345 bytes: 2 blobs" in registry.command("gc", *flags).stdout
    assert "corten_registry_gc_freed_bytes_total 3345" in registry.ask("GET", "/metrics").body.decode()
    registry.push_blob("team/app", b"c")
    registry.stop()
    assert "freed 1 bytes: 1 blobs" in registry.command("gc", *flags).stdout


def test_retention_rules(place: Site, layout: Layout) -> None:
    """Tags that no rule keeps go, by the server's own hand or when asked."""
    settings = Path(place.folder, "settings.toml")
    settings.write_text('[[retention]]\nrepositories = ["team/*"]\nkeep_matching = ["v.*"]\n')
    registry = place.registry("--config", str(settings))
    for name in ("team/app:v1", "team/app:old", "other:old"):
        place.skopeo("copy", "--all", *INSECURE, layout.name, registry.image(name))
    said = registry.command("retention", "--dry-run", "--config", str(settings)).stdout
    assert said == "team/app:old\n"
    registry.command("retention", "--config", str(settings))
    assert json.loads(registry.ask("GET", "/v2/team/app/tags/list").body)["tags"] == ["v1"]
    assert json.loads(registry.ask("GET", "/v2/other/tags/list").body)["tags"] == ["old"]


def test_a_killed_server_loses_nothing(place: Site, layout: Layout) -> None:
    """What was pushed is there afterwards, and an upload goes on where it was."""
    registry = place.registry()
    place.skopeo("copy", "--all", *INSECURE, layout.name, registry.image("team/app:multi"))
    data = hashlib.shake_256(b"upload").digest(300_000)
    started = registry.ask("POST", "/v2/team/app/blobs/uploads/").headers["Location"]
    upload = started[started.index("/v2/") :]
    assert registry.ask("PATCH", upload, data[:100_000]).status == 202
    registry.kill()
    registry.start()
    assert blobs_of(registry, "team/app", layout) == layout.blobs()
    status = registry.ask("GET", upload)
    assert (status.status, status.headers["Range"]) == (204, "0-99999")
    mark = "&" if "?" in upload else "?"
    done = registry.ask("PUT", f"{upload}{mark}digest={sha256(data)}", data[100_000:])
    assert done.status == 201, done


# storage and sources


def test_keeps_images_in_an_object_store(layout: Layout) -> None:
    """Bytes go to a real S3 server and come back, also to a server that was killed in the middle of an upload."""
    network = os.open("/proc/self/ns/net", os.O_RDONLY)  # the host's, where the S3 server is
    try:
        settings = object_store.server().settings("e2e")
        flags = ("--s3-bucket", settings.bucket, "--s3-endpoint", settings.endpoint, "--s3-prefix", "e2e")
        keys = {"AWS_ACCESS_KEY_ID": settings.access_key, "AWS_SECRET_ACCESS_KEY": settings.secret_key}
        with new_site(network) as place:
            registry = place.registry(*flags, **keys)
            place.skopeo("copy", "--all", *INSECURE, layout.name, registry.image("team/app:multi"))
            assert blobs_of(registry, "team/app", layout) == layout.blobs()
            data = hashlib.shake_256(b"s3").digest(9 << 20)
            started = registry.ask("POST", "/v2/team/app/blobs/uploads/").headers["Location"]
            upload = started[started.index("/v2/") :]
            assert registry.ask("PATCH", upload, data[: 8 << 20]).status == 202
            registry.kill()
            registry.start()
            mark = "&" if "?" in upload else "?"
            done = registry.ask("PUT", f"{upload}{mark}digest={sha256(data)}", data[8 << 20 :])
            assert done.status == 201, done
            assert registry.ask("GET", f"/v2/team/app/blobs/{sha256(data)}").body == data
            span = registry.ask(
                "GET", f"/v2/team/app/blobs/{sha256(data)}", headers={"Range": "bytes=8388600-8388615"}
            )
            assert (span.status, span.body) == (206, data[8388600:8388616])
            assert blobs_of(registry, "team/app", layout) == layout.blobs()
    finally:
        os.close(network)
        object_store.stop()


def test_serves_the_engines_images(image_archive: Path, tmp_path: Path) -> None:
    """What the engine has can be pulled by others, with the engine's digests; nothing can be pushed."""
    with running_engine() as engine, new_site(engine.netns) as place:
        engine.load(image_archive)
        registry = place.registry("--from-engine", **engine.environment)
        inspected = json.loads(engine.corten("image", "inspect", "debian").stdout)[0]
        place.skopeo("copy", *INSECURE, registry.image("debian:latest"), f"oci:{tmp_path}/out:debian")
        index = json.loads((tmp_path / "out" / "index.json").read_text())
        manifest = json.loads(
            (tmp_path / "out/blobs/sha256" / index["manifests"][0]["digest"].partition(":")[2]).read_text()
        )
        assert manifest["config"]["digest"] == inspected["Id"]
        assert registry.ask("POST", "/v2/x/blobs/uploads/").status == 405


def test_is_a_cache_of_another_registry(place: Site, layout: Layout) -> None:
    """What was pulled through it once is served when the other registry is gone; nothing can be pushed."""
    place.add_user("anna")
    origin = place.registry("--htpasswd", f"{place.folder}/users")
    place.skopeo(
        "copy", "--all", "--dest-creds=anna:secret", *INSECURE, layout.name, origin.image("team/app:multi")
    )
    settings = Path(place.folder, "settings.toml")
    settings.write_text(
        f'[proxy]\nof = "http://{origin.address}"\nusername = "anna"\npassword = "secret"\nfresh = "0s"\n'
    )
    cache = place.registry("--config", str(settings))
    place.run(*copied(place, cache, "first"))
    assert json.loads(cache.ask("GET", "/v2/_catalog").body)["repositories"] == ["team/app"]
    origin.stop()
    place.run(*copied(place, cache, "second"))
    for name in ("first", "second"):
        folder = Path(place.folder, name, "blobs", "sha256")
        assert {f"sha256:{path.name}": path.read_bytes() for path in folder.iterdir()} == layout.blobs()
    assert cache.ask("GET", "/v2/team/app/manifests/none").status in (404, 503)
    assert cache.ask("POST", "/v2/team/app/blobs/uploads/").status == 405


def copied(place: Site, registry: Registry, name: str) -> tuple[str, ...]:
    """Return the command that copies all of the image into a layout."""
    target = f"oci:{place.folder}/{name}:multi"
    return ("skopeo", "copy", "--all", *INSECURE, registry.image("team/app:multi"), target)


# our own client


@pytest.fixture
def engine_with_site() -> Iterator[tuple[Engine, Site]]:
    """An engine, and a site in its network."""
    with running_engine() as engine, new_site(engine.netns) as place:
        yield engine, place


def test_our_own_client(engine_with_site: tuple[Engine, Site], layout: Layout) -> None:
    """Pull, push under another name, and pull by digest: the same image each time."""
    engine, place = engine_with_site
    registry = place.registry()
    place.skopeo("copy", "--all", *INSECURE, layout.name, registry.image("team/app:multi"))
    engine.corten("pull", f"{registry.address}/team/app:multi")
    image = engine.corten("image", "inspect", "-f", "{{.Id}}", f"{registry.address}/team/app:multi").stdout
    engine.corten("tag", f"{registry.address}/team/app:multi", f"{registry.address}/by/corten:1")
    engine.corten("push", f"{registry.address}/by/corten:1")
    digest = registry.ask("GET", "/v2/by/corten/manifests/1").headers["Docker-Content-Digest"]
    engine.corten("rmi", "-f", f"{registry.address}/team/app:multi", f"{registry.address}/by/corten:1")
    engine.corten("pull", f"{registry.address}/by/corten@{digest}")
    again = engine.corten(
        "image", "inspect", "-f", "{{.Id}}", f"{registry.address}/by/corten@{digest}"
    ).stdout
    assert again == image


def test_our_own_client_logs_in(engine_with_site: tuple[Engine, Site], layout: Layout) -> None:
    """A wrong password is told, a right one opens the registry, and logging out closes it."""
    engine, place = engine_with_site
    place.add_user("anna")
    registry = place.registry("--htpasswd", f"{place.folder}/users")
    place.skopeo("copy", "--dest-creds=anna:secret", *INSECURE, layout.name, registry.image("team/app:1"))
    login = ("login", "-u", "anna", "--password-stdin", registry.address)
    assert engine.corten(*login, check=False, input="wrong").returncode != 0
    assert engine.corten("pull", f"{registry.address}/team/app:1", check=False).returncode != 0
    engine.corten(*login, input="secret")
    engine.corten("pull", f"{registry.address}/team/app:1")
    engine.corten("logout", registry.address)
    assert engine.corten("pull", f"{registry.address}/team/app:1", check=False).returncode != 0
