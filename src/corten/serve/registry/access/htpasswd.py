"""The file of users: one ``name:hash`` a line, as Apache's htpasswd writes it.

Understood are bcrypt (``htpasswd -B``: ``$2y$``, also ``$2a$`` and ``$2b$``) and SHA-crypt (``$5$``, ``$6$``).
The old forms (MD5, SHA-1, crypt, plain text) can be broken in hours and are refused: such a user cannot log in.
Source: httpd.apache.org/docs/2.4/misc/password_encryptions.html.
"""

import fcntl
import hmac
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import bcrypt

from corten.errors import Conflict, InvalidInput, NotFound, Unavailable
from corten.serve.registry.access import sha_crypt

COST = 10  # of new hashes: 2 to the power of it rounds, some 60 ms
BCRYPT_LIMIT = 72  # bytes that bcrypt looks at; what follows does not count
_BCRYPT = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")
_NAME = re.compile(r"[^:\s\x00-\x1f\x7f][^:\x00-\x1f\x7f]{0,254}")


def matches(password: str, stored: str) -> bool:
    """Tell whether *stored* is a hash of *password*; takes as long as the hash demands, right or wrong."""
    given = password.encode()
    if _BCRYPT.fullmatch(stored):
        try:
            return bcrypt.checkpw(given[:BCRYPT_LIMIT], stored.encode())
        except ValueError:  # a salt or a cost that no bcrypt could have made
            return False
    if sha_crypt.understands(stored):
        made = sha_crypt.same_settings(given, stored)
        return hmac.compare_digest(made, stored.rpartition("$")[2])
    return False


def understood(stored: str) -> bool:
    """Tell whether *stored* is a hash that anybody can log in with."""
    return _BCRYPT.fullmatch(stored) is not None or sha_crypt.understands(stored)


def make(password: str) -> str:
    """Return a bcrypt hash of *password*, as ``htpasswd -B`` writes it.

    Raises:
        InvalidInput: empty, or longer than bcrypt looks at.
    """
    raw = password.encode()
    if not 0 < len(raw) <= BCRYPT_LIMIT:
        raise InvalidInput(
            f"a password has 1 to {BCRYPT_LIMIT} bytes, this one {len(raw)}: choose another one"
        )
    return "$2y$" + bcrypt.hashpw(raw, bcrypt.gensalt(COST)).decode()[4:]


def parse(text: str) -> dict[str, str]:
    """Return the hash of each user; lines that are none, and comments, count for nothing."""
    users: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, stored = line.strip().partition(":")
        if colon and name and not name.startswith("#"):
            users.setdefault(name, stored)
    return users


def read(path: str) -> dict[str, str]:
    """Return the users in the file at *path*.

    Raises:
        Unavailable: it cannot be read.
    """
    return parse(_text(path))


def check_name(name: str) -> None:
    """Refuse what cannot stand in the file as a user's name.

    Raises:
        InvalidInput: as said.
    """
    if not _NAME.fullmatch(name) or name.startswith("#"):
        raise InvalidInput(
            f"invalid user name {name!r}: 1 to 255 characters, no colon, none in front of it #"
        )


def add(path: str, name: str, stored: str) -> bool:
    """Give *name* the hash *stored*, in place of one it had; the file is made if need be, mode 0600.

    Returns:
        Whether the user is new.

    Raises:
        InvalidInput: *name* cannot stand in the file.
        Conflict, Unavailable: the file cannot be written.
    """
    check_name(name)
    new = [True]

    def change(lines: list[str]) -> list[str]:
        others = _without(lines, name)
        new[0] = others == lines
        return [*others, f"{name}:{stored}"]

    _edit(path, change)
    return new[0]


def remove(path: str, name: str) -> None:
    """Take the user *name* out of the file; NotFound if there is none of that name."""
    if name not in read(path):
        raise NotFound("user", name)
    _edit(path, lambda lines: _without(lines, name))


def _without(lines: list[str], name: str) -> list[str]:
    return [line for line in lines if line.strip().partition(":")[0] != name]


def _text(path: str, missing: str | None = None) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        if missing is None:
            raise Unavailable(
                f"there is no file of users {path}: make it with `corten registry user add`"
            ) from None
        return missing
    except OSError as failure:
        raise Unavailable(f"cannot read the file of users {path}: {failure.strerror}") from None


def _edit(path: str, change: Callable[[list[str]], list[str]]) -> None:
    """Replace the file by what *change* makes of its lines, in one step; its owner and mode stay.

    Raises:
        Conflict: it is a folder.
        Unavailable: its folder cannot be used.
    """
    path = os.path.realpath(path)  # a link stays one
    if os.path.isdir(path):
        raise Conflict(f"{path} is a folder: name a file")
    with _alone(os.path.dirname(path)):
        _replace(path, change(_text(path, missing="").splitlines()))


def _replace(path: str, lines: list[str]) -> None:
    """Write *lines* as the file at *path*, all at once."""
    with tempfile.NamedTemporaryFile(
        "w", dir=os.path.dirname(path), delete=False, encoding="utf-8", errors="surrogateescape"
    ) as file:
        try:
            _take_over(path, file.fileno())
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
            os.rename(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


@contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Make others who edit files in *folder* wait.

    Raises:
        Unavailable: there is no such folder, or it may not be opened.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as failure:
        raise Unavailable(f"cannot write to {folder}: {failure.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _take_over(path: str, descriptor: int) -> None:
    """Give the new file mode and owner of the one at *path*."""
    try:
        before = os.stat(path)
    except FileNotFoundError:
        return
    os.fchmod(descriptor, before.st_mode & 0o7777)
    os.fchown(descriptor, before.st_uid, before.st_gid)
