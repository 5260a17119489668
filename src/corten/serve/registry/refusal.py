"""What the registry answers instead of what was asked for: codes of the specification, and their status.

Source: OCI distribution-spec 1.1, "Error Codes" and the table of endpoints.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from corten.errors import (
    Conflict,
    CortenError,
    DataCorrupted,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    NotFound,
    NotModified,
    OutOfSpace,
    StartFailed,
    Unavailable,
    Unsupported,
)


class Code(StrEnum):
    """The error codes of the specification, which allows no others for 4xx; UNKNOWN is for 5xx."""

    BLOB_UNKNOWN = "BLOB_UNKNOWN"
    BLOB_UPLOAD_INVALID = "BLOB_UPLOAD_INVALID"
    BLOB_UPLOAD_UNKNOWN = "BLOB_UPLOAD_UNKNOWN"
    DIGEST_INVALID = "DIGEST_INVALID"
    MANIFEST_BLOB_UNKNOWN = "MANIFEST_BLOB_UNKNOWN"
    MANIFEST_INVALID = "MANIFEST_INVALID"
    MANIFEST_UNKNOWN = "MANIFEST_UNKNOWN"
    NAME_INVALID = "NAME_INVALID"
    NAME_UNKNOWN = "NAME_UNKNOWN"
    SIZE_INVALID = "SIZE_INVALID"
    UNAUTHORIZED = "UNAUTHORIZED"
    DENIED = "DENIED"
    UNSUPPORTED = "UNSUPPORTED"
    TOOMANYREQUESTS = "TOOMANYREQUESTS"
    UNKNOWN = "UNKNOWN"


STATUS: dict[Code, int] = {
    Code.BLOB_UNKNOWN: 404,
    Code.BLOB_UPLOAD_INVALID: 400,
    Code.BLOB_UPLOAD_UNKNOWN: 404,
    Code.DIGEST_INVALID: 400,
    Code.MANIFEST_BLOB_UNKNOWN: 404,
    Code.MANIFEST_INVALID: 400,
    Code.MANIFEST_UNKNOWN: 404,
    Code.NAME_INVALID: 400,
    Code.NAME_UNKNOWN: 404,
    Code.SIZE_INVALID: 400,
    Code.UNAUTHORIZED: 401,
    Code.DENIED: 403,
    Code.UNSUPPORTED: 405,
    Code.TOOMANYREQUESTS: 429,
    Code.UNKNOWN: 500,
}
_UNKNOWN = {
    "blob": Code.BLOB_UNKNOWN,
    "manifest": Code.MANIFEST_UNKNOWN,
    "upload": Code.BLOB_UPLOAD_UNKNOWN,
    "repository": Code.NAME_UNKNOWN,
}
KINDS: dict[type[CortenError], tuple[Code, int]] = {
    NotFound: (Code.NAME_UNKNOWN, 404),
    Conflict: (Code.BLOB_UPLOAD_INVALID, 409),
    NotModified: (Code.UNSUPPORTED, 304),
    InvalidInput: (Code.UNSUPPORTED, 400),
    Forbidden: (Code.DENIED, 403),
    Unsupported: (Code.UNSUPPORTED, 405),
    Unavailable: (Code.UNKNOWN, 503),
    DataCorrupted: (Code.DIGEST_INVALID, 400),
    LimitExceeded: (Code.SIZE_INVALID, 413),
    OutOfSpace: (Code.UNKNOWN, 507),
    StartFailed: (Code.UNKNOWN, 500),
}


class Refusal(Exception):
    """An answer with an error code; *message* is one clear line, *detail* any JSON."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        status: int = 0,
        detail: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.detail = code, detail
        self.status = status or STATUS[code]
        self.headers = dict(headers or {})


def refusal_of(failure: CortenError) -> Refusal:
    """Return what a client is told of *failure*."""
    if isinstance(failure, NotFound):
        code = _UNKNOWN.get(failure.what, Code.NAME_UNKNOWN)
        return Refusal(code, str(failure), detail={failure.what: failure.name})
    for kind in type(failure).__mro__:
        if kind in KINDS:
            code, status = KINDS[kind]
            return Refusal(code, str(failure), status=status)
    return Refusal(Code.UNKNOWN, str(failure))
