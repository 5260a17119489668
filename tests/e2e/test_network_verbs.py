"""Networks made, shown, refused, pruned and removed by the docker client and docker-py; what they leave in the kernel: nothing."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import TYPE_CHECKING

import docker
import pytest
from docker.types import IPAMConfig, IPAMPool

from tests.e2e.hosts import (
    Neighbours,
    address,
    ask,
    identifier,
    idler,
    kernel_objects,
    looked_up,
    namespace_of,
    neighbours,
    network,
    refused,
    service,
    settled,
    silent,
)
from tests.e2e.tools import told, unique

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from docker import DockerClient

    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

MANY = 60
PREFIX = "com.docker.network"


@pytest.fixture(scope="module")
def around(engine: Engine) -> Iterator[Neighbours]:
    """The neighbours of the engine's host."""
    with neighbours(engine) as made:
        yield made


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[DockerClient]:
    """The Python client of Docker."""
    connection = docker.DockerClient(base_url=engine.environment["DOCKER_HOST"], timeout=30)
    yield connection
    connection.close()


# what the client shows


def test_inspect(engine: Engine) -> None:
    """``network inspect`` has every member that Docker's has, with what was asked for."""
    flags = ("--subnet", "10.77.0.0/24", "--gateway", "10.77.0.7", "--ip-range", "10.77.0.128/25")
    more = (
        "--aux-address",
        "nas=10.77.0.9",
        "--label",
        "site=a",
        "--attachable",
        "-o",
        f"{PREFIX}.driver.mtu=1450",
    )
    with network(engine, *flags, *more) as own, idler(engine, "--network", own) as name:
        found = looked_up(engine, own)
        assert len(found.pop("Id")) == 64
        assert found.pop("Created").endswith("Z")
        (member,) = found.pop("Containers").items()
        assert member[0] == identifier(engine, name)
        assert set(member[1]) == {"Name", "EndpointID", "MacAddress", "IPv4Address", "IPv6Address"}
        assert member[1]["Name"] == name
        assert member[1]["IPv4Address"] == "10.77.0.128/24"
        assert found == {
            "Name": own,
            "Scope": "local",
            "Driver": "bridge",
            "EnableIPv4": True,
            "EnableIPv6": False,
            "IPAM": {
                "Driver": "default",
                "Options": {},
                "Config": [
                    {
                        "Subnet": "10.77.0.0/24",
                        "IPRange": "10.77.0.128/25",
                        "Gateway": "10.77.0.7",
                        "AuxiliaryAddresses": {"nas": "10.77.0.9"},
                    }
                ],
            },
            "Internal": False,
            "Attachable": True,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Options": {f"{PREFIX}.driver.mtu": "1450"},
            "Labels": {"site": "a"},
        }


def test_list(engine: Engine) -> None:
    """``network ls`` has the predefined three and the user's; filters and formats are Docker's."""
    with network(engine, "--label", "site=b") as own, network(engine, "--internal") as other:
        rows = [json.loads(line) for line in listed(engine, "--format", "json")]
        named = {row["Name"]: (row["Driver"], row["Scope"]) for row in rows}
        assert {"bridge", "host", "none", own, other} <= set(named)
        assert named["none"] == ("null", "local")
        assert named[own] == ("bridge", "local")
        name = ("--format", "{{.Name}}")
        assert listed(engine, "-f", "label=site=b", *name) == [own]
        assert set(listed(engine, "-f", "type=builtin", *name)) == {"bridge", "host", "none"}
        assert {own, other} <= set(listed(engine, "-f", "type=custom", *name))
        assert listed(engine, "-f", "driver=null", *name) == ["none"]
        assert listed(engine, "-f", f"name={own[:8]}", *name) == [own]
        whole = looked_up(engine, own)["Id"]
        assert listed(engine, "-f", f"id={whole[:12]}", *name) == [own]
        assert listed(engine, "-q", "--no-trunc", "-f", f"name={own}") == [whole]
        assert set(listed(engine, "-f", "dangling=true", *name)) >= {own, other}


def listed(engine: Engine, *flags: str) -> list[str]:
    """Return the lines of ``docker network ls``."""
    lines: list[str] = engine.docker("network", "ls", *flags).stdout.splitlines()
    return lines


def test_remove(engine: Engine) -> None:
    """Several at once, by name, id or its beginning; the predefined and those in use stay, one line for each."""
    first, second, third = (made(engine) for _ in range(3))
    whole = looked_up(engine, third)["Id"]
    done = engine.docker("network", "rm", first, "nosuch", whole[:12], check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [first, whole[:12]]
    assert done.stderr.splitlines()[0] == "Error response from daemon: network nosuch not found"
    with idler(engine, "--network", second) as name:
        line = refused(engine, 1, "network", "rm", second)
        assert line.startswith(f"error while removing network: network {second} has active endpoints")
        assert name in line
        assert engine.api("DELETE", f"/networks/{second}")[0] == 403
        engine.docker("network", "disconnect", second, name)
        engine.docker("network", "rm", second)
    assert engine.docker("network", "rm", "-f", "nosuch").returncode == 0
    for predefined in ("bridge", "host", "none"):
        assert "pre-defined" in refused(engine, 1, "network", "rm", predefined)
        assert engine.api("DELETE", f"/networks/{predefined}")[0] == 403


def made(engine: Engine, *flags: str) -> str:
    """Make a network that the test removes; return its name."""
    name = unique("n")
    engine.docker("network", "create", *flags, name)
    return name


def test_prune(engine: Engine) -> None:
    """It removes what no container refers to, running or stopped, and what the filters let through."""
    free, labelled, used = made(engine), made(engine, "--label", "keep"), made(engine)
    with idler(engine, "--network", used) as name:
        engine.docker("stop", "-t", "0", name)
        done = engine.docker("network", "prune", "-f", "--filter", "label!=keep").stdout
        assert done.splitlines()[0] == "Deleted Networks:"
        assert free in done.splitlines()
        left = set(listed(engine, "--format", "{{.Name}}"))
        assert {"bridge", "host", "none", labelled, used} <= left
        assert free not in left
    done = engine.docker("network", "prune", "-f").stdout
    assert {labelled, used} <= set(done.splitlines())


# what is refused


BAD = {
    "--subnet 10.300.0.0/24": "10.300.0.0/24",
    "--subnet 10.78.0.5/24": "10.78.0.5/24",
    "--subnet 10.78.0.0/32": "10.78.0.0/32",
    "--ipv6 --subnet fd00::1/64": "fd00::1/64",
    "-d nosuch": 'plugin "nosuch" not found',
    "--ipam-driver nosuch": "nosuch",
    "-d host": 'only one instance of "host" network is allowed',
    "-d overlay": "several machines",
    "-d macvlan -o parent=nosuchlink": "nosuchlink",
    "-d macvlan -o parent=lan0 -o macvlan_mode=nosuch": "nosuch",
    f"-o {PREFIX}.driver.mtu=many": "many",
    f"-o {PREFIX}.bridge.enable_icc=perhaps": "perhaps",
    f"-o {PREFIX}.bridge.name=far-too-long-for-a-link": "far-too-long-for-a-link",
    f"-o {PREFIX}.bridge.name=lo": "link lo exists",
    f"-o {PREFIX}.bridge.name=lan0": "link lan0 exists",
    "-o nosuchoption=1": "nosuchoption",
    "--config-from nosuch": "nosuch",
}


@pytest.mark.parametrize("flags", BAD)
def test_networks_that_cannot_be(engine: Engine, around: Neighbours, flags: str) -> None:
    """One line names what is wrong; no network, link or rule is left of the try."""
    settled(engine)
    before = kernel_objects(engine)
    assert BAD[flags] in refused(engine, 1, "network", "create", *flags.split(), "bad")
    assert engine.docker("network", "inspect", "bad", check=False).returncode == 1
    assert kernel_objects(engine) == before


def test_the_bridge_of_another_network(engine: Engine) -> None:
    """Two networks cannot share a bridge; the first one stays closed to others, and its containers reached."""
    name = f"{PREFIX}.bridge.name"
    with (
        network(engine, "-o", f"{name}=brshared") as own,
        service(engine, "--network", own) as inner,
        idler(engine, "--network", own) as fellow,
        idler(engine) as stranger,
        namespace_of(engine, fellow) as asking,
        namespace_of(engine, stranger) as beyond,
    ):
        settled(engine)
        before = kernel_objects(engine)
        for bridge in ("brshared", engine.settings.bridge):
            assert bridge in refused(engine, 1, "network", "create", "-o", f"{name}={bridge}", "bad")
            assert kernel_objects(engine) == before
        target = address(engine, inner, own)
        assert ask(asking, "tcp", target, 80).startswith(inner)
        assert silent(beyond, "tcp", target, 80)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"Name": "bridge"}, 403, "predefined bridge network"),
        ({"Name": ""}, 400, "name"),
        ({"Name": "_bad"}, 400, "_bad"),
        ({"Name": "a/b"}, 400, "a/b"),
        ({"Name": "bad", "Driver": "nosuch"}, 404, "nosuch"),
        ({"Name": "bad", "Driver": "host"}, 403, "host"),
        ({"Name": "bad", "EnableIPv4": False}, 400, "IPv6"),
        ({"Name": "bad", "IPAM": {"Config": [{"Gateway": "10.78.0.1"}]}}, 400, "subnet"),
        (
            {"Name": "bad", "IPAM": {"Config": [{"Subnet": "10.78.0.0/24", "Gateway": "10.79.0.1"}]}},
            400,
            "10.79.0.1",
        ),
        (
            {"Name": "bad", "IPAM": {"Config": [{"Subnet": "10.78.0.0/24", "IPRange": "10.79.0.0/25"}]}},
            400,
            "10.79.0.0/25",
        ),
        (
            {"Name": "bad", "IPAM": {"Config": [{"Subnet": "10.78.0.0/24"}, {"Subnet": "10.78.0.0/25"}]}},
            400,
            "10.78.0.0",
        ),
        ({"Name": "bad", "Internal": "yes"}, 400, "Internal"),
        ({"Name": "bad", "Driver": "overlay"}, 501, "several machines"),
        ({"Name": "bad", "Options": {f"{PREFIX}.driver.mtu": "many"}}, 400, "many"),
        ({"Name": "bad", "Options": {"nosuch": "1"}}, 400, "nosuch"),
        ({"Name": "bad", "Options": {f"{PREFIX}.bridge.name": "lo"}}, 409, "lo"),
        ({"Name": "bad", "Driver": "macvlan", "Options": {"parent": "nosuchlink"}}, 400, "nosuchlink"),
        ({"Name": "bad", "ConfigFrom": {"Network": "nosuch"}}, 404, "nosuch"),
    ],
)
def test_requests_that_cannot_be(engine: Engine, body: dict[str, Any], status: int, said: str) -> None:
    """The API answers with Docker's codes, one line each."""
    found, answer = engine.api("POST", "/networks/create", body)
    assert (found, len(answer["message"].splitlines())) == (status, 1), answer
    assert said in answer["message"]


def test_the_same_name_twice(engine: Engine) -> None:
    """The second is a conflict, as is an overlapping subnet a thing that Docker forbids."""
    with network(engine, "--subnet", "10.80.0.0/24") as own:
        line = refused(engine, 1, "network", "create", own)
        assert line.startswith(f"network with name {own} already exists")
        assert engine.api("POST", "/networks/create", {"Name": own})[0] == 409
        body = {"Name": "bad", "IPAM": {"Config": [{"Subnet": "10.80.0.128/25"}]}}
        status, answer = engine.api("POST", "/networks/create", body)
        assert status == 403, answer
        assert "Pool overlaps with other one on this address space" in answer["message"]


def test_a_subnet_of_the_host(engine: Engine, around: Neighbours) -> None:
    """The choice of the engine avoids what the host is on; the user's own is done, with a warning."""
    engine.inside("ip", "address", "add", "10.81.0.1/16", "dev", "wan0")
    try:
        name = unique("n")
        body = {"Name": name, "IPAM": {"Config": [{"Subnet": "10.81.5.0/24"}]}}
        status, answer = engine.api("POST", "/networks/create", body)
        assert status == 201, answer
        assert "10.81" in answer["Warning"]
        engine.docker("network", "rm", name)
        used = [ip_network("10.81.0.0/16"), ip_network("203.0.113.0/24"), ip_network("172.17.0.0/16")]
        with network(engine) as own:
            chosen = ip_network(looked_up(engine, own)["IPAM"]["Config"][0]["Subnet"])
            assert not any(chosen.overlaps(subnet) for subnet in used)
    finally:
        engine.inside("ip", "address", "del", "10.81.0.1/16", "dev", "wan0")


# settings to lend, many networks


def test_settings_to_lend(engine: Engine) -> None:
    """A network made from a configuration has its subnet; the configuration itself carries nobody, and stays while lent."""
    lender = made(engine, "--config-only", "--subnet", "10.82.0.0/24")
    try:
        with network(engine, "--config-from", lender) as own, idler(engine, "--network", own) as name:
            assert address(engine, name, own).startswith("10.82.0.")
            assert looked_up(engine, own)["ConfigFrom"] == {"Network": lender}
            assert looked_up(engine, lender)["ConfigOnly"] is True
            assert lender in refused(engine, 1, "network", "rm", lender)
            assert lender in refused(engine, 125, "run", "--rm", "--network", lender, "debian", "true")
    finally:
        engine.docker("network", "rm", lender)


def test_many_networks_leave_nothing(engine: Engine) -> None:
    """Sixty networks, one of each with a container joined and gone, leave no link, rule, route or firewall element."""
    settled(engine)
    before = kernel_objects(engine)
    with idler(engine) as name:
        names = [f"many{number}" for number in range(MANY)]
        for one in names:
            body = {"Name": one, "EnableIPv6": True}
            assert engine.api("POST", "/networks/create", body)[0] == 201
        subnets = {
            looked["IPAM"]["Config"][0]["Subnet"] for looked in everything(engine) if looked["Name"] in names
        }
        assert len(subnets) == MANY
        for one in names:
            assert engine.api("POST", f"/networks/{one}/connect", {"Container": name})[0] == 200
            assert engine.api("POST", f"/networks/{one}/disconnect", {"Container": name})[0] == 200
        for one in names:
            assert engine.api("DELETE", f"/networks/{one}")[0] == 204
    settled(engine)
    assert kernel_objects(engine) == before


def everything(engine: Engine) -> list[dict[str, Any]]:
    """Return all networks as the API lists them."""
    status, answer = engine.api("GET", "/networks")
    assert status == 200, answer
    return list(answer)


def test_events(engine: Engine) -> None:
    """Create, connect, disconnect and destroy are told, with the network's name and type and the container."""
    with network(engine) as own, idler(engine) as name:
        engine.docker("network", "connect", own, name)
        engine.docker("network", "disconnect", own, name)
        whole = identifier(engine, name)
    events = told(engine, "type=network", f"network={own}")
    assert [event["Action"] for event in events] == ["create", "connect", "disconnect", "destroy"]
    assert all(event["Actor"]["Attributes"]["name"] == own for event in events)
    assert all(event["Actor"]["Attributes"]["type"] == "bridge" for event in events)
    assert [event["Actor"]["Attributes"].get("container") for event in events] == [None, whole, whole, None]


# docker-py


def test_docker_py(engine: Engine, client: DockerClient) -> None:
    """Its networks are made with pools, listed, joined with aliases and addresses, left, reloaded and removed."""
    pool = IPAMPool(subnet="10.83.0.0/24", gateway="10.83.0.254", iprange="10.83.0.64/26")
    name = unique("n")
    own = client.networks.create(
        name, driver="bridge", ipam=IPAMConfig(pool_configs=[pool]), labels={"by": "py"}, internal=False
    )
    joined = client.containers.run("debian", ["sleep", "1000"], detach=True, network=name)
    later = client.containers.run("debian", ["sleep", "1000"], detach=True)
    try:
        own.connect(later, aliases=["later"], ipv4_address="10.83.0.83")
        own.reload()
        assert {one.id for one in own.containers} == {joined.id, later.id}
        assert own.attrs["IPAM"]["Config"][0]["Gateway"] == "10.83.0.254"
        later.reload()
        settings = later.attrs["NetworkSettings"]["Networks"][name]
        assert settings["IPAddress"] == "10.83.0.83"
        assert "later" in settings["Aliases"]
        code, output = joined.exec_run(["getent", "hosts", "later"])
        assert (code, output.split()[0]) == (0, b"10.83.0.83")
        own.disconnect(later)
        assert [one.id for one in client.networks.list(filters={"label": "by=py"})] == [own.id]
        with pytest.raises(docker.errors.APIError) as failure:
            own.remove()
        assert failure.value.status_code == 403
    finally:
        joined.remove(force=True)
        later.remove(force=True)
    assert name in client.networks.prune({"label": ["by=py"]})["NetworksDeleted"]
    with pytest.raises(docker.errors.NotFound):
        client.networks.get(name)
