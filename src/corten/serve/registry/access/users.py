"""Users: who may log in, and proof that they are who they say.

A check costs tens of milliseconds on purpose, and a client sends its password
with every request. So a password that was right is remembered for a while, as
a keyed hash under a key that only this process has; the user's stored hash is
part of what is hashed, so that a changed password is forgotten by itself. An
unknown user costs as much as a wrong password, so that names cannot be found
out by the clock; checks run one or two at a time, so that guessing cannot
take the threads that others need.
"""

import asyncio
import hashlib
import logging
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from corten.errors import LimitExceeded, Unavailable
from corten.serve.registry.access import htpasswd

REMEMBERED = 300.0  # seconds that a right password is not computed again
_MOST_REMEMBERED = 1024
_AT_ONCE = 2
_MOST_WAITING = 64
_LONGEST = 1024  # bytes of a password that are looked at at all
_NOBODY = "$2y$10$" + "." * 53  # a hash as costly as those made here, for a file without any

_Stamp = tuple[int, int, int]

log = logging.getLogger(__name__)


class Users:
    """The users of an htpasswd file, which is read again when it changes.

    Raises:
        Unavailable: the file cannot be read (when made; later it means that nobody can log in).
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0
        self._stamp: _Stamp | None = _stamp(path)
        self._users = htpasswd.read(path)
        self._decoy = _NOBODY
        self._look()

    async def check(self, name: str, password: str) -> bool:
        """Tell whether *password* is that of the user *name*.

        Raises:
            LimitExceeded: too many checks are waiting: try again later.
        """
        stored = self._current().get(name, "")
        if len(password) > _LONGEST:
            return False
        proof = self._proof(name, stored, password)
        if self._remembers(proof):
            return True
        known = htpasswd.understood(stored)
        right = await self._compute(password, stored if known else self._decoy) and known
        if right:
            self._remember(proof)
        return right

    def fingerprint(self, name: str) -> str:
        """Return what changes when the user's password does; empty if there is no such user."""
        stored = self._current().get(name)
        return hashlib.sha256(stored.encode(errors="surrogateescape")).hexdigest()[:16] if stored else ""

    async def _compute(self, password: str, stored: str) -> bool:
        if self._waiting >= _MOST_WAITING:
            raise LimitExceeded("too many logins at once: try again in a moment")
        self._waiting += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(htpasswd.matches, password, stored)
        finally:
            self._waiting -= 1

    def _current(self) -> dict[str, str]:
        """Return the users as the file has them now; none when it cannot be read."""
        stamp = _stamp(self.path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._users = htpasswd.read(self.path)
                self._look()
            except Unavailable as failure:
                log.warning("nobody can log in: %s", failure)
                self._users = {}
        return self._users

    def _look(self) -> None:
        """Warn of users who cannot log in; what stands for a user that is unknown costs as much as another's hash."""
        for name, stored in self._users.items():
            if not htpasswd.understood(stored):
                log.warning(
                    "user %s in %s has no bcrypt or SHA-crypt hash and cannot log in", name, self.path
                )
        self._decoy = next(filter(htpasswd.understood, self._users.values()), _NOBODY)

    def _proof(self, name: str, stored: str, password: str) -> bytes:
        hashed = hashlib.blake2b(key=self._key)
        for part in (name, stored, password):
            raw = part.encode(errors="surrogateescape")
            hashed.update(len(raw).to_bytes(4, "big") + raw)
        return hashed.digest()

    def _remembers(self, proof: bytes) -> bool:
        until = self._right.get(proof)
        return until is not None and self._clock() < until

    def _remember(self, proof: bytes) -> None:
        self._right[proof] = self._clock() + REMEMBERED
        self._right.move_to_end(proof)
        if len(self._right) > _MOST_REMEMBERED:
            self._right.popitem(last=False)


def _stamp(path: str) -> _Stamp | None:
    """Return what tells one state of a file from another; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
