"""Tokens: short-lived proofs of who somebody is and what they asked to do.

A token is a JSON Web Token, signed with a key that only this registry has
(HMAC-SHA256), so that nothing has to be kept for each. An *access* token
lives for minutes and names repositories and actions; a *refresh* token lives
for months, says only who, and dies with the password that it was given for.
The header is compared as a whole: the algorithm is never the token's choice.
Sources: RFC 7519 (JWT), RFC 7515 (JWS), distribution.github.io/distribution/spec/auth/jwt.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import msgspec

from corten.errors import DataCorrupted, Forbidden

ACCESS_LIFE = 300  # seconds
REFRESH_LIFE = 90 * 24 * 3600  # seconds
_LEEWAY = 5  # seconds that clocks may differ
_LONGEST = 16 << 10  # characters of a token that are looked at at all
_KEY_SIZE = 32  # bytes

Use = Literal["access", "refresh"]


class Grant(msgspec.Struct, frozen=True):
    """Actions on one resource, such as ``repository`` ``team/app`` ``[pull, push]``."""

    type: str
    name: str
    actions: tuple[str, ...]


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says: of whom (*sub*, empty for anonymous), for whom (*aud*), how long, and what for.

    Attributes:
        pwd: Fingerprint of the user's password at the time.
        use: An access token is no refresh token, nor the reverse.
    """

    iss: str
    sub: str
    aud: str
    exp: int
    nbf: int
    iat: int
    jti: str
    use: Use
    pwd: str = ""
    access: tuple[Grant, ...] = ()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


_HEADER = _text(b'{"alg":"HS256","typ":"JWT"}')


class Tokens:
    """Makes and reads tokens signed with *key*, for the registry that calls itself *service*."""

    def __init__(self, key: bytes, service: str, clock: Callable[[], float] = time.time) -> None:
        self.service = service
        self._key = key
        self._clock = clock

    def access(self, user: str, fingerprint: str, grants: tuple[Grant, ...]) -> str:
        """Return a token for *grants*, good for ``ACCESS_LIFE`` seconds."""
        return self._make(user, fingerprint, "access", ACCESS_LIFE, grants)

    def refresh(self, user: str, fingerprint: str) -> str:
        """Return a token that gets access tokens, good for ``REFRESH_LIFE`` seconds."""
        return self._make(user, fingerprint, "refresh", REFRESH_LIFE, ())

    def read(self, text: str, use: Use) -> Claims:
        """Return what a token of ours says.

        Raises:
            Forbidden: not one of ours, for another use, or not valid now.
        """
        body, _, signature = text.rpartition(".")
        header, _, payload = body.partition(".")
        if (
            len(text) > _LONGEST
            or header != _HEADER
            or not hmac.compare_digest(self._sign(body), signature.encode(errors="surrogateescape"))
        ):
            raise Forbidden("the token is not valid: log in again")
        claims = _decode(payload)
        if claims.use != use or claims.aud != self.service:
            raise Forbidden("the token was given for something else: log in again")
        if not claims.nbf - _LEEWAY <= self._clock() < claims.exp + _LEEWAY:
            raise Forbidden("the token has expired: log in again")
        return claims

    def _make(self, user: str, fingerprint: str, use: Use, life: int, grants: tuple[Grant, ...]) -> str:
        now = int(self._clock())
        claims = Claims(
            iss=self.service,
            sub=user,
            aud=self.service,
            exp=now + life,
            nbf=now,
            iat=now,
            jti=secrets.token_hex(16),
            use=use,
            pwd=fingerprint,
            access=grants,
        )
        body = f"{_HEADER}.{_text(msgspec.json.encode(claims))}"
        return f"{body}.{self._sign(body).decode()}"

    def _sign(self, body: str) -> bytes:
        made = hmac.digest(self._key, body.encode(errors="surrogateescape"), hashlib.sha256)
        return _text(made).encode()


def _decode(payload: str) -> Claims:
    try:
        raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        return msgspec.json.decode(raw, type=Claims)
    except (binascii.Error, ValueError):  # signed by this key, but by another version
        raise Forbidden("the token is not valid: log in again") from None


def load_key(path: str) -> bytes:
    """Return the key in the file at *path*, which is made, mode 0600, if there is none.

    Raises:
        DataCorrupted: what is there is no key.
    """
    with suppress(FileExistsError):
        _make_key(path)
    with open(path, encoding="ascii", errors="replace") as file:
        text = file.read().strip()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) < _KEY_SIZE:
        raise DataCorrupted(f"{path} is not a key of tokens: remove it, then everybody has to log in again")
    return key


def _make_key(path: str) -> None:
    """Write a new key; FileExistsError if there is a file. It appears whole or not at all."""
    if os.path.exists(path):
        raise FileExistsError(path)
    new = f"{path}.{secrets.token_hex(4)}"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, f"{secrets.token_hex(_KEY_SIZE)}\n".encode())
        os.fsync(descriptor)
        os.link(new, path)
    finally:
        os.close(descriptor)
        os.unlink(new)
