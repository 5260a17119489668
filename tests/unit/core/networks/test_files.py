"""The text of hosts, hostname and resolv.conf follows Docker's rules."""

import pytest

from corten.core.networks.dns.view import Server
from corten.core.networks.files import (
    hostname,
    hosts,
    is_resolved_stub,
    outer_servers,
    resolv_conf,
    resolver_conf,
)
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


def test_links_stand_before_the_own_name() -> None:
    """Containers linked to are listed with their names, then the container itself."""
    text = hosts("web", ["172.17.0.3"], links={"172.17.0.2": ["sql", "0123456789ab", "db"]})
    assert text.endswith("172.17.0.2\tsql 0123456789ab db\n172.17.0.3\tweb\n")


@pytest.mark.parametrize("links", [{"172.17.0.2": ["a b"]}, {"nowhere": ["db"]}, {"172.17.0.2": ["a\nb"]}])
def test_bad_links(links: dict[str, list[str]]) -> None:
    """A link cannot add lines or columns."""
    with pytest.raises(InvalidInput):
        hosts("web", links=links)


def test_resolver_conf_names_our_server_alone() -> None:
    """The engine's name server is the only one; whom it asks, and what was overridden, stands in comments."""
    assert resolver_conf(HOST) == (
        "nameserver 127.0.0.11\n"
        "search corp.example lab.example\n"
        "options edns0 trust-ad ndots:0\n"
        "\n"
        "# ExtServers: [host(127.0.0.53) 10.0.0.53 host(::1) host(fd00::53)]\n"
        "# Overrides: []\n"
    )


def test_resolver_conf_takes_the_users_word() -> None:
    """Servers, domains and options of the user replace the host's, in comments or lines."""
    assert resolver_conf(HOST, ["1.1.1.1"], ["a.example"], ["timeout:1"]) == (
        "nameserver 127.0.0.11\n"
        "search a.example\n"
        "options timeout:1 ndots:0\n"
        "\n"
        "# ExtServers: [1.1.1.1]\n"
        "# Overrides: [nameservers search options]\n"
    )


@pytest.mark.parametrize("host", ["options ndots:2\n", ""])
def test_resolver_conf_keeps_ndots(host: str) -> None:
    """Only where neither the user nor the host says how many dots count, none do."""
    options = [] if host else ["ndots:2"]
    assert "options ndots:2\n" in resolver_conf(host, options=options)


def test_outer_servers_of_the_host() -> None:
    """Those on the host's loopback, and IPv6 without IPv6, are asked from the host, the others from inside."""
    assert outer_servers(HOST) == (
        Server("127.0.0.53", inside=False),
        Server("10.0.0.53"),
        Server("::1", inside=False),
        Server("fd00::53", inside=False),
    )
    assert outer_servers(HOST, ipv6=True)[3] == Server("fd00::53")
    assert outer_servers("nameserver fe80::1%eth0\n", ipv6=True) == (Server("fe80::1%eth0", inside=False),)
    assert outer_servers("nameserver nonsense\n") == (Server("8.8.8.8"), Server("8.8.4.4"))


def test_outer_servers_of_the_user() -> None:
    """What the user names is asked from inside, as the container would, also on its own loopback."""
    assert outer_servers(HOST, ["127.0.0.1", "fd00::1"]) == (Server("127.0.0.1"), Server("fd00::1"))
    with pytest.raises(InvalidInput):
        outer_servers(HOST, ["ns.example"])
    with pytest.raises(InvalidInput):
        resolver_conf(HOST, ["ns.example"])
