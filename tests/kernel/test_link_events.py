"""Links that go are told, and nothing else is."""

import select

from corten.linux.link_events import LinkEvents
from corten.linux.netlink import Netlink, create_bridge, delete_link, set_link
from tests.kernel.isolated import DEADLINE, NEEDS, isolated

pytestmark = NEEDS


@isolated
def test_a_deleted_link_is_told() -> None:
    """A deletion is told by name; making and changing links is not."""
    with LinkEvents() as events, Netlink() as netlink:
        netlink.execute(create_bridge("told0"), create_bridge("kept0"))
        netlink.execute(set_link("told0", up=True))
        assert not select.select([events], [], [], 0)[0]
        netlink.execute(delete_link("told0"))
        assert select.select([events], [], [], DEADLINE)[0]
        assert "told0" in events.read()
        assert events.read() == []
