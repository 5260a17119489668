"""``--mount``: the long form, and ``-v``: the short one.

Not Docker's: ``idmap=uids=FILE-SEEN-COUNT;gids=...``, which shows the files of a bind
or volume with other owners, ``tmpfs-options=OPTION[,OPTION...]``, which may come
several times, and ``create-src``, short for ``bind-create-src``.
Source: Docker documentation, "docker container run", --mount.
"""

from __future__ import annotations

import posix

from corten.cli.create.fields import split, truth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

KINDS = ("bind", "volume", "tmpfs", "image", "npipe", "cluster")
PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
RECURSIVE = ("enabled", "disabled", "writable", "readonly")
BARE = (
    "readonly",
    "ro",
    "volume-nocopy",
    "bind-nonrecursive",
    "bind-create-src",
    "create-src",
)  # may stand without a value


def mount(text: str) -> dict[str, Any]:
    """One --mount as the API has it.

    Raises:
        ValueError: with Docker's words.
    """
    found: dict[str, Any] = {"Type": "volume"}
    for field in split(text):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals and key not in BARE:
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        setter = SETTERS.get(key)
        if setter is None:
            raise ValueError(f"unknown option '{key}' in '{field}'")
        setter(found, key, value)
    _check(found)
    return found


def _check(found: dict[str, Any]) -> None:
    kind = found["Type"]
    if not found.get("Target"):
        raise ValueError("target is required")
    for owner in ("Bind", "Volume", "Tmpfs", "Image"):
        if f"{owner}Options" in found and kind != owner.lower():
            raise ValueError(f"cannot mix '{owner.lower()}-*' options with mount type '{kind}'")
    if "IdMap" in found and kind not in ("bind", "volume"):
        raise ValueError(f"cannot mix 'idmap' with mount type '{kind}'")
    bind = found.get("BindOptions", {})
    if bind.get("ReadOnlyForceRecursive"):
        if not found.get("ReadOnly"):
            raise ValueError(
                "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction"
            )
        if bind.get("Propagation") != "rprivate":
            raise ValueError(
                "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
            )


def absolute(path: str) -> str:
    """A path that begins with a dot, seen from the client's folder; any other as it is."""
    if not path.startswith("."):
        return path
    parts = posix.getcwd().split("/")
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1] or [""]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts) or "/"


def volumes(specs: list[str]) -> tuple[list[str], dict[str, Any]]:
    """The values of -v as binds and as anonymous volumes; one that comes twice counts once."""
    binds: list[str] = []
    anonymous: dict[str, Any] = {}
    for spec in dict.fromkeys(specs):
        source, colon, rest = spec.partition(":")
        if colon:
            binds.append(f"{absolute(source)}:{rest}")
        else:
            anonymous[source] = {}
    return binds, anonymous


def _kind(found: dict[str, Any], key: str, value: str) -> None:  # noqa: ARG001 - one signature for the table
    if value.lower() not in KINDS:
        raise ValueError(f"invalid mount type '{value}': must be one of {', '.join(KINDS)}")
    found["Type"] = value.lower()


def _source(found: dict[str, Any], key: str, value: str) -> None:  # noqa: ARG001 - as above
    found["Source"] = absolute(value)


def _plain(name: str, inside: str = "") -> Callable[[dict[str, Any], str, str], None]:
    def store(found: dict[str, Any], key: str, value: str) -> None:  # noqa: ARG001 - as above
        (found.setdefault(inside, {}) if inside else found)[name] = value

    return store


def _flag(name: str, inside: str = "") -> Callable[[dict[str, Any], str, str], None]:
    def store(found: dict[str, Any], key: str, value: str) -> None:
        (found.setdefault(inside, {}) if inside else found)[name] = truth(key, value)

    return store


def _pair(name: str, driver: bool = False) -> Callable[[dict[str, Any], str, str], None]:
    def store(found: dict[str, Any], key: str, value: str) -> None:  # noqa: ARG001 - as above
        options = found.setdefault("VolumeOptions", {})
        where = options.setdefault("DriverConfig", {}) if driver else options
        label, _, said = value.partition("=")
        where.setdefault(name, {})[label] = said

    return store


def _driver(found: dict[str, Any], key: str, value: str) -> None:  # noqa: ARG001 - as above
    found.setdefault("VolumeOptions", {}).setdefault("DriverConfig", {})["Name"] = value


def _propagation(found: dict[str, Any], key: str, value: str) -> None:
    if value.lower() not in PROPAGATIONS:
        raise ValueError(f"invalid value for {key}: {value}: must be one of {', '.join(PROPAGATIONS)}")
    found.setdefault("BindOptions", {})["Propagation"] = value.lower()


def _recursive(found: dict[str, Any], key: str, value: str) -> None:
    options = found.setdefault("BindOptions", {})
    if value not in RECURSIVE:
        raise ValueError(
            f'invalid value for {key}: {value} (must be "enabled", "disabled", "writable", or "readonly")'
        )
    names = {
        "disabled": "NonRecursive",
        "writable": "ReadOnlyNonRecursive",
        "readonly": "ReadOnlyForceRecursive",
    }
    if value in names:
        options[names[value]] = True


def _tmpfs_size(found: dict[str, Any], key: str, value: str) -> None:
    from corten.cli.create.values import size

    try:
        found.setdefault("TmpfsOptions", {})["SizeBytes"] = size(value)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {value}") from None


def _tmpfs_mode(found: dict[str, Any], key: str, value: str) -> None:
    try:
        found.setdefault("TmpfsOptions", {})["Mode"] = int(value, 8)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {value}") from None


def _tmpfs_options(found: dict[str, Any], key: str, value: str) -> None:
    if not value:
        raise ValueError(f"invalid value for {key}: {value}")
    options = found.setdefault("TmpfsOptions", {}).setdefault("Options", [])
    options += [word.split("=", 1) for word in value.split(",")]


def _id_map(found: dict[str, Any], key: str, value: str) -> None:
    if not value:
        raise ValueError(
            f"invalid value for {key}: write for example uids=0-100000-65536;gids=0-100000-65536"
        )
    found["IdMap"] = value


SETTERS: dict[str, Callable[[dict[str, Any], str, str], None]] = {
    "type": _kind,
    "source": _source,
    "src": _source,
    "target": _plain("Target"),
    "dst": _plain("Target"),
    "destination": _plain("Target"),
    "readonly": _flag("ReadOnly"),
    "ro": _flag("ReadOnly"),
    "consistency": _plain("Consistency"),
    "bind-propagation": _propagation,
    "bind-nonrecursive": _flag("NonRecursive", "BindOptions"),
    "bind-recursive": _recursive,
    "bind-create-src": _flag("CreateMountpoint", "BindOptions"),
    "create-src": _flag("CreateMountpoint", "BindOptions"),
    "idmap": _id_map,
    "volume-subpath": _plain("Subpath", "VolumeOptions"),
    "volume-nocopy": _flag("NoCopy", "VolumeOptions"),
    "volume-label": _pair("Labels"),
    "volume-driver": _driver,
    "volume-opt": _pair("Options", driver=True),
    "image-subpath": _plain("Subpath", "ImageOptions"),
    "tmpfs-size": _tmpfs_size,
    "tmpfs-mode": _tmpfs_mode,
    "tmpfs-options": _tmpfs_options,
}
