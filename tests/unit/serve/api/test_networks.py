"""Networks over HTTP."""

from typing import Any

import pytest
from msgspec.structs import replace

from corten.engine.records.container import Published
from tests.fakes.networks import BRIDGE_ID, NONE_ID
from tests.unit.serve.api.conftest import Server


def made(server: Server, name: str = "n1", **members: Any) -> str:
    """Make a network and return its id."""
    answer = server.call("POST", "/networks/create", {"Name": name, **members})
    assert answer.status == 201, answer.body
    identity: str = answer.json()["Id"]
    return identity


def names(server: Server, filters: str) -> list[str]:
    """Return the names of the networks that *filters* let through."""
    return [n["Name"] for n in server.call("GET", f"/networks?filters={filters}").json()]


def test_creates(server: Server) -> None:
    """The whole request reaches the engine; id and warnings come back in one text."""
    server.engine.networks.warnings = ["one", "two"]
    body = {
        "Name": "n1",
        "EnableIPv6": True,
        "IPAM": {"Config": [{"Subnet": "10.9.0.0/24"}]},
        "Labels": {"a": "b"},
    }
    answer = server.call("POST", "/v1.47/networks/create", body)
    assert answer.status == 201
    assert set(answer.json()) == {"Id", "Warning"}
    assert answer.json()["Warning"] == "one; two"
    found = server.call("GET", f"/networks/{answer.json()['Id']}").json()
    assert (found["Name"], found["EnableIPv6"], found["Labels"]) == ("n1", True, {"a": "b"})
    assert found["IPAM"] == {"Driver": "default", "Options": {}, "Config": [{"Subnet": "10.9.0.0/24"}]}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"Name": "bridge"}, 409, "network with name bridge already exists"),
        ({"Name": "x", "Driver": "socks"}, 404, 'plugin "socks" not found'),
        ({"Name": ""}, 400, "invalid network name: it is empty: give a Name"),
        ({"Name": "x", "Internal": 3}, 400, "invalid request body: Expected `bool`"),
        (b"{", 400, "invalid JSON"),
    ],
)
def test_refuses_to_create(server: Server, body: object, status: int, message: str) -> None:
    """Docker's codes, one line each."""
    answer = server.call("POST", "/networks/create", body)
    assert (answer.status, answer.json()["message"][: len(message)]) == (status, message)


def test_inspects_a_predefined_network(server: Server) -> None:
    """Every member that Docker has is there, also where it is empty."""
    found = server.call("GET", "/networks/bridge").json()
    assert found == {
        "Name": "bridge",
        "Id": BRIDGE_ID,
        "Created": "2026-01-01T00:00:00.123456789Z",
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {
            "Driver": "default",
            "Options": None,
            "Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}],
        },
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": {"com.docker.network.bridge.name": "docker0"},
        "Labels": {},
    }
    assert server.call("GET", "/networks/none").json()["IPAM"]["Config"] is None


def test_inspects_by_scope(server: Server) -> None:
    """A network of another scope is not found."""
    assert server.call("GET", "/networks/bridge?scope=local").status == 200
    answer = server.call("GET", "/networks/bridge?scope=swarm")
    assert (answer.status, answer.json()) == (404, {"message": "network bridge not found"})


def test_shows_the_running_containers_on_a_network(server: Server) -> None:
    """With their addresses; the list leaves them out, but for clients of old."""
    identity = server.container("sleep", name="web")
    container = server.call("GET", f"/networks/{BRIDGE_ID}").json()["Containers"][identity]
    assert container == {
        "Name": "web",
        "EndpointID": "e" * 64,
        "MacAddress": "02:42:ac:11:00:02",
        "IPv4Address": "172.17.0.2/16",
        "IPv6Address": "",
    }
    new, old = (server.call("GET", f"/{version}/networks").json() for version in ("v1.47", "v1.27"))
    assert [n["Containers"] for n in new] == [{}, {}, {}]
    assert [len(n["Containers"]) for n in old] == [1, 0, 0]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ("{}", ["bridge", "host", "none", "n1", "n2"]),
        ('{"driver":["host","null"]}', ["host", "none"]),
        ('{"id":["^cccc"]}', ["host"]),
        ('{"name":["n1","^non"]}', ["none", "n1"]),
        ('{"label":["a=b"]}', ["n1"]),
        ('{"label":{"a":true}}', ["n1"]),
        ('{"scope":["swarm"]}', []),
        ('{"type":["custom"]}', ["n1", "n2"]),
        ('{"type":["builtin"]}', ["bridge", "host", "none"]),
        ('{"dangling":["true"]}', ["n1", "n2"]),
        ('{"dangling":["0"]}', ["bridge", "host", "none"]),
    ],
)
def test_filters_the_list(server: Server, filters: str, found: list[str]) -> None:
    """Values of a key are or-ed, keys and-ed; what every engine has never dangles."""
    made(server, "n1", Labels={"a": "b"})
    made(server, "n2")
    assert names(server, filters) == found


@pytest.mark.parametrize(
    "filters", ['{"type":["odd"]}', '{"dangling":["maybe"]}', '{"dangling":["0","1"]}', '{"color":["red"]}']
)
def test_refuses_unknown_filters(server: Server, filters: str) -> None:
    """Rather than showing too much."""
    assert server.call("GET", f"/networks?filters={filters}").status == 400


def test_connects_and_disconnects(server: Server) -> None:
    """With settings; the answers are empty."""
    made(server)
    identity = server.container("sleep", name="web")
    body = {
        "Container": "web",
        "EndpointConfig": {"Aliases": ["w"], "IPAMConfig": {"IPv4Address": "10.3.0.2"}},
    }
    answer = server.call("POST", "/networks/n1/connect", body)
    assert (answer.status, answer.body) == (200, b"")
    settings = server.call("GET", f"/containers/{identity}/json").json()["NetworkSettings"]["Networks"]["n1"]
    assert (settings["Aliases"], settings["IPAMConfig"]) == (["w"], {"IPv4Address": "10.3.0.2"})

    assert server.call("POST", "/networks/n1/connect", body).status == 403
    assert server.call("DELETE", "/networks/n1").status == 403
    gone = {"Container": "web", "Force": True}
    assert server.call("POST", "/networks/n1/disconnect", gone).status == 200
    assert server.engine.networks.calls[-1] == ("disconnect", "n1", "web", True)
    assert server.call("POST", "/networks/n1/disconnect", gone).status == 403


@pytest.mark.parametrize("verb", ["connect", "disconnect"])
def test_connections_need_both_ends(server: Server, verb: str) -> None:
    """Either may be missing."""
    answer = server.call("POST", f"/networks/gone/{verb}", {"Container": "web"})
    assert (answer.status, answer.json()) == (404, {"message": "network gone not found"})
    answer = server.call("POST", f"/networks/bridge/{verb}", {"Container": "web"})
    assert (answer.status, answer.json()) == (404, {"message": "No such container: web"})
    assert server.call("POST", f"/networks/bridge/{verb}", {}).status == 400


def test_removes(server: Server) -> None:
    """By name or id; what every engine has stays."""
    identity = made(server)
    answer = server.call("DELETE", f"/networks/{identity[:12]}")
    assert (answer.status, answer.body) == (204, b"")
    assert server.call("DELETE", "/networks/n1").status == 404
    assert server.call("DELETE", f"/networks/{NONE_ID}").status == 403


def test_tells_who_reaches_what(server: Server) -> None:
    """Ways to published ports, on one network or on all."""
    identity = server.container("sleep", name="web")
    record = server.engine.containers.get(identity)
    server.engine.containers.put(replace(record, published=(Published("tcp", 80, "0.0.0.0", 8080),)))
    (way,) = server.call("GET", "/corten/networks/ports").json()
    assert way == {
        "Container": "web",
        "Network": "bridge",
        "Protocol": "tcp",
        "ContainerPort": 80,
        "HostIp": "0.0.0.0",
        "HostPort": 8080,
        "Who": "everyone",
    }
    made(server)
    assert server.call("GET", "/corten/networks/ports?network=n1").json() == []
    assert server.call("GET", "/corten/networks/ports?network=gone").status == 404
