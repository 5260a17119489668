"""Names of images as the user writes them; what is valid, the daemon decides."""

from __future__ import annotations


def split_reference(name: str) -> tuple[str, str]:
    """Split ``host:5000/app:1.0`` into repository and tag; no tag means ``latest``."""
    base, slash, last = name.rpartition("/")
    if "@" in last:
        return name, ""
    last, _, tag = last.partition(":")
    return base + slash + last, tag or "latest"


def familiar(name: str) -> str:
    """*name* with ``:latest`` where neither tag nor digest is given, as messages show it."""
    repository, tag = split_reference(name)
    return f"{repository}:{tag}" if tag else name


def natural(name: str) -> list[tuple[int, int, str]]:
    """What sorts names as people do: ``web2`` before ``web10``."""
    parts, rest = [], name
    while rest:
        text = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        number = bool(text)
        text = text or rest[: next((at for at, sign in enumerate(rest) if sign in "0123456789"), len(rest))]
        parts.append((0, int(text), "") if number else (1, 0, text))
        rest = rest[len(text) :]
    return parts
