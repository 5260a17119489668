"""Records for the tests of networks."""

from typing import Any

from corten.engine.records.config import ContainerConfig, HostConfig
from corten.engine.records.container import Container
from corten.engine.records.network import IpamSubnet, Network
from corten.errors import NotFound


def network(name: str, **members: Any) -> Network:
    """A network whose id is made of its name."""
    return Network(
        **{"id": name.encode().hex().ljust(64, "0"), "name": name, "created": "2026-01-01T00:00:00Z"}
        | members
    )


BRIDGE = network("bridge", subnets=(IpamSubnet(subnet="172.17.0.0/16", gateway="172.17.0.1"),))
HOST, NONE = network("host", driver="host"), network("none", driver="null")
WEB, DATA = network("web"), network("data", internal=True)
LENDER = network("settings", config_only=True)


def find(reference: str) -> Network:
    """The network of a name or id, as the repository finds it."""
    for known in (BRIDGE, HOST, NONE, WEB, DATA, LENDER):
        if reference in (known.name, known.id):
            return known
    raise NotFound("network", reference)


def container(**members: Any) -> Container:
    """A container that asks for nothing special."""
    given: dict[str, Any] = {
        "id": "c" * 64,
        "name": "site",
        "created": "2026-01-01T00:00:00Z",
        "image_id": "sha256:" + "a" * 64,
        "config": ContainerConfig(hostname="box"),
        "host_config": HostConfig(),
        "path": "nginx",
        "args": (),
        "snapshotter": "overlay",
    }
    return Container(**given | members)
