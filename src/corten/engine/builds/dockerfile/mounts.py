"""``RUN --mount``: comma-separated keys and values to one of five kinds of mount.

Source: Dockerfile reference, "RUN --mount". Targets are as written: relative
ones are taken from the working directory by who mounts them, and nothing here
says that a path is safe.
"""

import csv
import posixpath
from collections.abc import Callable

import msgspec

from corten.engine.builds.dockerfile import values
from corten.engine.builds.dockerfile.flags import nearest
from corten.engine.builds.dockerfile.lines import Position, shown

TYPES = ("bind", "cache", "secret", "ssh", "tmpfs")
SHARING = ("shared", "private", "locked")
_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
_KEYS = frozenset(
    {*_ALIASES, "type", "target", "source", "from", "id", "sharing", "mode", "uid", "gid", "size", "env"}
) | {"required", "readonly", "readwrite"}
_ALONE = ("readonly", "readwrite", "required")  # these need no value
_OWNERSHIP = frozenset({"mode", "uid", "gid"})
_REFUSED = {  # what a type cannot have; any other key is taken, if only to be ignored
    "bind": _OWNERSHIP | {"required", "size", "sharing", "env"},
    "cache": frozenset({"required", "size", "env"}),
    "tmpfs": _OWNERSHIP | {"required", "sharing", "env"},
    "secret": frozenset({"size", "sharing", "from"}),
    "ssh": frozenset({"size", "sharing", "source", "env"}),
}


class MountFlag(msgspec.Struct, frozen=True):
    """A ``--mount`` as written: its fields may still hold variables, except ``from``.

    Attributes:
        fields: Keys in their long form and values; None where there is only a key.
        position: Where the flag stands.
    """

    fields: tuple[tuple[str, str | None], ...]
    position: Position

    def value(self, key: str) -> str:
        """Return the last value of a key, empty when it has none."""
        return next((value or "" for name, value in reversed(self.fields) if name == key), "")

    @property
    def from_(self) -> str:
        """The stage, context or image that it mounts from, or an empty text."""
        return self.value("from")

    @property
    def has_variables(self) -> bool:
        """Whether its meaning depends on variables."""
        return any("$" in (value or "") for _, value in self.fields)


class BindMount(msgspec.Struct, frozen=True, kw_only=True, tag="bind"):
    """A folder of the context, a stage or an image; what is written there is thrown away."""

    target: str
    source: str = "/"
    from_: str = ""
    read_only: bool = True


class CacheMount(msgspec.Struct, frozen=True, kw_only=True, tag="cache"):
    """A folder that outlives the build; *source* of *from_* is what it begins with."""

    target: str
    id: str
    sharing: str = "shared"
    source: str = "/"
    from_: str = ""
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    read_only: bool = False


class TmpfsMount(msgspec.Struct, frozen=True, kw_only=True, tag="tmpfs"):
    """Memory; *size* in bytes, 0 for the kernel's default."""

    target: str
    size: int = 0


class SecretMount(msgspec.Struct, frozen=True, kw_only=True, tag="secret"):
    """A secret as a file at *target*, as variable *env*, or both; either may be empty."""

    id: str
    target: str = ""
    env: str = ""
    required: bool = False
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


class SshMount(msgspec.Struct, frozen=True, kw_only=True, tag="ssh"):
    """The socket of an SSH agent; an empty *target* is ``/run/buildkit/ssh_agent.N``."""

    id: str = "default"
    target: str = ""
    required: bool = False
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


Mount = BindMount | CacheMount | TmpfsMount | SecretMount | SshMount


def fields_of(text: str, position: Position, what: str) -> list[str]:
    """Return the comma-separated fields of a flag; quotes hide commas.

    Raises:
        InvalidInput: quotes do not fit, or there is no field.
    """
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error:
        rows = []
    if len(rows) != 1 or not any(rows[0]):
        raise position.refuse(f"expected --{what}=KEY=VALUE,..., found {shown(text)}")
    return rows[0]


def read_flag(text: str, position: Position) -> MountFlag:
    """Read the value of one ``--mount``.

    Raises:
        InvalidInput: a key is unknown or lacks its value, ``from`` has a variable,
            or (when there is no variable at all) ``typed`` refuses it.
    """
    fields: list[tuple[str, str | None]] = []
    for field in fields_of(text, position, "mount"):
        name, equals, value = field.partition("=")
        key = name.strip().lower()
        if key not in _KEYS:
            raise position.refuse(f"unknown key {shown(name)} of --mount{nearest(key, _KEYS)}")
        key = _ALIASES.get(key, key)
        if not equals and key not in _ALONE:
            raise position.refuse(f"expected {key}=VALUE in --mount, found {key} alone")
        if key == "from" and "$" in value:
            raise position.refuse(
                "from takes no variable: give the image a name with FROM ... AS, and use that"
            )
        fields.append((key, value if equals else None))
    flag = MountFlag(tuple(fields), position)
    if not flag.has_variables:
        typed(flag)
    return flag


def typed(flag: MountFlag) -> Mount:
    """Return what a flag without variables asks for.

    Raises:
        InvalidInput: a key does not fit its type, or a value its key.
    """
    kind = flag.value("type").lower() or "bind"
    if kind not in TYPES:
        raise flag.position.refuse(f"unknown mount type {shown(kind)}{nearest(kind, TYPES)}")
    for key, _ in flag.fields:
        if key in _REFUSED[kind]:
            raise flag.position.refuse(f"a mount of type {kind} takes no {key}: remove it")
    try:
        return _MAKERS[kind](flag)
    except ValueError as error:
        raise flag.position.refuse(f"{error} in --mount") from None


def _given(flag: MountFlag, key: str) -> str | None:
    """Return a value that is not empty, or None."""
    return flag.value(key) or None


def _boolean(flag: MountFlag, key: str, default: bool) -> bool:
    stated = [value for name, value in flag.fields if name == key]
    if not stated:
        return default
    return True if stated[-1] is None else values.boolean(stated[-1])


def _read_only(flag: MountFlag, default: bool) -> bool:
    """Return what the last of ``readonly`` and ``readwrite`` says."""
    stated = [name for name, _ in flag.fields if name in ("readonly", "readwrite")]
    if not stated:
        return default
    return _boolean(flag, stated[-1], True) == (stated[-1] == "readonly")


def _target(flag: MountFlag) -> str:
    target = flag.value("target")
    if not target or posixpath.normpath(target) in ("/", "//"):
        raise ValueError("expected target=PATH, a place below the root,")
    return target


def _owner(flag: MountFlag, mode: int) -> dict[str, int]:
    return {
        "mode": values.number(_given(flag, "mode") or f"{mode:o}", 8),
        "uid": values.number(_given(flag, "uid") or "0"),
        "gid": values.number(_given(flag, "gid") or "0"),
    }


def _bind(flag: MountFlag) -> Mount:
    return BindMount(
        target=_target(flag),
        source=_given(flag, "source") or "/",
        from_=flag.from_,
        read_only=_read_only(flag, default=True),
    )


def _cache(flag: MountFlag) -> Mount:
    target, sharing = _target(flag), flag.value("sharing").lower() or "shared"
    if sharing not in SHARING:
        raise ValueError(f"expected sharing=shared, private or locked, found {shown(sharing)}")
    owner = _owner(flag, 0o755)
    return CacheMount(
        target=target,
        id=_given(flag, "id") or posixpath.normpath(target),
        sharing=sharing,
        source=_given(flag, "source") or "/",
        from_=flag.from_,
        mode=owner["mode"],
        uid=owner["uid"],
        gid=owner["gid"],
        read_only=_read_only(flag, default=False),
    )


def _tmpfs(flag: MountFlag) -> Mount:
    return TmpfsMount(target=_target(flag), size=values.size(_given(flag, "size") or "0"))


def _secret(flag: MountFlag) -> Mount:
    target, env = flag.value("target"), flag.value("env")
    if flag.value("id") and flag.value("source"):
        raise ValueError("expected id or source, found both,")
    name = flag.value("id") or flag.value("source") or posixpath.basename(target) or env
    if not name:
        raise ValueError("expected id=NAME, target=PATH or env=NAME")
    if not target and not env:
        target = f"/run/secrets/{posixpath.basename(name)}"
    owner = _owner(flag, 0o400)
    return SecretMount(
        id=name,
        target=target,
        env=env,
        required=_boolean(flag, "required", default=False),
        mode=owner["mode"],
        uid=owner["uid"],
        gid=owner["gid"],
    )


def _ssh(flag: MountFlag) -> Mount:
    owner = _owner(flag, 0o600)
    return SshMount(
        id=_given(flag, "id") or "default",
        target=flag.value("target"),
        required=_boolean(flag, "required", default=False),
        mode=owner["mode"],
        uid=owner["uid"],
        gid=owner["gid"],
    )


_MAKERS: dict[str, Callable[[MountFlag], Mount]] = {
    "bind": _bind,
    "cache": _cache,
    "tmpfs": _tmpfs,
    "secret": _secret,
    "ssh": _ssh,
}
