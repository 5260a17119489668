"""The servers behind a reference, and what the settings say of them."""

import pytest

from corten.core.distribution.endpoints import Endpoint, credential_key, domain_of, endpoints, mirror
from corten.core.distribution.settings import HostSettings, RegistrySettings
from corten.errors import InvalidInput


def test_docker_has_another_name() -> None:
    """docker.io is served by registry-1.docker.io; its settings and credentials have names of their own."""
    given = RegistrySettings(hosts={"docker.io": HostSettings(mirrors=("m.test",), ca_files=("x",))})

    assert endpoints("docker.io", given) == [
        Endpoint("m.test", mirror=True),
        Endpoint("registry-1.docker.io"),
    ]
    assert given.host("registry-1.docker.io").ca_files == ("x",)
    assert credential_key("docker.io") == "index.docker.io"
    assert credential_key("a.test:5000") == "a.test:5000"


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("docker.io", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("Registry-1.docker.io", "docker.io"),
        ("a.test", "a.test"),
        ("https://a.test:5000/v2/", "a.test:5000"),
        ("http://localhost:5000", "localhost:5000"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_host_as_people_type_it(text: str, domain: str) -> None:
    """A URL, or one of Docker's own names, is understood."""
    assert domain_of(text) == domain


@pytest.mark.parametrize("text", ["", "https://", "user@a.test", "a.test:99999", " "])
def test_host_that_is_none(text: str) -> None:
    """Anything else is told."""
    with pytest.raises(InvalidInput, match="host\\[:port\\]"):
        domain_of(text)


@pytest.mark.parametrize(
    ("text", "base", "namespace"),
    [
        ("m.test", "https://m.test/v2/", ""),
        ("m.test:5000", "https://m.test:5000/v2/", ""),
        ("http://m.test", "http://m.test/v2/", ""),
        ("https://m.test/cache/", "https://m.test/cache/v2/", ""),
        ("https://m.test/v2", "https://m.test/v2/", ""),
        ("https://m.test/v2/proxy/hub", "https://m.test/v2/", "proxy/hub/"),
        ("https://[::1]:5000", "https://[::1]:5000/v2/", ""),
    ],
)
def test_mirrors(text: str, base: str, namespace: str) -> None:
    """A mirror is a host or a URL; its path comes before /v2/, or names a folder of repositories."""
    found = mirror(text)

    assert str(found.base("http" if found.plain else "https")) == base
    assert found.namespace == namespace
    assert found.mirror


@pytest.mark.parametrize(
    "text", ["", "ftp://m.test", "https://user:pass@m.test", "https://m.test/?x=1", "https://"]
)
def test_mirror_that_is_none(text: str) -> None:
    """A mirror with a password is refused: it would never be sent."""
    with pytest.raises(InvalidInput, match="invalid mirror"):
        mirror(text)


@pytest.mark.parametrize(
    ("name", "insecure"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.8.9.1", True),
        ("[::1]:5000", True),
        ("a.test", True),
        ("A.TEST:443", True),
        ("b.test:5000", True),
        ("b.test", False),
        ("b.test:5001", False),
        ("10.1.2.3:5000", True),
        ("11.1.2.3", False),
        ("c.test", True),
        ("localhost.evil.test", False),
        ("127.0.0.1.evil.test", False),
        ("docker.io", False),
    ],
)
def test_insecure_registries(name: str, insecure: bool) -> None:
    """Loopback always, else by host, host with port, or network."""
    given = RegistrySettings(
        hosts={"c.test": HostSettings(insecure=True)}, insecure=("a.test", "b.test:5000", "10.0.0.0/8")
    )

    assert given.is_insecure(name) is insecure
