"""The text of the table."""

import pytest

from corten.core.networks.firewall.elements import Element, elements
from corten.core.networks.firewall.state import Opening, Side
from corten.core.networks.firewall.table import GROUPS, RULES, change, checked_name, whole
from corten.errors import InvalidInput

SIDE = Side(bridge="br0", subnets=("10.1.0.0/24",))
OPENING = Opening(
    protocol="tcp", host_ip="0.0.0.0", host_port=8080, address="10.1.0.2", port=80, bridge="br0"
)


def test_whole_table_replaces_what_was() -> None:
    """The table is made where missing, deleted, and made with every group, the rules and what fills them."""
    text = whole("corten", [SIDE], [OPENING])
    assert text.startswith("add table inet corten\ndelete table inet corten\ntable inet corten {\n")
    assert all(f"    {group}\n" in text for group in GROUPS.values())
    assert RULES in text
    assert "add element inet corten every4 { tcp . 8080 : 10.1.0.2 . 80 }\n" in text
    assert 'add element inet corten own4 { "br0" . 10.1.0.0/24 }\n' in text


def test_change_is_the_difference() -> None:
    """What stays is not mentioned; what goes is deleted by its key alone, before anything is added."""
    kept = Element("every4", ("udp", "53"), ("10.1.0.9", "53"))
    old = Element("every4", ("tcp", "80"), ("10.1.0.2", "80"))
    new = Element("every4", ("tcp", "80"), ("10.1.0.3", "80"))
    assert change("t", [kept, old], [new, kept]) == (
        "delete element inet t every4 { tcp . 80 }\nadd element inet t every4 { tcp . 80 : 10.1.0.3 . 80 }\n"
    )
    assert change("t", [old], [old]) == ""


def test_change_from_nothing_is_what_the_whole_table_ends_with() -> None:
    """A table that is filled later holds the same."""
    assert whole("t", [SIDE], [OPENING]).endswith(change("t", (), elements([SIDE], [OPENING])))


def test_rules_name_only_groups_that_exist() -> None:
    """Each group is used by a rule, and each rule finds its group."""
    used = {word[1:] for word in RULES.split() if word.startswith("@")}
    assert used == set(GROUPS)


@pytest.mark.parametrize("name", ["", "0abc", "a b", "a; flush ruleset", "x" * 65])
def test_impossible_names_are_refused(name: str) -> None:
    """A name of a table is checked before it becomes text for nft."""
    with pytest.raises(InvalidInput, match="table name"):
        checked_name(name)
