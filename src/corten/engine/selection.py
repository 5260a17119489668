"""What filters of every noun have in common: labels, and moments in time. Pure."""

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from corten.errors import InvalidInput

_TRUE, _FALSE = ("1", "true", "t"), ("0", "false", "f")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def boolean(key: str, value: str) -> bool:
    """Return the value of a filter that is true or false.

    Raises:
        InvalidInput: it is neither.
    """
    if value.lower() not in _TRUE + _FALSE:
        raise InvalidInput(f"invalid filter '{key}={value}': expected true or false")
    return value.lower() in _TRUE


def has_label(labels: Mapping[str, str], text: str) -> bool:
    """Tell whether *labels* hold what *text* asks for: ``key``, or ``key=value``."""
    key, equals, value = text.partition("=")
    return key in labels and (not equals or labels[key] == value)


def seconds(created: str) -> float:
    """Return an RFC 3339 time as seconds since the epoch; 0 for none, or one that is malformed."""
    try:
        return _parse_time(created).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _parse_time(text: str) -> datetime:
    """Read RFC 3339; digits beyond the microsecond are dropped."""
    found = datetime.fromisoformat(re.sub(r"(\.\d{1,6})\d*", r"\1", text))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def moment(text: str) -> float:
    """Return the time that ``until`` means: Unix seconds, a date, or a duration before now.

    Raises:
        InvalidInput: it is none of these.
    """
    if re.fullmatch(r"\d{1,12}(\.\d+)?", text):
        return float(text)
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return time.time() - sum(float(number) * _SECONDS[unit] for number, unit in parts)
    try:
        return _parse_time(text).timestamp()
    except (ValueError, OverflowError):
        raise InvalidInput(f"invalid filter 'until={text}': expected a time or a duration") from None
