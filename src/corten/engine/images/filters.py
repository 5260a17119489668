"""Filters of the image list: Docker's keys and their meaning."""

import re
from collections.abc import Callable, Mapping, Sequence

from corten.engine.records.images import Image, ImageRepository
from corten.engine.selection import boolean, has_label, moment, seconds
from corten.errors import InvalidInput
from corten.oci.reference import Reference

Filters = Mapping[str, Sequence[str]]
Test = Callable[[Image], bool]

_TOKEN = re.compile(r"\[\^?[^\]]+\]|\\.|.", re.DOTALL)
_WILD = {"*": "[^/]*", "?": "[^/]"}


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
    wanted = boolean("dangling", value)
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
