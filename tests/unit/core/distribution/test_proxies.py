"""Which proxy a request takes."""

import pytest
from yarl import URL

from corten.core.distribution.proxies import choose
from corten.errors import InvalidInput

PROXY = "http://proxy.test:3128"


@pytest.mark.parametrize(
    ("url", "variables", "expected"),
    [
        ("https://a.test/", {}, None),
        ("https://a.test/", {"https_proxy": PROXY}, PROXY),
        ("https://a.test/", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://a.test/", {"http_proxy": PROXY}, None),
        ("http://a.test/", {"http_proxy": PROXY}, PROXY),
        ("http://a.test/", {"all_proxy": PROXY}, PROXY),
        ("https://a.test/", {"https_proxy": "proxy.test:3128"}, PROXY),
        ("https://a.test/", {"https_proxy": "", "HTTPS_PROXY": PROXY}, PROXY),
        ("https://localhost/", {"https_proxy": PROXY}, None),
        ("https://127.0.0.1:5000/", {"https_proxy": PROXY}, None),
        ("https://[::1]/", {"https_proxy": PROXY}, None),
    ],
)
def test_choose(url: str, variables: dict[str, str], expected: str | None) -> None:
    """The scheme decides, in lower or upper case; this machine never takes a proxy."""
    chosen = choose(URL(url), variables)

    assert chosen == (URL(expected) if expected else None)


@pytest.mark.parametrize(
    ("rule", "excluded"),
    [
        ("*", True),
        ("a.test", True),
        ("A.TEST", True),
        ("test", True),
        (".test", True),
        ("*.test", True),
        ("a.test:5000", True),
        ("a.test:443", False),
        ("b.test", False),
        ("xa.test", False),
        ("est", False),
        ("", False),
        ("10.0.0.0/8", False),
        ("x, a.test ,y", True),
    ],
)
def test_no_proxy_for_names(rule: str, excluded: bool) -> None:
    """NO_PROXY holds hosts with their subdomains, ports, and stars."""
    chosen = choose(URL("https://a.test:5000/"), {"https_proxy": PROXY, "no_proxy": rule})

    assert (chosen is None) is excluded


@pytest.mark.parametrize(
    ("rule", "excluded"),
    [
        ("10.0.0.0/8", True),
        ("10.1.2.3", True),
        ("10.1.2.3:5000", True),
        ("10.1.2.4", False),
        ("10.0.0.0/x", False),
    ],
)
def test_no_proxy_for_addresses(rule: str, excluded: bool) -> None:
    """NO_PROXY holds addresses and networks."""
    chosen = choose(URL("https://10.1.2.3:5000/"), {"https_proxy": PROXY, "NO_PROXY": rule})

    assert (chosen is None) is excluded


@pytest.mark.parametrize("value", ["ftp://proxy", "http://", "http://x:99999"])
def test_proxy_that_is_none(value: str) -> None:
    """A wrong value is told without showing it."""
    with pytest.raises(InvalidInput, match="proxy"):
        choose(URL("https://a.test/"), {"https_proxy": value})
