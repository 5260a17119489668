"""From what a registry answers to one clear line each, in Docker's words where users know them. Pure.

Source: OCI distribution-spec 1.1, "Error Codes"; registries neither agree on
the status of a code nor always send a code, so both are looked at.
"""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import msgspec
from multidict import CIMultiDict, CIMultiDictProxy

from corten.core.distribution.failures import Broken, Missing, said
from corten.errors import (
    CortenError,
    DataCorrupted,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    Unavailable,
    Unsupported,
)

_PASSING = frozenset({408, 425, 500, 502, 503, 504})
_WRONG_BYTES = frozenset({"DIGEST_INVALID", "SIZE_INVALID"})

Headers = CIMultiDict[str] | CIMultiDictProxy[str]


class Asked(NamedTuple):
    """What a request was about, for the message if it fails.

    Attributes:
        host: The registry as people write it.
        repository: As people write it, ``debian``; for a login the host.
        action: ``pull``, ``push``, ``delete``, ``login`` or ``search``.
        name: The image with its tag or digest, where it was about one.
        blob: The digest, where it was about a blob.
    """

    host: str
    repository: str
    action: str
    name: str = ""
    blob: str = ""

    @property
    def subject(self) -> str:
        """Return the thing itself."""
        return self.blob or self.name or self.repository


class _Error(msgspec.Struct):
    code: str = ""
    message: str | None = ""


class _Errors(msgspec.Struct):
    errors: list[_Error] | None = None


def is_passing(status: int, headers: Headers) -> bool:
    """Tell whether the same request may be answered otherwise soon."""
    return status in _PASSING or (status == 429 and retry_after(headers) is not None)


def failure(status: int, headers: Headers, body: bytes, asked: Asked) -> CortenError:
    """Return the failure for an answer that is not the one hoped for."""
    code, words = _read(body)
    if status == 429 or code == "TOOMANYREQUESTS":
        return LimitExceeded(
            f"toomanyrequests: {asked.host} limits how often it may be asked{_tail(words)}: "
            f"log in there, or try again {_when(headers)}"
        )
    if status in (401, 403) or code in ("UNAUTHORIZED", "DENIED"):
        return _denied(words, asked)
    if code == "MANIFEST_BLOB_UNKNOWN":
        return InvalidInput(f"{asked.host} refuses {asked.subject}: it lacks a blob of it: push again")
    if status == 404:
        return _missing(code, asked)
    if status == 405 or code == "UNSUPPORTED":
        return Unsupported(f"{asked.host} does not allow {asked.action} of {asked.subject}{_tail(words)}")
    if status == 413:
        return LimitExceeded(f"{asked.host} refuses {asked.subject}: it is too large for it{_tail(words)}")
    return _other(status, code, words, asked)


def _other(status: int, code: str, words: str, asked: Asked) -> CortenError:
    """Return the failure for what has no wording of its own."""
    if status >= 500:
        return Broken(f"{asked.host} answered {status}{_tail(words)}: try again later")
    if code in _WRONG_BYTES:
        return DataCorrupted(
            f"{asked.host} received other bytes than {asked.subject} announces{_tail(words)}: try again"
        )
    if status >= 400:
        reason = " ".join(filter(None, (code, words))) or str(status)
        return InvalidInput(f"{asked.host} refuses {asked.action} of {asked.subject}: {reason}")
    return Unavailable(f"{asked.host} gave an unexpected answer ({status}): is it a registry?")


def _denied(words: str, asked: Asked) -> CortenError:
    """Say that we may not; registries do not tell what is absent from what is forbidden."""
    login = "'corten login'" if asked.host == "docker.io" else f"'corten login {asked.host}'"
    if asked.action == "login":
        return wrong_password(asked.host)
    if asked.action == "pull":
        return Missing(
            "image",
            asked.name or asked.repository,
            f"pull access denied for {asked.repository}, repository does not exist or may require {login}",
            denied=True,
        )
    return Forbidden(
        f"denied: requested access to {asked.repository} is denied: {asked.action} may require {login}{_tail(words)}"
    )


def wrong_password(host: str) -> Forbidden:
    """Return the failure for a credential that the registry does not know."""
    command = "corten login" if host == "docker.io" else f"corten login {host}"
    return Forbidden(f"unauthorized: incorrect username or password for {host}: repeat '{command}'")


def _missing(code: str, asked: Asked) -> CortenError:
    """Say what is not there."""
    if asked.action == "login":
        return Unavailable(f"{asked.host} is no registry (it has no /v2/): check its address")
    if asked.action == "search":
        return Unsupported(f"{asked.host} offers no search")
    if asked.blob:
        return Missing("blob", asked.blob, f"blob {asked.blob} of {asked.repository} not found: blob unknown")
    name = asked.name or asked.repository
    if code == "NAME_UNKNOWN" or not asked.name:
        return Missing("image", name, f"repository {asked.repository} not found: name unknown")
    return Missing("image", name, f"manifest for {name} not found: manifest unknown")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that Retry-After asks to wait (RFC 9110 10.2.3); None if it asks nothing."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        until, now = parsedate_to_datetime(text), parsedate_to_datetime(headers.get("Date", ""))
        return max((until - now).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


def _when(headers: Headers) -> str:
    """Say when to come back."""
    seconds = retry_after(headers)
    return "later" if seconds is None else f"in {seconds:.0f} seconds"


def _read(body: bytes) -> tuple[str, str]:
    """Return code and message of a registry's error document; empty where it is none."""
    try:
        first = (msgspec.json.decode(body, type=_Errors).errors or [_Error()])[0]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "", ""
    return said(first.code), said(first.message or "")


def _tail(words: str) -> str:
    """Return the registry's words as the end of a line."""
    return f" ({words})" if words else ""
