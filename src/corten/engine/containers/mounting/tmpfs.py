"""A tmpfs: ``--tmpfs``, and ``--mount type=tmpfs``. Pure."""

from msgspec.structs import replace

from corten.engine.containers.mounting.mount import UserMount
from corten.engine.containers.mounting.paths import PROPAGATION, clean
from corten.engine.records.config import MountRequest, TmpfsOptions
from corten.errors import InvalidInput

_WHERE = 'invalid mount config for type "tmpfs"'
_DEFAULTS = ("nosuid", "noexec", "nodev", "rprivate")
_OPPOSITE = {
    "ro": "rw",
    "noexec": "exec",
    "nosuid": "suid",
    "nodev": "dev",
    "noatime": "atime",
    "nodiratime": "diratime",
    "norelatime": "relatime",
    "strictatime": "nostrictatime",
    "sync": "async",
}
_FLAGS = frozenset({*_OPPOSITE, *_OPPOSITE.values(), *PROPAGATION, "defaults"})
_KEYS = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"})


def requested_tmpfs(mount: MountRequest, target: str) -> UserMount:
    """Read one ``--mount type=tmpfs``.

    Raises:
        InvalidInput: an option that tmpfs does not have, or a source.
    """
    if mount.source:
        raise InvalidInput(f"{_WHERE}: field Source must not be specified")
    given = mount.tmpfs_options or TmpfsOptions()
    words = ["ro"] if mount.read_only else []
    if given.size_bytes < 0:
        raise InvalidInput(f"{_WHERE}: the size cannot be negative")
    if given.size_bytes:
        words.append(f"size={given.size_bytes}")
    if given.mode:
        words.append(f"mode={given.mode:o}")
    words += ["=".join(pair) for pair in given.options or ()]
    return _tmpfs(target, words)


def flagged_tmpfs(target: str, options: str) -> UserMount:
    """Read one ``--tmpfs target:options``; inspect shows it in the HostConfig alone."""
    mount = _tmpfs(clean(target, _WHERE), [word for word in options.split(",") if word])
    return replace(mount, listed=False)


def _tmpfs(target: str, words: list[str]) -> UserMount:
    """Return a tmpfs with Docker's defaults and *words*, of which a later one undoes an earlier one."""
    options: dict[str, str] = {}
    for word in (*_DEFAULTS, *words):
        key, separator, value = word.partition("=")
        if key not in (_KEYS if separator else _FLAGS) or (separator and not value):
            raise InvalidInput(f'{_WHERE}: Invalid tmpfs option "{word}"')
        for one, other in _OPPOSITE.items():
            if key in (one, other):
                options.pop(other if key == one else one, None)
        if key in PROPAGATION:
            options = {name: text for name, text in options.items() if name not in PROPAGATION}
        options[key] = word
    return UserMount(
        type="tmpfs", target=target, options=tuple(options.values()), writable="ro" not in options
    )
