"""Who a process runs as: a USER text looked up in the container's own files.

Runs inside the container's root, in a child that is about to exec, on files
that the image's author wrote: they are opened without following magic links,
must be regular, and are read up to a limit. Nothing of the C library's name
service is used. Source: runtime-spec config.md "User"; passwd(5), group(5).
"""

import os
import stat

from corten.linux.paths import openat2

MOST_BYTES = 4 << 20  # a larger passwd or group file is an attack or a mistake
MOST_ID = (1 << 31) - 1


class Identity:
    """A resolved user: numeric ids, supplementary groups, home folder."""

    def __init__(self, uid: int, gid: int, groups: list[int], home: str) -> None:
        self.uid, self.gid, self.groups, self.home = uid, gid, groups, home


def resolve(root: int, text: str, extra: list[str]) -> Identity:
    """Look *text* (``user``, ``uid``, ``user:group``, ``uid:gid`` or empty) up below *root*.

    A group in *text* replaces the supplementary groups of the user; *extra*
    groups, names or numbers, are added in any case. A number without an entry in
    passwd is taken as it is, with group 0 and home ``/``.

    Raises:
        LookupError: a name without an entry, or a number out of range; the
            text is what the user reads.
    """
    user, _, group = text.partition(":")
    number = _number(user) if user else 0
    entry = _find(_table(root, "etc/passwd", 6), user, number)
    if entry is None and number is None:
        raise LookupError(f"unable to find user {user}: no matching entries in passwd file")
    uid, gid, home = (
        (number or 0, 0, "/") if entry is None else (_id(entry[2]), _id(entry[3]), entry[5] or "/")
    )
    if number is not None:
        uid = number
    groups = _table(root, "etc/group", 3)
    if group:
        gid, members = _group(groups, group), []
    else:
        members = [] if entry is None else [_id(row[2]) for row in groups if entry[0] in row[3].split(",")]
    members += [_group(groups, name) for name in extra]
    return Identity(uid, gid, sorted({*members}), home)


def _table(root: int, path: str, columns: int) -> list[list[str]]:
    """Read a colon-separated file; an absent, special or oversized one is empty."""
    try:
        descriptor = openat2(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return []
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > MOST_BYTES:
            return []
        data = os.read(descriptor, MOST_BYTES)
    finally:
        os.close(descriptor)
    rows = [line.split(":") for line in data.decode("utf-8", "surrogateescape").split("\n")]
    return [row + [""] * (columns + 1 - len(row)) for row in rows if len(row) > 2]


def _find(users: list[list[str]], user: str, number: int | None) -> list[str] | None:
    """Return the entry of that number, or without one of that name: digits are never a name."""
    if number is None:
        return next((row for row in users if row[0] == user), None)
    return next(
        (row for row in users if row[2].isascii() and row[2].isdigit() and int(row[2]) == number), None
    )


def _number(text: str) -> int | None:
    """Return *text* as an id, None when it is a name.

    Raises:
        LookupError: a number out of range.
    """
    sign, digits = text[:1] in ("-", "+"), text.lstrip("+-")
    if not (digits.isascii() and digits.isdigit()):
        return None
    if sign or len(digits) > 10 or int(digits) > MOST_ID:
        raise LookupError(f"uids and gids must be in range 0-{MOST_ID}")
    return int(digits)


def _id(text: str) -> int:
    """Return a number of a passwd or group row, refusing what is out of range."""
    number = _number(text.strip())
    if number is None:
        raise LookupError(f"bad number {text!r} in passwd or group file")
    return number


def _group(groups: list[list[str]], name: str) -> int:
    """Return the id of group *name*; digits are always the number."""
    number = _number(name)
    if number is not None:
        return number
    row = next((row for row in groups if row[0] == name), None)
    if row is None:
        raise LookupError(f"unable to find group {name}: no matching entries in group file")
    return _id(row[2])
