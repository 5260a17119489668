"""Users, rights and TLS of our registry as clients meet them: docker, podman, skopeo, plain HTTP."""

from __future__ import annotations

import socket
import ssl
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from corten.linux.namespaces import CLONE_NEWNET, setns
from tests.e2e.registries import (
    CORTEN,
    INSECURE,
    Authority,
    Docker,
    Layout,
    Podman,
    Registry,
    Site,
    new_site,
    sha256,
)
from tests.kernel.isolated import NEEDS, in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [*NEEDS, pytest.mark.slow]
BASIC = {"Authorization": "Basic YW5uYTpzZWNyZXQ="}  # anna:secret


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """An index of two platforms in an OCI layout."""
    return Layout(tmp_path_factory.mktemp("layout"))


@pytest.fixture
def place() -> Iterator[Site]:
    """A site for one test."""
    with new_site() as made:
        yield made


@pytest.fixture
def guarded(place: Site) -> Registry:
    """A registry with two users: anna may do all in team/, ben may pull there, everybody may pull public/."""
    settings = Path(place.folder, "settings.toml")
    settings.write_text(
        '[access]\nhtpasswd = "users"\n'
        '[[access.rules]]\nusers = ["anna"]\nrepositories = ["**"]\nactions = ["pull", "push", "delete", "catalog"]\n'
        '[[access.rules]]\nusers = ["ben"]\nrepositories = ["team/*"]\n'
        '[[access.rules]]\nusers = ["anonymous"]\nrepositories = ["public/**"]\n'
    )
    for name in ("anna", "ben"):
        place.add_user(name)
    return place.registry("--config", str(settings))


def test_skopeo_and_podman_log_in(place: Site, guarded: Registry, layout: Layout) -> None:
    """A wrong password is refused, a right one opens what its user may do, and nothing else."""
    podman = Podman(place)
    source, login = layout.name, ("login", "--tls-verify=false", "-u")
    assert "unauthorized" in place.skopeo("copy", *INSECURE, source, guarded.image("team/x:1"), check=False)
    assert "invalid username/password" in place.skopeo(
        *login, "anna", "-p", "no", guarded.address, check=False
    )
    place.skopeo(*login, "anna", "-p", "secret", guarded.address)
    for name in ("team/app:1", "public/app:1"):
        place.skopeo("copy", "--all", *INSECURE, source, guarded.image(name))
    place.skopeo("logout", guarded.address)
    place.skopeo("inspect", "--raw", "--tls-verify=false", guarded.image("public/app:1"))
    podman("login", "--tls-verify=false", "-u", "ben", "--password-stdin", guarded.address, data="secret")
    image = podman("pull", "-q", "--tls-verify=false", f"{guarded.address}/team/app:1").strip()
    refused = podman("push", "--tls-verify=false", image, f"{guarded.address}/team/app:2", check=False)
    assert "denied" in refused


def test_docker_logs_in(place: Site, guarded: Registry, layout: Layout) -> None:
    """Docker keeps a token instead of the password, pulls and pushes with it; a removed user is out at once."""
    docker = Docker(place)
    try:
        place.skopeo("copy", "--dest-creds=anna:secret", *INSECURE, layout.name, guarded.image("team/app:1"))
        login = ("login", "-u", "anna", "--password-stdin", guarded.address)
        assert "unauthorized" in docker(*login, check=False, data="wrong")
        assert "Login Succeeded" in docker(*login, data="secret")
        assert "secret" not in Path(place.folder, "docker", "config.json").read_text()
        docker("pull", f"{guarded.address}/team/app:1")
        docker("tag", f"{guarded.address}/team/app:1", f"{guarded.address}/team/new:1")
        docker("push", f"{guarded.address}/team/new:1")
        guarded.command("user", "rm", "anna", "--htpasswd", f"{place.folder}/users")
        refused = docker("push", f"{guarded.address}/team/new:1", check=False)
        assert "denied" in refused or "unauthorized" in refused
    finally:
        docker.close()


def test_the_catalog_needs_its_right(guarded: Registry) -> None:
    """Only who was given it lists repositories; nobody else learns their names."""
    assert guarded.ask("GET", "/v2/_catalog", headers=BASIC).status == 200
    assert guarded.ask("GET", "/v2/_catalog").status == 401
    ben = {"Authorization": "Basic YmVuOnNlY3JldA=="}
    assert guarded.ask("GET", "/v2/_catalog", headers=ben).status == 403


# TLS


def test_tls_with_an_authority_of_its_own(place: Site, layout: Layout, tmp_path: Path) -> None:
    """Clients that trust the authority push and pull, others do not; old protocols and plain HTTP are refused."""
    authority = Authority(tmp_path)
    registry = place.registry("--tls-cert", authority.certificate, "--tls-key", authority.key)
    trusting = {"SSL_CERT_FILE": authority.authority}
    copy = ("skopeo", "copy", "--all", layout.name, registry.image("team/app:1"))
    assert "x509" in place.run(*copy, check=False).stderr
    place.run(*copy, more=trusting)
    raw = place.run("skopeo", "inspect", "--raw", registry.image("team/app:1"), more=trusting).stdout
    assert sha256(raw.encode()) == layout.index["digest"]
    docker = Docker(place, authority.authority)
    try:
        assert str(layout.index["digest"]) in docker("pull", f"{registry.address}/team/app:1")
    finally:
        docker.close()
    versions = in_thread(lambda: setns(place.netns, CLONE_NEWNET), lambda: spoken(registry, authority))
    assert versions == ["TLSv1.2", "TLSv1.3"]


def spoken(registry: Registry, authority: Authority) -> list[str]:
    """Return which versions of TLS the registry speaks."""
    found = []
    for version in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(authority.authority)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore"):  # of its age
            context.maximum_version = version
        try:
            with (
                socket.create_connection(("127.0.0.1", registry.port), 10) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
            ):
                found.append(str(connection.version()))
        except (ssl.SSLError, OSError):
            continue
    return found


def test_plain_http_stays_on_loopback(place: Site) -> None:
    """Other machines are served without TLS only when that is said."""
    serve = (CORTEN, "registry", "serve", "--data", f"{place.folder}/d", "--listen", "0.0.0.0:0")
    refused = place.run(*serve, check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "--tls-cert" in refused.stderr
    registry = place.registry("--listen", "0.0.0.0:0", "--insecure-http")
    assert registry.ask("GET", "/v2/").status == 200
