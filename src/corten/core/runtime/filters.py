"""Seccomp filters as files: compiled once per profile and capabilities, read by children before they pivot."""

import hashlib
import os
from typing import Any

import msgspec

from corten.linux.seccomp_compile import compile_profile, filter_flags


class Filters:
    """Keeps compiled filters.

    Args:
        cache: Folder of the compiler's cache, which outlives the machine's restart.
        folder: Folder in the run directory where children find the filter.
    """

    def __init__(self, cache: str, folder: str) -> None:
        self._cache, self._folder = cache, folder
        self._known: dict[tuple[str, tuple[str, ...]], tuple[str, int]] = {}
        self._names: dict[int, tuple[dict[str, Any], str]] = {}

    def file(self, profile: dict[str, Any] | None, bounding: tuple[str, ...]) -> tuple[str, int] | None:
        """Return the path of the filter for *profile* and its seccomp(2) flags; None for no profile.

        Raises:
            InvalidInput: the profile is malformed.
            Unavailable: libseccomp is not installed.
        """
        if profile is None:
            return None
        key = (self._name(profile), bounding)
        if key not in self._known:
            program = compile_profile(profile, bounding, self._cache)
            path = f"{self._folder}/{hashlib.sha256(program).hexdigest()}"
            os.makedirs(self._folder, 0o700, exist_ok=True)
            with open(f"{path}.new", "wb") as file:
                file.write(program)
            os.rename(f"{path}.new", path)
            self._known[key] = (path, filter_flags(profile))
        return self._known[key]

    def _name(self, profile: dict[str, Any]) -> str:
        """Return the digest of a profile; of one and the same object it is computed once."""
        known = self._names.get(id(profile))
        if known is None or known[0] is not profile:
            digest = hashlib.sha256(msgspec.json.encode(profile)).hexdigest()
            known = self._names[id(profile)] = (profile, digest)
            if len(self._names) > 64:
                self._names.pop(next(iter(self._names)))
        return known[1]
