"""Names, numbers and masks of capabilities."""

import pytest

from corten.errors import InvalidInput
from corten.linux import capabilities


@pytest.mark.parametrize(
    "text", ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_net_admin", "Cap_Net_Admin"]
)
def test_reads_every_way_to_write_a_name(text: str) -> None:
    """A name may come with or without its prefix and in any case."""
    assert capabilities.parse(text) == "CAP_NET_ADMIN"


@pytest.mark.parametrize("text", ["", "CAP_", "NET-ADMIN", "ROOT", "CAP_CAP_KILL"])
def test_refuses_what_is_no_capability(text: str) -> None:
    """An unknown name is refused, and the message shows it."""
    with pytest.raises(InvalidInput, match=repr(text)):
        capabilities.parse(text)


def test_the_default_is_that_of_docker() -> None:
    """Fourteen capabilities, with the mask that Docker's containers show."""
    assert len(capabilities.DEFAULT) == 14
    assert capabilities.mask(capabilities.DEFAULT) == 0xA80425FB


def test_names_stand_at_their_numbers() -> None:
    """Numbers are those of the kernel's header."""
    for name, number in (("CHOWN", 0), ("SYS_ADMIN", 21), ("AUDIT_READ", 37), ("CHECKPOINT_RESTORE", 40)):
        assert capabilities.mask([f"CAP_{name}"]) == 1 << number


def test_a_mask_and_its_names_are_the_same_set() -> None:
    """Turning a mask into names and back changes nothing."""
    everything = (1 << len(capabilities.NAMES)) - 1
    for bits in (0, 1, 0xA80425FB, everything):
        assert capabilities.mask(capabilities.names_of(bits)) == bits
