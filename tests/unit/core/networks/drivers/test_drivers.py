"""From what a network shall be to the object that makes it."""

import msgspec
import pytest
from msgspec.structs import replace

from corten.core.networks.drivers import drivers
from corten.core.networks.drivers.bridge import BridgeNetwork
from corten.core.networks.drivers.macvlan import MacvlanNetwork
from corten.core.networks.values import Endpoint, NetworkSpec
from corten.errors import InvalidInput, NotFound
from tests.unit.core.networks.drivers.recording import BRIDGE


def test_each_driver_has_its_class() -> None:
    """The spec decides; a bridge is named after the network as Docker does, or as the caller says."""
    made = drivers.make(BRIDGE, tag="corten")
    assert isinstance(made, BridgeNetwork)
    assert made.link == f"br-{BRIDGE.id[:12]}" == drivers.link_name(BRIDGE.id)
    assert drivers.make(BRIDGE, tag="corten", bridge="corten0").link == "corten0"
    for driver in ("macvlan", "ipvlan"):
        assert isinstance(drivers.make(replace(BRIDGE, driver=driver), tag="corten"), MacvlanNetwork)


@pytest.mark.parametrize("driver", ["overlay", "", "null", "weave"])
def test_unknown_driver_is_not_found(driver: str) -> None:
    """A driver that there is not says so by name."""
    with pytest.raises(NotFound, match=f"no such plugin: {driver}"):
        drivers.make(replace(BRIDGE, driver=driver), tag="corten")


def test_unknown_option_is_refused() -> None:
    """An option that the driver does not know is refused before anything is made."""
    with pytest.raises(InvalidInput, match="unknown option speed"):
        drivers.make(replace(BRIDGE, options={"speed": "high"}), tag="corten")


@pytest.mark.parametrize(
    "value",
    [BRIDGE, Endpoint(network="a", network_id="b", endpoint_id="c", host_link="", interface="eth0", mac="")],
)
def test_values_survive_a_record(value: NetworkSpec | Endpoint) -> None:
    """What a network is and what an endpoint has come back equal from JSON."""
    assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value
