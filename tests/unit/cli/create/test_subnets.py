"""--subnet, --gateway, --ip-range and --aux-address of network create."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.cli.create.subnets import subnets
from corten.cli.failure import Failure


def test_nothing_asked_is_nothing_sent() -> None:
    """The engine chooses."""
    assert subnets([], [], [], {}) == []


def test_each_part_finds_its_subnet() -> None:
    """Whatever the order, in both families."""
    assert subnets(
        ["10.0.0.0/24", "fd00::/64", "10.1.0.0/16"],
        ["10.1.2.0/24", "10.0.0.128/25"],
        ["fd00::1", "10.0.0.1"],
        {"router": "10.1.0.9", "printer": "10.1.0.8"},
    ) == [
        {"Subnet": "10.0.0.0/24", "IPRange": "10.0.0.128/25", "Gateway": "10.0.0.1"},
        {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
        {
            "Subnet": "10.1.0.0/16",
            "IPRange": "10.1.2.0/24",
            "AuxiliaryAddresses": {"router": "10.1.0.9", "printer": "10.1.0.8"},
        },
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], ["10.0.0.0/25"], [], {}), "every ip-range or gateway must have a corresponding subnet"),
        (([], [], ["10.0.0.1"], {}), "every ip-range or gateway must have a corresponding subnet"),
        ((["10.0.0.0/24", "10.0.0.0/16"], [], [], {}), "multiple overlapping subnet configuration"),
        ((["10.0.0.0/24", "10.0.0.0/24"], [], [], {}), "multiple overlapping subnet configuration"),
        ((["10.0.0.0/24"], ["10.1.0.0/25"], [], {}), "no matching subnet for range 10.1.0.0/25"),
        ((["10.0.0.0/24"], [], ["10.1.0.1"], {}), "no matching subnet for gateway 10.1.0.1"),
        ((["10.0.0.0/24"], [], ["fd00::1"], {}), "no matching subnet for gateway fd00::1"),
        ((["10.0.0.0/24"], [], [], {"a": "1.1.1.1"}), "no matching subnet for aux-address 1.1.1.1"),
        ((["10.0.0.0/24"], [], [], {"a": "x"}), "invalid IP address: x"),
        ((["socks"], [], [], {}), "invalid subnet socks"),
        ((["10.0.0.0/24"], ["x"], [], {}), "invalid ip-range x"),
        (
            (["10.0.0.0/24", "fd00::/64"], [], ["10.0.0.1", "10.0.0.2"], {}),
            r"cannot configure multiple gateways \(10.0.0.2, 10.0.0.1\) on the same subnet \(10.0.0.0/24\)",
        ),
        (
            (["10.0.0.0/24", "fd00::/64"], ["10.0.0.0/25", "10.0.0.128/25"], [], {}),
            "cannot configure multiple ranges",
        ),
    ],
)
def test_refuses_what_does_not_fit(arguments: Any, message: str) -> None:
    """In Docker's words."""
    with pytest.raises(Failure, match=message):
        subnets(*arguments)


@given(st.lists(st.integers(0, 255), unique=True, max_size=6), st.randoms())
def test_gateways_go_home_in_any_order(numbers: list[int], random: Any) -> None:
    """Each lands in the one subnet that holds it."""
    networks = [f"10.{number}.0.0/16" for number in numbers]
    gateways = [f"10.{number}.0.1" for number in numbers]
    random.shuffle(gateways)
    assert subnets(networks, [], gateways, {}) == [
        {"Subnet": f"10.{number}.0.0/16", "Gateway": f"10.{number}.0.1"} for number in numbers
    ]
