"""Platforms in a query: JSON objects, as newer clients send them, or ``os/architecture``."""

import msgspec

from corten.errors import InvalidInput
from corten.oci.platform import Platform
from corten.serve.api.query import Query


def platforms(query: Query, name: str = "platform") -> list[Platform]:
    """Return the platforms that *query* names, none where it names none.

    Raises:
        InvalidInput: one is neither of both forms.
    """
    return [found for text in query.all(name) for found in _read(text) if text]


def platform(query: Query) -> Platform | None:
    """Return the one platform that *query* names, or None.

    Raises:
        InvalidInput: malformed, or more than one.
    """
    found = platforms(query)
    if len(found) > 1:
        raise InvalidInput(
            "one platform at a time: images for several have the same name, which only one can have"
        )
    return found[0] if found else None


def _read(text: str) -> list[Platform]:
    if not text.startswith(("{", "[")):
        return [Platform.parse(text)]
    try:
        found = msgspec.json.decode(text, type=Platform | list[Platform])
    except msgspec.DecodeError as error:
        raise InvalidInput(f"invalid platform: {error}") from None
    return [each.normalised() for each in (found if isinstance(found, list) else [found])]
