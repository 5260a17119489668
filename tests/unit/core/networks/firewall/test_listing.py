"""What nft lists, taken apart."""

import msgspec

from corten.core.networks.firewall.elements import Element
from corten.core.networks.firewall.listing import parse


def listed(*entries: dict[str, object]) -> str:
    """Text as libnftables prints it."""
    return msgspec.json.encode({"nftables": [{"metainfo": {"version": "1.0.6"}}, *entries]}).decode()


def test_elements_of_every_form() -> None:
    """Plain, concatenated, with a prefix, and those of maps."""
    text = listed(
        {"set": {"name": "bridges", "elem": ["br0"]}},
        {"set": {"name": "own4", "elem": [{"concat": ["br0", {"prefix": {"addr": "10.0.0.0", "len": 24}}]}]}},
        {"map": {"name": "every4", "elem": [[{"concat": ["tcp", 80]}, {"concat": ["10.0.0.2", 8080]}]]}},
    )
    assert parse(text).elements == {
        Element("bridges", ("br0",)),
        Element("own4", ("br0", "10.0.0.0/24")),
        Element("every4", ("tcp", "80"), ("10.0.0.2", "8080")),
    }


def test_skeleton_does_not_depend_on_numbers_and_elements() -> None:
    """Handles differ each time a table is made; elements come and go."""
    one = listed(
        {"set": {"name": "bridges", "handle": 1, "elem": ["br0"]}},
        {"rule": {"chain": "c", "handle": 2, "expr": [{"drop": None}]}},
    )
    other = listed(
        {"set": {"name": "bridges", "handle": 8}},
        {"rule": {"chain": "c", "handle": 9, "expr": [{"drop": None}]}},
    )
    changed = listed(
        {"set": {"name": "bridges", "handle": 8}},
        {"rule": {"chain": "c", "handle": 9, "expr": [{"accept": None}]}},
    )
    assert parse(one).skeleton == parse(other).skeleton != parse(changed).skeleton


def test_elements_that_others_made_do_not_break_it() -> None:
    """A comment, a range: they are told from ours, whatever they are."""
    text = listed(
        {"set": {"name": "bridges", "elem": [{"elem": {"val": "br0", "comment": "mine"}}]}},
        {"set": {"name": "subnets4", "elem": [{"range": ["10.0.0.1", "10.0.0.9"]}]}},
    )
    names = {element.group: element.key for element in parse(text).elements}
    assert names["bridges"] == ("br0",)
    assert names["subnets4"] != ("10.0.0.1",)
