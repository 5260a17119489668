"""The text of hosts, hostname and resolv.conf follows Docker's rules."""

import pytest

from corten.core.networks.files import hostname, hosts, is_resolved_stub, resolv_conf
from corten.errors import InvalidInput

HOST = """\
# made by hand
domain old.example
search corp.example  lab.example
nameserver 127.0.0.53
nameserver 10.0.0.53
nameserver ::1
nameserver fd00::53
; another comment
options edns0 trust-ad
"""


def test_hostname_is_one_line() -> None:
    """The file is the name and a line end."""
    assert hostname("web") == "web\n"


def test_hosts_in_order() -> None:
    """Loopback names come first, extra hosts follow, the container's own name is last."""
    text = hosts("web", ["172.17.0.2"], ["db:10.0.0.5"])
    assert text.splitlines() == [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::\tip6-localnet",
        "ff00::\tip6-mcastprefix",
        "ff02::1\tip6-allnodes",
        "ff02::2\tip6-allrouters",
        "10.0.0.5\tdb",
        "172.17.0.2\tweb",
    ]


def test_hosts_without_network_and_ipv6() -> None:
    """A container with loopback alone has loopback lines alone."""
    assert hosts("web", ipv6=False) == "127.0.0.1\tlocalhost\n"


def test_hosts_with_domain() -> None:
    """With a domain name the full name comes before the short one."""
    assert hosts("web", ["172.17.0.2"], domain="example.org").endswith("172.17.0.2\tweb.example.org web\n")


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        ("db:10.0.0.5", "10.0.0.5\tdb"),
        ("db=10.0.0.5", "10.0.0.5\tdb"),
        ("db:fd00::5", "fd00::5\tdb"),
        ("db:[fd00::5]", "fd00::5\tdb"),
        ("db=[fd00::5]", "fd00::5\tdb"),
        ("host.docker.internal:host-gateway", "172.17.0.1\thost.docker.internal"),
    ],
)
def test_extra_host_forms(extra: str, line: str) -> None:
    """Colon or equals sign, brackets or none, and the gateway by name."""
    assert line in hosts("web", extra=[extra], host_gateway="172.17.0.1").splitlines()


@pytest.mark.parametrize(
    "extra",
    ["db", "db:", ":10.0.0.5", "db:10.0.0", "db:[]", "d b:10.0.0.5", "a\nb:10.0.0.5", "x:host-gateway"],
)
def test_bad_extra_host(extra: str) -> None:
    """What is not name and address, or would break out of its line, is refused."""
    with pytest.raises(InvalidInput):
        hosts("web", extra=[extra])


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "a\tb", "a\0"])
def test_bad_host_name(name: str) -> None:
    """A host name cannot add lines or columns to a file."""
    with pytest.raises(InvalidInput):
        hosts(name, ["172.17.0.2"])
    with pytest.raises(InvalidInput):
        hostname(name)


def test_resolv_conf_leaves_out_what_cannot_be_reached() -> None:
    """Loopback servers and, without IPv6, IPv6 ones go; the last search line and the options stay."""
    assert resolv_conf(HOST) == (
        "nameserver 10.0.0.53\nsearch corp.example lab.example\noptions edns0 trust-ad\n"
    )


def test_resolv_conf_keeps_ipv6_servers_with_ipv6() -> None:
    """With IPv6 only loopback servers go."""
    assert "nameserver fd00::53\n" in resolv_conf(HOST, ipv6=True)
    assert "::1" not in resolv_conf(HOST, ipv6=True)


@pytest.mark.parametrize("host", ["", "nameserver 127.0.0.53\n", "nameserver nonsense\n", "nameserver\n"])
def test_resolv_conf_falls_back_to_public_servers(host: str) -> None:
    """With no usable server on the host, public ones are named."""
    assert resolv_conf(host) == "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"


def test_resolv_conf_takes_the_users_word() -> None:
    """Servers, domains and options of the user replace the host's; a loopback server is the user's choice."""
    text = resolv_conf(HOST, ["127.0.0.1", "1.1.1.1"], ["a.example"], ["ndots:2"])
    assert text == "nameserver 127.0.0.1\nnameserver 1.1.1.1\nsearch a.example\noptions ndots:2\n"


def test_single_dot_means_no_search() -> None:
    """``--dns-search .`` drops the host's domains."""
    assert "search" not in resolv_conf(HOST, searches=["."])


def test_domain_line_counts_as_search() -> None:
    """The old keyword is understood; the last of both wins."""
    assert "search b.example\n" in resolv_conf("search a.example\ndomain b.example\n")


def test_sortlist_is_kept() -> None:
    """The host's address preference stays."""
    assert "sortlist 10.0.0.0/8\n" in resolv_conf("sortlist 10.0.0.0/8\n")


@pytest.mark.parametrize(
    ("servers", "searches", "options"),
    [(["ns.example"], [], []), ([], ["a b"], []), ([], [], ["x\nnameserver 6.6.6.6"])],
)
def test_bad_dns_values(servers: list[str], searches: list[str], options: list[str]) -> None:
    """A server has to be an address; nothing can add lines."""
    with pytest.raises(InvalidInput):
        resolv_conf("", servers, searches, options)


def test_resolved_stub_is_recognised() -> None:
    """Only a file whose one server is the stub points elsewhere."""
    assert is_resolved_stub("nameserver 127.0.0.53\noptions edns0\n")
    assert not is_resolved_stub(HOST)
    assert not is_resolved_stub("")
