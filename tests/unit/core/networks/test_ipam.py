"""Addresses and subnets: what is given, in which order, and what is refused."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.core.networks.ipam import DEFAULT_POOLS, Pool, choose_subnet
from corten.errors import Conflict, InvalidInput, Unavailable

SMALL = IPv4Network("10.9.8.0/29")  # gateway .1, containers .2 to .6


def test_first_default_subnet_when_nothing_is_taken() -> None:
    """An unused host gets Docker's first pool."""
    assert choose_subnet([]) == IPv4Network("172.17.0.0/16")


def test_subnets_that_overlap_are_passed_over() -> None:
    """A larger, equal or smaller network in use blocks a subnet; pools go in order."""
    taken = [IPv4Network("172.17.3.0/24"), IPv4Network("172.18.0.0/15")]
    assert choose_subnet(taken) == IPv4Network("172.20.0.0/16")


def test_last_pool_is_cut_into_smaller_pieces() -> None:
    """When 172.16/12 is taken, pieces of 192.168/16 with 4096 addresses follow."""
    taken = [IPv4Network("172.16.0.0/12"), IPv4Network("192.168.1.0/24")]
    assert choose_subnet(taken) == IPv4Network("192.168.16.0/20")


def test_routes_to_everywhere_do_not_count() -> None:
    """Neither the default route nor its two halves, as tunnels install them, block anything."""
    everywhere = [IPv4Network("0.0.0.0/0"), IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1")]
    assert choose_subnet(everywhere) == DEFAULT_POOLS[0][0]


def test_no_subnet_left_says_what_to_do() -> None:
    """With every pool taken the message asks for a subnet."""
    with pytest.raises(Unavailable, match="choose a subnet"):
        choose_subnet([network for network, _ in DEFAULT_POOLS])


def test_gateway_is_first_and_containers_follow() -> None:
    """The gateway is .1; addresses are given from .2 on."""
    pool = Pool(SMALL)
    assert str(pool.gateway) == "10.9.8.1"
    assert [str(pool.take()) for _ in range(3)] == ["10.9.8.2", "10.9.8.3", "10.9.8.4"]


def test_freed_address_is_not_reused_at_once() -> None:
    """The next address comes after the one given last, and round at the end."""
    pool = Pool(SMALL)
    first = pool.take()
    pool.release(first)
    assert [str(pool.take())[-1] for _ in range(5)] == ["3", "4", "5", "6", "2"]


def test_exhausted_pool_says_so_and_recovers() -> None:
    """A full subnet is one clear line; a release makes room."""
    pool = Pool(SMALL)
    given_out = [pool.take() for _ in range(5)]
    with pytest.raises(Unavailable, match=r"no free address in 10\.9\.8\.0/29"):
        pool.take()
    pool.release(given_out[2])
    assert pool.take() == given_out[2]


def test_wished_address() -> None:
    """A wish is granted once, and skipped by others from then on."""
    pool = Pool(SMALL)
    assert pool.take(IPv4Address("10.9.8.2")) == IPv4Address("10.9.8.2")
    assert pool.take() == IPv4Address("10.9.8.3")
    with pytest.raises(Conflict, match="already in use"):
        pool.take(IPv4Address("10.9.8.3"))


@pytest.mark.parametrize("address", ["10.9.8.0", "10.9.8.1", "10.9.8.7", "10.9.9.2", "0.0.0.0"])
def test_wish_outside_is_refused(address: str) -> None:
    """Network, gateway, broadcast and foreign addresses are no container's."""
    with pytest.raises(InvalidInput, match="not a container address"):
        Pool(SMALL).take(IPv4Address(address))


def test_reserve_is_idempotent_and_ignores_foreign_addresses() -> None:
    """An address found in use is not given; one of another subnet changes nothing."""
    pool = Pool(SMALL)
    for address in ("10.9.8.2", "10.9.8.2", "172.17.0.2"):
        pool.reserve(IPv4Address(address))
    assert [str(pool.take())[-1] for _ in range(4)] == ["3", "4", "5", "6"]


@pytest.mark.parametrize("subnet", ["10.0.0.0/31", "10.0.0.0/32"])
def test_subnet_without_room_is_refused(subnet: str) -> None:
    """A subnet needs a gateway and one container."""
    with pytest.raises(InvalidInput, match="no room"):
        Pool(IPv4Network(subnet))


@given(st.lists(st.one_of(st.none(), st.integers(0, 4)), max_size=60))
def test_no_address_has_two_owners(steps: list[int | None]) -> None:
    """Whatever the order of taking (None) and releasing (position), owners never share an address."""
    pool = Pool(SMALL)
    held: list[IPv4Address] = []
    for step in steps:
        if step is None and len(held) < 5:
            address = pool.take()
            assert address not in held
            assert pool.holds(address)
            held.append(address)
        elif step is not None and step < len(held):
            pool.release(held.pop(step))
