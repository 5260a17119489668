"""--network of run and create."""

from typing import Any

import pytest

from corten.cli.create.networks import network


@pytest.mark.parametrize(
    ("text", "name", "endpoint"),
    [
        ("lan", "lan", {}),
        ("container:web", "container:web", {}),
        ("name=lan", "lan", {}),
        (
            "name=lan,alias=a,alias=b,ip=1.2.3.4,ip6=fd00::2,mac-address=02:00:00:00:00:01",
            "lan",
            {
                "Aliases": ["a", "b"],
                "IPAMConfig": {"IPv4Address": "1.2.3.4", "IPv6Address": "fd00::2"},
                "MacAddress": "02:00:00:00:00:01",
            },
        ),
        (
            'name=lan,"driver-opt=k=a,b",driver-opt=l=c,gw-priority=-3,link-local-ip=169.254.1.1',
            "lan",
            {
                "DriverOpts": {"k": "a,b", "l": "c"},
                "GwPriority": -3,
                "IPAMConfig": {"LinkLocalIPs": ["169.254.1.1"]},
            },
        ),
    ],
)
def test_reads_both_forms(text: str, name: str, endpoint: dict[str, Any]) -> None:
    """A name alone, or fields."""
    assert network(text) == {"name": name, "endpoint": endpoint}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alias=a", "network name/id is not specified"),
        ("name=n,color=red", "invalid field key color"),
        ("name=n,red", "invalid field red"),
        ("name=n,gw-priority=high", r"invalid gw-priority \(high\)"),
    ],
)
def test_refuses_unknown_fields(text: str, message: str) -> None:
    """One line says which."""
    with pytest.raises(ValueError, match=message):
        network(text)
