"""Who can reach which port."""

from corten.engine.networks.reach import reach_of
from corten.engine.records.config import ContainerConfig
from corten.engine.records.container import Endpoint, Published
from tests.unit.engine.networks.records import BRIDGE, DATA, WEB, container, network

NETWORKS = {n.id: n for n in (BRIDGE, WEB, DATA)}


def test_published_and_exposed() -> None:
    """Published ports are everybody's unless bound to loopback; exposed ones are the network's."""
    site = container(
        config=ContainerConfig(exposed_ports={"80/tcp": {}}),
        endpoints=(Endpoint("web", WEB.id),),
        published=(Published("tcp", 80, "0.0.0.0", 8080), Published("tcp", 81, "127.0.0.1", 8081)),
    )
    found = [(r.container_port, r.host_port, r.who) for r in reach_of(site, NETWORKS)]
    assert found == [(80, 8080, "everyone"), (81, 8081, "this host"), (80, 0, "containers on web")]


def test_containers_kept_apart() -> None:
    """On a network that keeps its containers apart nobody reaches an exposed port."""
    apart = network("apart", options={"com.docker.network.bridge.enable_icc": "false"})
    site = container(
        config=ContainerConfig(exposed_ports={"80/tcp": {}}), endpoints=(Endpoint("apart", apart.id),)
    )
    assert [r.who for r in reach_of(site, {apart.id: apart})] == ["nobody"]
