"""Credentials as Docker's clients send them: JSON, in a header or a body.

Source: Docker Engine API, "Authentication".
"""

import base64
import binascii

import msgspec

from corten.engine.images.remote import Credential
from corten.errors import Unsupported
from corten.serve.api.request import Request

HEADER = "X-Registry-Auth"


class AuthConfig(msgspec.Struct, frozen=True):
    """Who a client is to one registry; ``auth`` is name and password in Base64, as in a client's file."""

    username: str | None = None
    password: str | None = None
    auth: str | None = None
    serveraddress: str | None = None
    identitytoken: str | None = None
    registrytoken: str | None = None

    @property
    def credential(self) -> Credential | None:
        """Return the credential; None for nobody.

        Raises:
            Unsupported: a bearer token of a registry, which cannot be renewed.
        """
        if self.registrytoken:
            raise Unsupported("registry tokens are not supported: log in with a name and a password")
        name, password = self.username or "", self.password or ""
        if self.auth and not name:
            name, _, password = _decoded(self.auth).partition(":")
        if not (name or self.identitytoken):
            return None
        return Credential(name, password, self.identitytoken or "")


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode("utf-8", "replace")
    except binascii.Error:
        return ""


def credential_of(request: Request) -> Credential | None:
    """Return the credential in the header of *request*; one that cannot be read is nobody's, as in Docker.

    Raises:
        Unsupported: as ``AuthConfig.credential``.
    """
    text = request.raw.headers.get(HEADER, "")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_")
        return msgspec.json.decode(raw, type=AuthConfig).credential
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return None
