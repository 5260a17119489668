"""Addresses over all subnets of a network: given whole or not at all, and given back once."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.core.networks.drivers.addresses import Addresses, Given
from corten.core.networks.values import Subnet, Wishes
from corten.errors import Conflict, InvalidInput, Unavailable

V4, V6 = Subnet(subnet="10.1.2.0/29"), Subnet(subnet="fd00:1::/64")


def addresses(*subnets: Subnet) -> Addresses:
    """The addresses of a network of these subnets."""
    return Addresses("web", subnets)


def test_both_families_are_given() -> None:
    """An endpoint gets one address of each family there is, with its bits and gateway."""
    v4, v6 = addresses(V4, V6).take("a", Wishes())
    assert v4 == Given("10.1.2.2", 29, "10.1.2.1")
    assert v6 == Given("fd00:1::2", 64, "fd00:1::1")


def test_a_family_that_is_not_there_is_empty() -> None:
    """Without a subnet of IPv6 there is no address of it, and without any subnet none at all."""
    assert addresses(V4).take("a", Wishes())[1] == Given()
    assert addresses().take("a", Wishes()) == (Given(), Given())


def test_gateways_with_their_bits() -> None:
    """The gateways are those wished for, or the first addresses."""
    made = addresses(V4, Subnet(subnet="10.9.0.0/16", gateway="10.9.9.9"), V6)
    assert [str(each) for each in made.gateways(4)] == ["10.1.2.1/29", "10.9.9.9/16"]
    assert [str(each) for each in made.gateways(6)] == ["fd00:1::1/64"]


def test_second_subnet_is_used_when_the_first_is_full() -> None:
    """With several subnets of a family an address comes from the first that has one, with its own gateway."""
    made = addresses(Subnet(subnet="10.1.2.0/30"), Subnet(subnet="10.1.3.0/30"))
    assert made.take("a", Wishes())[0].gateway == "10.1.2.1"
    assert made.take("b", Wishes())[0] == Given("10.1.3.2", 30, "10.1.3.1")
    with pytest.raises(Unavailable):
        made.take("c", Wishes())


def test_wish_chooses_the_subnet() -> None:
    """A wished address comes from the subnet that has it."""
    made = addresses(V4, Subnet(subnet="10.1.3.0/24"), V6)
    v4, v6 = made.take("a", Wishes(address="10.1.3.77", address6="FD00:1::77"))
    assert (v4.address, v4.prefix, v6.address) == ("10.1.3.77", 24, "fd00:1::77")


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        (Wishes(address="10.9.9.9"), "choose one of 10.1.2.0/29"),
        (Wishes(address="10.1.2.1"), "10.1.2.1"),
        (Wishes(address="nonsense"), 'invalid IPv4 address: "nonsense"'),
        (Wishes(address="10.1.2.02"), 'invalid IPv4 address: "10.1.2.02"'),
        (Wishes(address="fd00:1::5"), "invalid IPv4 address"),
        (Wishes(address6="10.1.2.3"), "invalid IPv6 address"),
        (Wishes(address6="fe80::1%eth0"), "invalid IPv6 address"),
        (Wishes(address6="fd00:1::5"), "choose one of a network that has IPv6"),
    ],
)
def test_wish_that_cannot_be_takes_nothing(wishes: Wishes, said: str) -> None:
    """What is no address for a container of this network is refused, and costs no address."""
    made = addresses(V4)
    with pytest.raises(InvalidInput, match=said):
        made.take("a", wishes)
    for number in range(5):
        made.take(str(number), Wishes())


def test_failure_in_one_family_frees_the_other() -> None:
    """It is both addresses or none."""
    made = addresses(V4, V6)
    made.take("a", Wishes(address6="fd00:1::5"))
    with pytest.raises(Conflict):
        made.take("b", Wishes(address="10.1.2.5", address6="fd00:1::5"))
    assert made.take("c", Wishes(address="10.1.2.5"))[0].address == "10.1.2.5"


def test_given_back_once() -> None:
    """Giving back a second time does not take the address from its next owner."""
    made = addresses(V4)
    made.take("a", Wishes(address="10.1.2.3"))
    made.give_back("a")
    made.take("b", Wishes(address="10.1.2.3"))
    made.give_back("a")
    with pytest.raises(Conflict):
        made.take("c", Wishes(address="10.1.2.3"))


def test_adopted_addresses_are_not_given() -> None:
    """What a running container has is taken until it is given back; foreign addresses do not matter."""
    made = addresses(V4, V6)
    made.adopt("a", "10.1.2.2", "fd00:1::2")
    made.adopt("a", "10.1.2.2", "fd00:1::2")
    made.adopt("b", "192.0.2.1", "")
    assert [one.address for one in made.take("c", Wishes())] == ["10.1.2.3", "fd00:1::3"]
    made.give_back("a")
    assert made.take("d", Wishes(address="10.1.2.2"))[0].address == "10.1.2.2"


def test_reserved_and_range() -> None:
    """Auxiliary addresses are never given, and without a wish only the range is."""
    subnet = Subnet(subnet="10.1.2.0/24", ip_range="10.1.2.8/29", reserved={"router": "10.1.2.9"})
    made = addresses(subnet)
    got = [made.take(str(number), Wishes())[0].address for number in range(7)]
    assert got == [f"10.1.2.{n}" for n in (8, 10, 11, 12, 13, 14, 15)]


@pytest.mark.parametrize(
    "subnet", [Subnet(subnet="10.1.2.0/32"), Subnet(subnet="10.1.2.3/24"), Subnet(subnet="x")]
)
def test_bad_subnet_is_refused(subnet: Subnet) -> None:
    """A subnet without room, with host bits, or that is none, is one clear line."""
    with pytest.raises(InvalidInput):
        addresses(subnet)


@given(st.lists(st.tuples(st.sampled_from(["take", "give", "adopt"]), st.integers(0, 5)), max_size=40))
def test_no_address_has_two_owners(moves: list[tuple[str, int]]) -> None:
    """Whatever is taken, given back and adopted in whatever order, nobody shares an address."""
    made, held = addresses(V4), dict[str, str]()
    for move, number in moves:
        owner = str(number)
        if move == "give":
            made.give_back(owner)
            held.pop(owner, None)
        elif move == "adopt" and owner in held:
            made.adopt(owner, held[owner])
        elif move == "take" and owner not in held and len(held) < 5:
            held[owner] = made.take(owner, Wishes())[0].address
        assert all(count == 1 for count in Counter(held.values()).values())
