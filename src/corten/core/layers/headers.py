"""Writing tar headers: ustar, with a pax header where ustar cannot say it.

Source: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header".
"""

import stat
from typing import NamedTuple

BLOCK = 512
_SECOND = 1_000_000_000  # ns
_XATTR = b"SCHILY.xattr."
_KINDS = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}


class Member(NamedTuple):
    """What a header says: *name* without a slash at its end, *mode* with its type bits, *mtime* in ns.

    With *link* a regular file is a hard link to that name.
    """

    name: bytes
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    link: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: dict[bytes, bytes] | None = None
    pax: dict[bytes, bytes] | None = None  # further records


def encode(member: Member, fractions: bool = False) -> bytes:
    """Return the header blocks of *member*; its data, padded to 512 bytes, has to follow.

    Args:
        member: Its type must be one that ``has_kind``.
        fractions: Keep the time to the nanosecond, which costs a pax header.
    """
    kind = b"1" if stat.S_ISREG(member.mode) and member.link else _KINDS[stat.S_IFMT(member.mode)]
    name = member.name + b"/" if kind == b"5" else member.name
    pax = {_XATTR + key: value for key, value in (member.xattrs or {}).items()}
    pax |= member.pax or {}
    prefix, short = _split(name, pax)
    if fractions and member.mtime % _SECOND:
        sign = b"-" if member.mtime < 0 else b""
        pax[b"mtime"] = b"%b%d.%09d" % (sign, *divmod(abs(member.mtime), _SECOND))
    if len(member.link) > 100 or not member.link.isascii():
        pax[b"linkpath"] = member.link
    header = _ustar(
        short,
        _octal(member.mode & 0o7777, 8),
        _field(member.uid, 8, b"uid", pax),
        _field(member.gid, 8, b"gid", pax),
        _field(member.size, 12, b"size", pax),
        _field(member.mtime // _SECOND, 12, b"mtime", pax),
        kind,
        member.link[:100],
        _octal(member.major, 8),
        _octal(member.minor, 8),
        prefix,
    )
    return _pax(name, pax) + header if pax else header


def has_kind(mode: int) -> bool:
    """Tell whether a file of this type can stand in an archive; sockets cannot."""
    return stat.S_IFMT(mode) in _KINDS


def _split(name: bytes, pax: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return prefix and name as ustar has them; or cut the name, and put it into *pax* whole."""
    if name.isascii():
        if len(name) <= 100:
            return b"", name
        slash = name.rfind(b"/", 0, min(156, len(name) - 1))
        if slash > 0 and len(name) - slash - 1 <= 100:
            return name[:slash], name[slash + 1 :]
    pax[b"path"] = name
    return b"", name[:100]


def _field(value: int, width: int, key: bytes, pax: dict[bytes, bytes]) -> bytes:
    """Write a number; one that octal digits cannot hold goes into *pax*."""
    if 0 <= value < 8 ** (width - 1):
        return _octal(value, width)
    pax.setdefault(key, b"%d" % value)
    return _octal(0, width)


def _octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def _ustar(
    name: bytes, mode: bytes, uid: bytes, gid: bytes, size: bytes, mtime: bytes, kind: bytes, link: bytes,
    major: bytes, minor: bytes, prefix: bytes,
) -> bytes:  # fmt: skip
    """Lay the fields out and fill in the checksum."""
    head = name.ljust(100, b"\0") + mode + uid + gid + size + mtime
    tail = (
        kind + link.ljust(100, b"\0") + b"ustar\00000" + bytes(64) + major + minor + prefix.ljust(167, b"\0")
    )
    return b"%b%06o\0 %b" % (head, sum(head) + sum(tail) + 8 * 0x20, tail)


def _pax(name: bytes, pax: dict[bytes, bytes]) -> bytes:
    """Return a pax header with *pax*, sorted, that precedes the header of *name*."""
    data = b"".join(_record(key, pax[key]) for key in sorted(pax))
    base = name.rstrip(b"/").rpartition(b"/")[2]
    short = (b"PaxHeaders.0/" + (base if base.isascii() else b"entry"))[:100]
    zero = _octal(0, 8)
    header = _ustar(
        short, _octal(0o644, 8), zero, zero, _octal(len(data), 12), _octal(0, 12), b"x", b"", zero, zero, b""
    )
    return header + data + bytes(-len(data) % BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    """Return ``length key=value newline``, whose length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length += 1
    return b"%d %s=%s\n" % (length, key, value)
