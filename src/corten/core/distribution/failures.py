"""From what goes wrong on the way to a registry to one clear line each.

Two kinds of failure are worth another try: ``Broken`` (it answered, then
failed) and ``Unreachable`` (no connection; only worth it when there was one
before). What a registry answers is translated in ``answers``.
"""

import asyncio
import os
import re
import ssl

import aiohttp
from yarl import URL

from corten.core.distribution.addresses import AddressRefused, origin_of
from corten.errors import CortenError, Forbidden, InvalidInput, NotFound, Unavailable

CERTIFICATES = "/etc/corten/certs.d"
_MAX_SAID = 200  # characters of foreign words
_PLAIN = re.compile(r"WRONG_VERSION_NUMBER|HTTP_REQUEST|RECORD_LAYER|UNKNOWN_PROTOCOL|PACKET_LENGTH")
_UNKNOWN_CLIENT = re.compile(r"CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|ALERT_(BAD|UNKNOWN)_C")


class Broken(Unavailable):
    """The registry answered, but the connection or the server failed: the same may work again."""


class Unreachable(Unavailable):
    """No connection could be made."""


class Missing(NotFound):
    """What was asked for is not there, or (*denied*) not for us; *message* is the whole line."""

    def __init__(self, what: str, name: str, message: str, denied: bool = False) -> None:
        CortenError.__init__(self, message)
        self.what, self.name, self.denied = what, name, denied


def from_client(error: Exception, url: URL, connect: float) -> CortenError:
    """Return the failure for what the HTTP client raised on the way to *url*.

    Args:
        error: A ``ClientError``, ``TimeoutError`` or ``OSError``.
        url: Where the request went.
        connect: Seconds that a connection had.
    """
    place = str(origin_of(url))
    match error:
        case aiohttp.ClientProxyConnectionError():
            proxy = f"{error.host}:{error.port}"
            return Unreachable(
                f"cannot reach the proxy {proxy} on the way to {place}: check http_proxy and https_proxy"
            )
        case aiohttp.ClientHttpProxyError():
            return Unavailable(
                f"the proxy refuses the way to {place} with status {error.status}: "
                "check its rules and your password for it"
            )
        case aiohttp.ClientConnectorDNSError():
            return Unreachable(f"cannot find {url.host}: no such host: check the name, or this machine's DNS")
        case aiohttp.ClientConnectorError(os_error=AddressRefused() as refused):
            return Forbidden(f"{place} is at {refused.strerror}: refused")
        case ssl.SSLError() | aiohttp.ClientSSLError():
            return _from_tls(error, place)
        case aiohttp.ClientConnectorError():
            return Unreachable(f"cannot reach {place}: {_reason(error.os_error)}: is the registry running?")
        case aiohttp.ConnectionTimeoutError():
            return Unreachable(
                f"cannot reach {place}: no connection within {connect:g} s: "
                "check the network and the proxy settings"
            )
        case asyncio.TimeoutError():
            return Broken(f"{place} stopped answering: try again later")
        case aiohttp.InvalidURL():
            return InvalidInput(f"{place} is no name of a host: correct the address of the registry")
    return _from_break(error, place)


def _reason(error: OSError) -> str:
    """Return the words of a failed connect(2), without the address that asyncio puts there."""
    return os.strerror(error.errno).lower() if error.errno else said(str(error))


def _from_break(error: Exception, place: str) -> CortenError:
    """Return the failure for a connection that was made and then broke."""
    inner = error.__cause__
    if isinstance(inner, CortenError):
        return inner  # of our own body, which could not be read
    if isinstance(inner, ssl.SSLError) or _UNKNOWN_CLIENT.search(str(error)):
        return _from_tls(inner or error, place)
    return Broken(f"the connection to {place} broke ({said(str(error)) or type(error).__name__}): try again")


def _from_tls(error: BaseException, place: str) -> CortenError:
    """Say what is wrong with a certificate, and where to put the right one."""
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    reason = str(getattr(inner, "verify_message", "") or inner)
    folder = f"{CERTIFICATES}/{place}"
    if _PLAIN.search(reason):
        return Unreachable(
            f"{place} speaks plain HTTP, not HTTPS: "
            "name it an insecure registry if you trust the network in between"
        )
    if _UNKNOWN_CLIENT.search(reason):
        return Unavailable(
            f"{place} asks for a client certificate: put client.cert and client.key into {folder}/"
        )
    if not getattr(inner, "verify_message", ""):
        return Unreachable(f"TLS with {place} failed ({said(reason)}): check that it speaks HTTPS")
    if "expired" in reason or "not yet valid" in reason:
        return Unavailable(
            f"the certificate of {place} is not valid now ({said(reason)}): "
            "renew it there, or set this machine's clock"
        )
    if "match" in reason or "not valid for" in reason:
        return Unavailable(
            f"the certificate of {place} is for another host ({said(reason)}): use the name it was made for"
        )
    return Unavailable(
        f"the certificate of {place} is not trusted ({said(reason)}): put its CA into {folder}/ca.crt"
    )


def said(text: str) -> str:
    """Return foreign words as one short line without control characters."""
    line = " ".join("".join(mark if mark.isprintable() else " " for mark in text[: 4 * _MAX_SAID]).split())
    return line if len(line) <= _MAX_SAID else f"{line[:_MAX_SAID]}..."
