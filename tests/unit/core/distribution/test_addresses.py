"""Where a URL leads: origins, redirects, and the places that nothing leads to."""

import socket

import pytest
from yarl import URL

from corten.core.distribution.addresses import AddressRefused, follow, is_forbidden, make_socket, origin_of
from corten.errors import CortenError, Forbidden, Unavailable

BASE = URL("https://registry.test:5000/v2/a/b")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.test/", "https://a.test:443/x", True),
        ("http://a.test/", "http://a.test:80/", True),
        ("https://a.test/", "HTTPS://A.TEST./", True),
        ("https://a.test/", "http://a.test/", False),
        ("https://a.test/", "https://a.test:5000/", False),
        ("https://a.test/", "https://b.a.test/", False),
        ("https://a.test/", "https://user@a.test/", True),
        ("https://[::1]/", "https://[0:0:0:0:0:0:0:1]/", False),
    ],
)
def test_origins(one: str, other: str, same: bool) -> None:
    """Scheme, host and port in one spelling decide; where in doubt two places are not the same."""
    assert (origin_of(URL(one)) == origin_of(URL(other, encoded=True))) is same


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.test:443/", "a.test"),
        ("http://a.test:80/", "a.test"),
        ("https://a.test:80/", "a.test:80"),
        ("https://[::1]:5000/", "[::1]:5000"),
    ],
)
def test_origin_is_shown_as_people_write_it(url: str, shown: str) -> None:
    """The usual port is left out."""
    assert str(origin_of(URL(url))) == shown


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/v2/x?a=%2F%2B&b=c+d", "https://registry.test:5000/v2/x?a=%2F%2B&b=c+d"),
        ("up/1?_state=a%3D", "https://registry.test:5000/v2/a/up/1?_state=a%3D"),
        ("//other.test/x", "https://other.test/x"),
        ("https://other.test/a%2Fb?X-Signature=%2f", "https://other.test/a%2Fb?X-Signature=%2f"),
        ("https://user:pass@other.test/x#part", "https://other.test/x"),
        ("http://registry.test/v2/x?y=%2F", "https://registry.test:5000/v2/x?y=%2F"),
        ("?x=1", "https://registry.test:5000/v2/a/b?x=1"),
    ],
)
def test_follow(location: str, expected: str) -> None:
    """A Location is resolved and otherwise left as it is: signatures depend on each character."""
    assert str(follow(BASE, location)) == expected


@pytest.mark.parametrize(
    "location",
    [
        "",
        "file:///etc/passwd",
        "gopher://x/",
        "unix:///run/x.sock",
        "http://",
        "https://x:99999/",
        "https://a b/",
        "https://good\\@evil/",
        "https://evil.test\r\nX: y/",
        "https://\u202eevil.test/",
        "x" * 20_000,
    ],
)
def test_location_that_is_no_url(location: str) -> None:
    """What could be read in two ways is not followed."""
    with pytest.raises(CortenError):
        follow(BASE, location)


def test_from_https_to_http() -> None:
    """Only a registry that does not know of its own TLS may say http."""
    with pytest.raises(Unavailable, match=r"plain HTTP at other\.test"):
        follow(BASE, "http://other.test/x")
    assert follow(BASE.with_scheme("http"), "http://other.test/x")


def test_forbidden_address_in_a_location() -> None:
    """What is written as an address is refused before anything is resolved."""
    with pytest.raises(Forbidden, match="link-local"):
        follow(BASE, "https://169.254.169.254/latest/meta-data/")


@pytest.mark.parametrize(
    "address",
    [
        "169.254.0.1",
        "169.254.169.254",
        "169.254.255.255",
        "fe80::1",
        "fe80::1%eth0",
        "febf::1",
        "::ffff:169.254.169.254",
        "::ffff:0:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::",
        "2001:0:4136:e378:8000:63bf:5601:5601",
        "fd00:ec2::254",
        "100.100.100.200",
        "::ffff:100.100.100.200",
    ],
)
def test_forbidden(address: str) -> None:
    """Link-local and metadata addresses, also inside IPv6; no socket is made for them."""
    assert is_forbidden(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(AddressRefused):
        make_socket((family, socket.SOCK_STREAM, 0, "", (address, 80)))


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.0.0.1", "169.253.1.1", "fd00::1", "a.test", "::", "2001:db8::1"]
)
def test_allowed(address: str) -> None:
    """This machine and private networks have registries; a name is decided on when it is resolved."""
    assert not is_forbidden(address)
