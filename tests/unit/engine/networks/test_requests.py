"""What a user asks of networks, read from bodies of requests."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.engine.networks.requests import (
    Ipam,
    NetworkRequest,
    decode_connect,
    decode_disconnect,
    decode_network_create,
)
from corten.engine.records.config import EndpointSettings, IpamConfig
from corten.engine.records.network import IpamSubnet
from corten.errors import InvalidInput

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
MEMBERS = ("Name", "IPAM", "Options", "Labels", "EnableIPv6", "Container", "EndpointConfig", "Force")


def test_reads_a_whole_request() -> None:
    """Every member of Docker's has its place; the duplicate check of old clients is ignored."""
    body = {
        "Name": "n",
        "CheckDuplicate": True,
        "Driver": "macvlan",
        "Scope": "local",
        "EnableIPv4": True,
        "EnableIPv6": True,
        "IPAM": {
            "Driver": "default",
            "Options": {"o": "1"},
            "Config": [
                {
                    "Subnet": "10.0.0.0/24",
                    "IPRange": "10.0.0.128/25",
                    "Gateway": "10.0.0.1",
                    "AuxiliaryAddresses": {"router": "10.0.0.2"},
                },
                {"Subnet": "fd00::/64"},
            ],
        },
        "Internal": True,
        "Attachable": True,
        "Ingress": False,
        "ConfigOnly": True,
        "ConfigFrom": {"Network": "other"},
        "Options": {"parent": "eth0"},
        "Labels": {"a": "b"},
    }
    assert decode_network_create(json.dumps(body).encode()) == NetworkRequest(
        name="n",
        driver="macvlan",
        scope="local",
        enable_ipv4=True,
        enable_ipv6=True,
        ipam=Ipam(
            driver="default",
            options={"o": "1"},
            config=(
                IpamSubnet(
                    subnet="10.0.0.0/24",
                    ip_range="10.0.0.128/25",
                    gateway="10.0.0.1",
                    reserved={"router": "10.0.0.2"},
                ),
                IpamSubnet(subnet="fd00::/64"),
            ),
        ),
        internal=True,
        attachable=True,
        config_only=True,
        config_from="other",
        options={"parent": "eth0"},
        labels={"a": "b"},
    )


def test_null_means_not_given() -> None:
    """As clients in Python and Go send it; in a map of the user's keys it is an empty text."""
    members = ("EnableIPv4", "EnableIPv6", "IPAM", "ConfigFrom", "Options", "Labels", "Driver")
    body = json.dumps({"Name": "n", **dict.fromkeys(members)})
    assert decode_network_create(body.encode()) == NetworkRequest(name="n")

    body = json.dumps({"Name": "n", "Options": {"k": None}, "IPAM": {"Config": None, "Options": None}})
    assert decode_network_create(body.encode()) == NetworkRequest(name="n", options={"k": ""})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"Name": 1}', r"Expected `str`, got `int` - at `\$.Name`"),
        ('{"Name": "n", "Internal": "yes"}', r"\$.Internal"),
        ('{"Name": "n", "IPAM": {"Config": [{"Subnet": 1}]}}', r"\$.IPAM.Config\[0\].Subnet"),
        ('{"Name": "n", "Labels": ["a=b"]}', r"\$.Labels"),
        ("{}", "invalid network name: it is empty"),
        ('{"Name": " "}', "invalid network name: it is empty"),
        ("[]", "send a JSON object"),
        ("", "invalid JSON"),
        ("{", "invalid JSON"),
    ],
)
def test_refuses_what_is_no_request(body: str, message: str) -> None:
    """The member at fault is named."""
    with pytest.raises(InvalidInput, match=message):
        decode_network_create(body.encode())


def test_reads_what_a_container_asks_of_a_network() -> None:
    """The settings of the endpoint; none of them is fine, too."""
    settings = {
        "IPAMConfig": {"IPv4Address": "10.0.0.5", "LinkLocalIPs": None},
        "Aliases": ["db"],
        "Links": None,
        "DriverOpts": {"k": None},
        "GwPriority": 3,
    }
    found = decode_connect(json.dumps({"Container": "c", "EndpointConfig": settings}).encode())
    assert found.container == "c"
    assert found.endpoint_config == EndpointSettings(
        ipam_config=IpamConfig(ipv4_address="10.0.0.5"),
        aliases=("db",),
        driver_opts={"k": ""},
        gw_priority=3,
    )
    bare = decode_connect(b'{"Container": "c", "EndpointConfig": null}')
    assert bare.endpoint_config == EndpointSettings()


def test_reads_what_to_disconnect() -> None:
    """A container, and whether it may be gone."""
    found = decode_disconnect(b'{"Container": "c", "Force": true}')
    assert (found.container, found.force) == ("c", True)


@pytest.mark.parametrize("decode", [decode_connect, decode_disconnect])
def test_a_container_must_be_named(decode: object) -> None:
    """An empty name would match anything."""
    assert callable(decode)
    with pytest.raises(InvalidInput, match="no container name"):
        decode(b'{"Container": ""}')


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON))
def test_any_json_is_read_or_refused(body: dict[str, object]) -> None:
    """Nothing but the refusal ever comes of a strange body."""
    for decode in (decode_network_create, decode_connect, decode_disconnect):
        with suppress(InvalidInput):
            decode(json.dumps(body).encode())
