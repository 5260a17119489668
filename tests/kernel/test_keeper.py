"""A link that somebody deletes comes back."""

from corten.core.networks.drivers.keeper import Keeper
from corten.linux.netlink import Netlink, create_bridge, delete_link
from tests.kernel.isolated import NEEDS, eventually, isolated

pytestmark = NEEDS


@isolated
def test_a_wanted_link_comes_back() -> None:
    """Only the loss of a wanted link is mended; a failure to mend does not end the watch."""
    mended: list[int] = []
    with Netlink() as netlink, Netlink() as other:

        def repair() -> None:
            mended.append(1)
            other.execute(create_bridge("ours0"))
            if len(mended) == 1:
                raise ValueError("the first attempt complains")

        netlink.execute(create_bridge("ours0"), create_bridge("theirs0"))
        keeper = Keeper(lambda name: name in ("ours0", ""), repair)
        try:
            netlink.execute(delete_link("theirs0"), delete_link("ours0"))
            assert eventually(lambda: netlink.link("ours0"))
            netlink.execute(delete_link("ours0"))
            assert eventually(lambda: netlink.link("ours0"))
        finally:
            keeper.close()
            keeper.close()
    assert len(mended) == 2
