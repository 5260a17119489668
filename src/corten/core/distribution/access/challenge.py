"""Challenges: what a WWW-Authenticate header asks for. Pure.

Source: RFC 9110 section 11.6.1 (several challenges in one header, several
headers), RFC 6750 section 3 (Bearer), and the token authentication
specification of Docker's registry (realm, service, scope).
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105 - a token of the grammar, no secret
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*')
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?:\s+|(?=,)|$)")
_TOKEN68 = re.compile(r"\s*[A-Za-z0-9._~+/-]+=*\s*(?=,|$)")
_ESCAPE = re.compile(r"\\(.)")
_MAX_HEADER = 8 << 10  # characters


class Challenge(NamedTuple):
    """One way to authenticate: the scheme and the names of the parameters in lower case."""

    scheme: str
    parameters: dict[str, str]


def parse(headers: Iterable[str]) -> list[Challenge]:
    """Return the challenges of all *headers*, in order; what cannot be read ends its header."""
    return [challenge for header in headers for challenge in _parse(header[:_MAX_HEADER])]


def _parse(header: str) -> Iterator[Challenge]:
    """Yield the challenges of one header."""
    position = 0
    while found := _SCHEME.match(header, position):
        parameters, position = _parameters(header, found.end())
        yield Challenge(found[1].lower(), parameters)


def _parameters(header: str, position: int) -> tuple[dict[str, str], int]:
    """Return the parameters from *position* on, and where they end."""
    parameters: dict[str, str] = {}
    while found := _PARAMETER.match(header, position):
        value = found[3] if found[2] is None else _ESCAPE.sub(r"\1", found[2])
        parameters.setdefault(found[1].lower(), value)
        position = found.end()
        if not header.startswith(",", position):
            break
        position += 1
    if not parameters and (opaque := _TOKEN68.match(header, position)) and "=" in opaque[0]:
        position = opaque.end()
    return parameters, position
