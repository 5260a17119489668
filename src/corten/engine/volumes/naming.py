"""Names of volumes and of their snapshots."""

import re
import secrets

from corten.errors import InvalidInput

ANONYMOUS = "com.docker.volume.anonymous"
"""The label by which Docker's tools tell a volume that was given no name."""

_ALLOWED = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_SNAPSHOT = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_LONGEST = 255  # bytes; NAME_MAX


def generate() -> str:
    """Return a name for an anonymous volume: 64 hex digits."""
    return secrets.token_hex(32)


def check(name: str) -> str:
    """Return *name* if a volume can be called so.

    Raises:
        InvalidInput: it is too short or too long, or has characters that Docker does not allow.
    """
    if len(name) == 1:
        raise InvalidInput("volume name is too short, names should be at least two alphanumeric characters")
    if not _ALLOWED.fullmatch(name):
        raise InvalidInput(
            f'"{name}" includes invalid characters for a local volume name, '
            'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )
    if len(name) > _LONGEST:
        raise InvalidInput(f"volume name is too long: {len(name)} characters, {_LONGEST} are allowed")
    return name


def check_snapshot(name: str) -> str:
    """Return *name* if a snapshot can be called so.

    Raises:
        InvalidInput: it is too long, or has other characters than a volume's name may.
    """
    if len(name) > _LONGEST or not _SNAPSHOT.fullmatch(name):
        raise InvalidInput(f'invalid snapshot name "{name[:_LONGEST]}": use [a-zA-Z0-9][a-zA-Z0-9_.-]')
    return name
