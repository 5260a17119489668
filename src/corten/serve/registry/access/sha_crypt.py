"""SHA-crypt: the ``$5$`` and ``$6$`` password hashes that ``htpasswd -2``, ``-5`` and mkpasswd make.

The standard library's crypt module is gone from Python 3.13, so the scheme is
written out here; with the default of 5,000 rounds a check takes some ten
milliseconds. Names of the parts follow the specification: *A* and *B* are
digests over password and salt, *DP* and *DS* the digests that the sequences
*P* and *S* are made of, *C* the digest of each round.
Source: Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512", version 0.6.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

_FORM = re.compile(
    r"\$(?P<kind>[56])\$(?:rounds=(?P<rounds>\d{1,9})\$)?(?P<salt>[^$]{0,16})\$(?P<hash>[./0-9A-Za-z]+)"
)
_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DEFAULT_ROUNDS, _LEAST_ROUNDS, _MOST_ROUNDS = 5000, 1000, 999_999_999


class _Kind(NamedTuple):
    """A digest, the step by which its bytes are shuffled, and the bytes that are left over at the end."""

    digest: str
    size: int
    first: tuple[int, int, int]
    step: int
    rest: tuple[int, ...]


_KINDS = {
    "5": _Kind("sha256", 32, (0, 10, 20), 21, (31, 30)),
    "6": _Kind("sha512", 64, (0, 21, 42), 22, (63,)),
}


def understands(stored: str) -> bool:
    """Tell whether *stored* is a hash of this scheme."""
    return _FORM.fullmatch(stored) is not None


def same_settings(password: bytes, stored: str) -> str:
    """Return the hash of *password* made with kind, rounds and salt of *stored*, without those in front.

    Compare it in constant time with what follows the last ``$`` of *stored*.
    """
    found = _FORM.fullmatch(stored)
    assert found is not None, "ask understands() first"
    asked = int(found["rounds"] or _DEFAULT_ROUNDS)
    rounds = min(max(asked, _LEAST_ROUNDS), _MOST_ROUNDS)
    kind = _KINDS[found["kind"]]
    return _encode(_stretch(kind, password, found["salt"].encode(), rounds), kind)


def _repeat(block: bytes, length: int) -> bytes:
    """Return *block* again and again, cut at *length* bytes."""
    return (block * (length // len(block) + 1))[:length]


def _begin(kind: _Kind, password: bytes, salt: bytes) -> bytes:
    """Return digest A: steps 1 to 12."""
    b = hashlib.new(kind.digest, password + salt + password).digest()
    a = hashlib.new(kind.digest, password + salt + _repeat(b, len(password)))
    length = len(password)
    while length:
        a.update(b if length & 1 else password)
        length >>= 1
    return a.digest()


def _stretch(kind: _Kind, password: bytes, salt: bytes, rounds: int) -> bytes:
    """Return the digest after all rounds: steps 13 to 21."""
    c = _begin(kind, password, salt)
    p = _repeat(hashlib.new(kind.digest, password * len(password)).digest(), len(password))
    s = _repeat(hashlib.new(kind.digest, salt * (16 + c[0])).digest(), len(salt))
    for number in range(rounds):
        odd = number & 1
        text = (p if odd else c) + (s if number % 3 else b"") + (p if number % 7 else b"") + (c if odd else p)
        c = hashlib.new(kind.digest, text).digest()
    return c


def _encode(digest: bytes, kind: _Kind) -> str:
    """Return *digest* as text, its bytes shuffled: step 22."""
    last = kind.rest
    groups = [*_triples(kind), (None, *last) if len(last) == 2 else (None, None, *last)]
    text = ""
    for group in groups:
        value = 0
        for place in group:
            value = value << 8 | (0 if place is None else digest[place])
        count = 4 if None not in group else len(last) + 1
        text += "".join(_ALPHABET[value >> 6 * step & 63] for step in range(count))
    return text


def _triples(kind: _Kind) -> Iterator[tuple[int | None, ...]]:
    """Yield which three bytes make four letters each; every group goes on from the one before."""
    group, span = kind.first, kind.size - len(kind.rest)
    for _ in range(span // 3):
        yield group
        a, b, c = ((place + kind.step) % span for place in group)
        group = (a, b, c)
