"""What nft lists of our table, taken apart so that it can be compared: pure.

Source: libnftables-json(5).
"""

from typing import Any, NamedTuple

import msgspec

from corten.core.networks.firewall.elements import Element

_NUMBERING = ("handle", "index")  # differs from one making of the table to the next


class Listing(NamedTuple):
    """``skeleton`` is everything but the elements: sets, maps, chains, rules, in the kernel's order."""

    skeleton: tuple[str, ...]
    elements: frozenset[Element]


def parse(text: str) -> Listing:
    """Take the answer to ``list table`` apart.

    Raises:
        ValueError: *text* is not what libnftables prints.
    """
    skeleton: list[str] = []
    found: set[Element] = set()
    for entry in msgspec.json.decode(text)["nftables"]:
        for kind, fields in entry.items():
            if kind == "metainfo":
                continue
            found.update(_element(fields["name"], item) for item in fields.get("elem", ()))
            kept = {
                name: value for name, value in fields.items() if name not in _NUMBERING and name != "elem"
            }
            skeleton.append(msgspec.json.encode([kind, kept]).decode())
    return Listing(tuple(skeleton), frozenset(found))


def _element(group: str, item: Any) -> Element:
    if isinstance(item, list):
        key, value = item
        return Element(group, _parts(key), _parts(value))
    return Element(group, _parts(item))


def _parts(item: Any) -> tuple[str, ...]:
    if not isinstance(item, dict):
        return (str(item),)
    if "concat" in item:
        return tuple(part for inner in item["concat"] for part in _parts(inner))
    if "prefix" in item:
        return (f"{item['prefix']['addr']}/{item['prefix']['len']}",)
    if "elem" in item:  # an element with a comment, a timeout or a counter: somebody else's
        return _parts(item["elem"]["val"])
    return (msgspec.json.encode(item).decode(),)
