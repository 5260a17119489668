"""What a container may ask of the engine's name server."""

from corten.engine.networks.views import view_of
from corten.engine.records.config import EndpointSettings, HostConfig
from corten.engine.records.container import Endpoint
from tests.unit.engine.networks.records import BRIDGE, WEB

ON_WEB = Endpoint("web", WEB.id, names=("site",), wishes=EndpointSettings(links=("db:database",)))
ON_BRIDGE = Endpoint("bridge", BRIDGE.id)
HOST_TEXT = "nameserver 192.0.2.53\nsearch example.org\n"


def test_the_hosts_servers() -> None:
    """Without a wish the host's servers are asked."""
    view = view_of(HostConfig(), [ON_WEB, ON_BRIDGE], HOST_TEXT, external=True)
    assert [(s.address, s.inside) for s in view.servers] == [("192.0.2.53", True)]
    assert (view.networks, view.links, view.external) == ((WEB.id,), {"database": "db"}, True)


def test_own_servers() -> None:
    """Servers that the user names are asked from the container's namespace."""
    view = view_of(HostConfig(dns=("192.0.2.1",)), [ON_WEB], HOST_TEXT, external=True)
    assert [(s.address, s.inside) for s in view.servers] == [("192.0.2.1", True)]


def test_internal() -> None:
    """A container without a way out has nobody outside to ask, whoever is named."""
    view = view_of(HostConfig(dns=("192.0.2.1",)), [ON_WEB], HOST_TEXT, external=False)
    assert (view.servers, view.external) == ((), False)
