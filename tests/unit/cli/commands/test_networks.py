"""The verbs on networks, and on ports."""

from typing import Any

import pytest

from tests.unit.cli.commands.test_images import run
from tests.unit.cli.server import Daemon, Reply, corten

NETWORK: dict[str, Any] = {
    "Name": "lan",
    "Id": "0123456789abcdef" * 4,
    "Created": "2026-01-02T03:04:05.600000000Z",
    "Scope": "local",
    "Driver": "bridge",
    "EnableIPv4": True,
    "EnableIPv6": False,
    "Internal": True,
    "Labels": {"b": "2", "a": "1"},
}
CREATED = Reply(201, {"Id": "1" * 64, "Warning": ""})


def test_create_sends_what_was_said(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Every flag has its member; the id is printed."""
    daemon.on("POST", "/networks/create", CREATED)
    words = (
        *("-d", "macvlan", "--subnet", "10.0.0.0/24,fd00::/64", "--gateway", "10.0.0.1"),
        *("--ip-range", "10.0.0.128/25", "--aux-address", "r=10.0.0.9", "--ipam-driver", "null"),
        *("--ipam-opt", "x=1", "-o", "parent=eth0", "--label", "a=b", "--label", "c", "--scope", "local"),
        *("--internal", "--attachable", "--config-only", "--config-from", "base", "--ipv6", "--ipv4=false"),
    )
    assert run(daemon, "network", "create", *words, "lan") == 0
    assert capsys.readouterr().out == "1" * 64 + "\n"
    assert daemon.requests[0].json() == {
        "Name": "lan",
        "Driver": "macvlan",
        "Scope": "local",
        "IPAM": {
            "Driver": "null",
            "Config": [
                {
                    "Subnet": "10.0.0.0/24",
                    "IPRange": "10.0.0.128/25",
                    "Gateway": "10.0.0.1",
                    "AuxiliaryAddresses": {"r": "10.0.0.9"},
                },
                {"Subnet": "fd00::/64"},
            ],
            "Options": {"x": "1"},
        },
        "Internal": True,
        "Attachable": True,
        "Ingress": False,
        "ConfigOnly": True,
        "ConfigFrom": {"Network": "base"},
        "Options": {"parent": "eth0"},
        "Labels": {"a": "b", "c": ""},
        "EnableIPv4": False,
        "EnableIPv6": True,
    }


def test_create_leaves_open_what_was_not_said(daemon: Daemon) -> None:
    """Whether IPv4 and IPv6 are on is the engine's choice."""
    daemon.on("POST", "/networks/create", CREATED)
    assert run(daemon, "network", "create", "lan") == 0
    body = daemon.requests[0].json()
    assert (body["Driver"], body["ConfigFrom"], body["IPAM"]) == (
        "bridge",
        None,
        {"Driver": "default", "Config": [], "Options": {}},
    )
    assert not {"EnableIPv4", "EnableIPv6"} & set(body)


def test_create_passes_warnings_on(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, so that the id can be read by a script."""
    daemon.on("POST", "/networks/create", Reply(201, {"Id": "1", "Warning": "overlaps with eth0"}))
    assert run(daemon, "network", "create", "lan") == 0
    assert capsys.readouterr() == ("1\n", "WARNING: overlaps with eth0\n")


def test_ls(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Sorted as people count."""
    more = [NETWORK | {"Name": name} for name in ("n10", "n9")]
    daemon.on("GET", "/networks", Reply(200, [*more, NETWORK]))
    assert run(daemon, "network", "ls", "-f", "driver=bridge") == 0
    assert capsys.readouterr().out == (
        "NETWORK ID     NAME      DRIVER    SCOPE\n"
        "0123456789ab   lan       bridge    local\n"
        "0123456789ab   n9        bridge    local\n"
        "0123456789ab   n10       bridge    local\n"
    )
    assert daemon.requests[0].query == {"filters": ['{"driver":{"bridge":true}}']}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-q"], "0123456789ab\n"),
        (["-q", "--no-trunc"], NETWORK["Id"] + "\n"),
        (
            ["--format", '{{.Labels}} {{.Label "b"}} {{.IPv4}} {{.IPv6}} {{.Internal}}'],
            "a=1,b=2 2 true false true\n",
        ),
        (["--format", "{{.CreatedAt}}"], "2026-01-02 03:04:05.6 +0000 UTC\n"),
    ],
)
def test_ls_formats(daemon: Daemon, words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Ids alone, templates."""
    daemon.on("GET", "/networks", Reply(200, [NETWORK]))
    run(daemon, "network", "list", *words)
    assert capsys.readouterr().out == text


def test_inspect(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """As every inspect."""
    daemon.on("GET", "/networks/lan", Reply(200, NETWORK))
    assert run(daemon, "network", "inspect", "-v", "-f", "{{.Name}}", "lan", "gone") == 1
    assert capsys.readouterr() == ("lan\n", "Error response from daemon: No such thing\n")
    assert daemon.requests[0].query == {"verbose": ["1"]}


def test_connect(daemon: Daemon) -> None:
    """Every flag has its member."""
    daemon.on("POST", "/networks/lan/connect", Reply(200))
    words = (
        *("--alias", "a,b", "--ip", "10.0.0.5", "--ip6", "fd00::5", "--link", "db:database"),
        *("--link-local-ip", "169.254.1.1", "--driver-opt", "k=v", "--gw-priority", "3"),
    )
    assert run(daemon, "network", "connect", *words, "lan", "web") == 0
    assert daemon.requests[0].json() == {
        "Container": "web",
        "EndpointConfig": {
            "IPAMConfig": {
                "IPv4Address": "10.0.0.5",
                "IPv6Address": "fd00::5",
                "LinkLocalIPs": ["169.254.1.1"],
            },
            "Links": ["db:database"],
            "Aliases": ["a", "b"],
            "DriverOpts": {"k": "v"},
            "GwPriority": 3,
        },
    }


def test_disconnect(daemon: Daemon) -> None:
    """With force or without."""
    daemon.on("POST", "/networks/lan/disconnect", Reply(200))
    assert run(daemon, "network", "disconnect", "lan", "web") == 0
    assert run(daemon, "network", "disconnect", "-f", "lan", "web") == 0
    assert [request.json() for request in daemon.requests] == [
        {"Container": "web", "Force": force} for force in (False, True)
    ]


def test_rm(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Names as they go; one that is missing is an error, unless forced."""
    daemon.on("DELETE", "/networks/a", Reply(204))
    daemon.on("DELETE", "/networks/used", Reply(403, {"message": "network used has active endpoints"}))
    assert run(daemon, "network", "rm", "a", "gone") == 1
    assert capsys.readouterr() == ("a\n", "Error response from daemon: No such thing\n")
    assert run(daemon, "network", "remove", "-f", "gone", "a") == 0
    assert capsys.readouterr() == ("a\n", "")
    assert run(daemon, "network", "rm", "-f", "used") == 1


@pytest.mark.slow
def test_prune_asks_first(daemon: Daemon) -> None:
    """What went is listed; no answer is no."""
    daemon.on("POST", "/networks/prune", Reply(200, {"NetworksDeleted": ["a", "b"]}))
    done = corten(daemon, "network", "prune", stdin=b"n\n")
    assert (done.returncode, daemon.requests) == (1, [])
    done = corten(daemon, "network", "prune", "--filter", "until=1h", stdin=b"y\n")
    assert done.stdout.decode().partition("[y/N] ")[2] == "Deleted Networks:\na\nb\n\n"
    assert daemon.requests[0].query == {"filters": ['{"until":{"1h":true}}']}


def test_prune_of_nothing_is_silent(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Null from the daemon is nothing."""
    daemon.on("POST", "/networks/prune", Reply(200, {"NetworksDeleted": None}))
    assert run(daemon, "network", "prune", "-f") == 0
    assert capsys.readouterr().out == ""


def test_network_ports(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Who can reach what, and through which port of the host."""
    way = {"Container": "web", "Network": "lan", "Protocol": "tcp", "ContainerPort": 80}
    ways = [
        way | {"HostIp": "0.0.0.0", "HostPort": 8080, "Who": "everyone"},
        way | {"HostIp": "::1", "HostPort": 8081, "Who": "this host"},
        way | {"HostIp": "", "HostPort": 0, "Who": "containers on lan"},
    ]
    daemon.on("GET", "/corten/networks/ports", Reply(200, ways))
    assert run(daemon, "network", "ports", "lan") == 0
    assert capsys.readouterr().out == (
        "CONTAINER   NETWORK   PORT      ON THE HOST    REACHED BY\n"
        "web         lan       80/tcp    0.0.0.0:8080   everyone\n"
        "web         lan       80/tcp    [::1]:8081     this host\n"
        "web         lan       80/tcp                   containers on lan\n"
    )
    assert daemon.requests[0].query == {"network": ["lan"]}


PORTS = {
    "443/tcp": None,
    "8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "80"}, {"HostIp": "::", "HostPort": "80"}],
    "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "5353"}],
}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "53/udp -> 127.0.0.1:5353\n8080/tcp -> 0.0.0.0:80\n8080/tcp -> [::]:80\n"),
        (["8080"], "0.0.0.0:80\n[::]:80\n"),
        (["8080/TCP"], "0.0.0.0:80\n[::]:80\n"),
        (["53/udp"], "127.0.0.1:5353\n"),
    ],
)
def test_port(daemon: Daemon, words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All mappings, or those of one port."""
    daemon.on("GET", "/containers/web/json", Reply(200, {"NetworkSettings": {"Ports": PORTS}}))
    assert run(daemon, "container", "port", "web", *words) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("53", "Error: No public port '53' published for web"),
        ("443/tcp", "Error: No public port '443/tcp' published for web"),
        ("http", "Error: invalid port (http)"),
        ("70000", "Error: invalid port (70000)"),
    ],
)
def test_port_that_is_not_published(
    daemon: Daemon, wanted: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and a failure."""
    daemon.on("GET", "/containers/web/json", Reply(200, {"NetworkSettings": {"Ports": PORTS}}))
    assert run(daemon, "port", "web", wanted) == 1
    assert message in capsys.readouterr().err
