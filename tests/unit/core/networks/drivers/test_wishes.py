"""What users ask of an endpoint, checked."""

import itertools

import pytest

from corten.core.networks.drivers import wishes
from corten.core.networks.values import Wishes
from corten.errors import InvalidInput


def test_random_macs_are_local_and_for_one_station() -> None:
    """The two lowest bits of the first byte say locally administered, not a group."""
    for mac in itertools.islice(iter(wishes.random_mac, ""), 200):
        assert int(mac[:2], 16) & 0b11 == 0b10


def test_wished_mac_is_kept() -> None:
    """A MAC is taken in either common form and given back in Docker's; without a wish it is random."""
    assert wishes.mac_of(Wishes(mac="02-AB-00-00-00-01")) == "02:ab:00:00:00:01"
    assert wishes.mac_of(Wishes()) != wishes.mac_of(Wishes())


@pytest.mark.parametrize("mac", ["02:00", "zz:00:00:00:00:00", "01:00:5e:00:00:01", "00:00:00:00:00:00"])
def test_bad_mac_is_refused(mac: str) -> None:
    """Wrong forms, group addresses and zero are refused."""
    with pytest.raises(InvalidInput, match="invalid MAC address"):
        wishes.mac_of(Wishes(mac=mac))


@pytest.mark.parametrize("name", ["", "lo", "a" * 16, "eth 0", "eth/0", "../eth0", "eth0\n", ".."])
def test_bad_interface_name_is_refused(name: str) -> None:
    """A name that no link can have, or that leads elsewhere below /proc/sys, is refused."""
    with pytest.raises(InvalidInput, match="interface name"):
        wishes.check(Wishes(interface=name))


def test_link_local_addresses_get_their_bits() -> None:
    """Link-local addresses are those of the two networks that are so by definition."""
    made = wishes.link_local(Wishes(link_local=("169.254.7.7", "fe80::7")))
    assert [str(each) for each in made] == ["169.254.7.7/16", "fe80::7/64"]


@pytest.mark.parametrize("text", ["10.0.0.1", "nonsense", "fd00::1", "fe80::1%eth0"])
def test_other_addresses_are_not_link_local(text: str) -> None:
    """What is not link-local is refused before anything is made."""
    with pytest.raises(InvalidInput, match="link-local"):
        wishes.check(Wishes(link_local=(text,)))
