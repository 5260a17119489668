"""Filters of the image list: Docker's keys and their meaning."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from corten.engine.records.images import Image, ImageRepository
from corten.errors import InvalidInput
from corten.oci.reference import Reference

Filters = Mapping[str, Sequence[str]]
Test = Callable[[Image], bool]

_TRUE, _FALSE = ("1", "true", "t"), ("0", "false", "f")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")
_TOKEN = re.compile(r"\[\^?[^\]]+\]|\\.|.", re.DOTALL)
_WILD = {"*": "[^/]*", "?": "[^/]"}
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def select(filters: Filters, images: ImageRepository) -> list[Image]:
    """Return the images that pass all *filters*, the newest first.

    Raises:
        InvalidInput: an unknown key or a malformed value.
        NotFound: ``before`` or ``since`` names no image.
    """
    tests: list[Test] = [lambda image: bool(matching(image, filters))] if "reference" in filters else []
    for key, values in filters.items():
        if key not in KEYS:
            raise InvalidInput(f"invalid filter '{key}'")
        if key in _TESTS:
            tests += [_TESTS[key](value, images) for value in values]
    chosen = [image for image in images.all() if all(test(image) for test in tests)]
    return sorted(chosen, key=lambda image: (-seconds(image.created), image.id))


def _dangling(value: str, _: ImageRepository) -> Test:
    wanted = _boolean("dangling", value)
    return lambda image: (not image.references) is wanted


def _label(value: str, _: ImageRepository) -> Test:
    return lambda image: has_label(image.labels, value)


def _no_label(value: str, _: ImageRepository) -> Test:
    return lambda image: not has_label(image.labels, value)


def _before(value: str, images: ImageRepository) -> Test:
    limit = seconds(images.find(value).created)
    return lambda image: seconds(image.created) < limit


def _since(value: str, images: ImageRepository) -> Test:
    limit = seconds(images.find(value).created)
    return lambda image: seconds(image.created) > limit


def _until(value: str, _: ImageRepository) -> Test:
    limit = moment(value)
    return lambda image: seconds(image.created) < limit


_TESTS: dict[str, Callable[[str, ImageRepository], Test]] = {
    "before": _before,
    "dangling": _dangling,
    "label": _label,
    "label!": _no_label,
    "since": _since,
    "until": _until,
}
KEYS = frozenset(_TESTS) | {"reference"}


def matching(image: Image, filters: Filters) -> list[Reference]:
    """Return the references of *image* that pass the ``reference`` filter, all without one."""
    references = [Reference.parse(reference) for reference in image.references]
    patterns = [pattern(text) for text in filters.get("reference", ())]
    if not patterns:
        return references
    return [each for each in references if any(_fits(test, each) for test in patterns)]


def _fits(test: re.Pattern[str], reference: Reference) -> bool:
    names = (reference.familiar, reference.name, str(reference), reference.repository)
    return any(test.fullmatch(name) for name in names)


def pattern(text: str) -> re.Pattern[str]:
    """Compile a shell pattern in which ``*`` and ``?`` stop at a slash.

    Raises:
        InvalidInput: a bracket or a backslash without its end.
    """
    parts = []
    for token in _TOKEN.findall(text):
        if token in ("[", "\\"):
            raise InvalidInput(f"invalid reference filter {text!r}: not a pattern")
        if token.startswith("[") and len(token) > 1:
            inner = token[1:-1]
            negated = inner.startswith("^")
            parts.append(f"[{'^' if negated else ''}{_escape_class(inner.removeprefix('^'))}]")
        else:
            parts.append(_WILD.get(token) or re.escape(token.removeprefix("\\")))
    try:
        return re.compile("".join(parts))
    except re.error:
        raise InvalidInput(f"invalid reference filter {text!r}: not a pattern") from None


def _escape_class(text: str) -> str:
    return re.sub(r"([\[\]\\^&~|])", r"\\\1", text)


def _boolean(key: str, value: str) -> bool:
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
