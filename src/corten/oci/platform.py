"""Platform: the operating system and processor that an image is made for.

Source: OCI image-spec 1.1 image-index.md, "platform"; the short forms
(``arm64``, ``x86_64``) are those that the Docker command line accepts.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Self

import msgspec

from corten.errors import InvalidInput

_ALIASES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv8l": ("arm", "v7"),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "loongarch64": ("loong64", ""),
}
_IMPLIED = {("amd64", "v1"), ("arm64", "v8"), ("arm64", "8")}  # variants that say nothing
_ARCHITECTURES = frozenset(
    [
        "386",
        "amd64",
        "arm",
        "arm64",
        "loong64",
        "mips",
        "mips64",
        "mips64le",
        "mipsle",
        "ppc64",
        "ppc64le",
        "riscv64",
        "s390x",
        "wasm",
    ]
)
_SYSTEMS = frozenset(
    ["linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "solaris", "wasi", "wasip1"]
)
_ARM_VARIANTS = ("v8", "v7", "v6", "v5")  # each runs those that follow it


class Platform(msgspec.Struct, frozen=True, omit_defaults=True):
    """An operating system and a processor in Go's names; empty members are not stated."""

    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = msgspec.field(default="", name="os.version")
    os_features: tuple[str, ...] | None = msgspec.field(default=None, name="os.features")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``os``, ``architecture`` or ``os/architecture[/variant]``, normalised.

        Raises:
            InvalidInput: a part is missing, unknown, or one too many.
        """
        parts = text.strip().lower().split("/")
        if len(parts) > 3 or not all(parts):
            raise InvalidInput(f'"{text}" is an invalid platform: expected os/architecture[/variant]')
        if len(parts) == 1:
            return cls._parse_single(parts[0], text)
        variant = parts[2] if len(parts) == 3 else ""
        return cls(parts[0], parts[1], variant).normalised()

    @classmethod
    def _parse_single(cls, part: str, text: str) -> Self:
        """Decide whether one word names a system or a processor; the host gives the other."""
        if part in _SYSTEMS:
            return cls(part, host().architecture, host().variant)
        if part in _ARCHITECTURES or part in _ALIASES:
            return cls("linux", part).normalised()
        raise InvalidInput(f'"{text}" is an unknown operating system or architecture')

    def normalised(self) -> Self:
        """Return the same platform in its canonical names (``x86_64`` is ``amd64``)."""
        system = "darwin" if self.os.lower() == "macos" else self.os.lower()
        architecture, implied = _ALIASES.get(self.architecture.lower(), (self.architecture.lower(), ""))
        variant = self.variant.lower() or implied
        if (architecture, variant) in _IMPLIED:
            variant = ""
        if architecture == "arm":
            variant = variant or "v7"
            variant = variant if variant.startswith("v") else f"v{variant}"
        return msgspec.structs.replace(self, os=system, architecture=architecture, variant=variant)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def host() -> Platform:
    """Return the platform of this machine."""
    return Platform("linux", os.uname().machine).normalised()


def preferences(wanted: Platform) -> tuple[Platform, ...]:
    """Return what runs on *wanted*, the best first: older variants of ARM, 32 bit on 64 bit ARM."""
    wanted = wanted.normalised()
    base = Platform(wanted.os, wanted.architecture, wanted.variant)
    found = [base]
    if base.architecture == "amd64" and base.variant:
        level = int(base.variant[1:]) if base.variant[1:].isdigit() else 1
        found += [Platform(base.os, "amd64", f"v{lower}").normalised() for lower in range(level - 1, 0, -1)]
    if base.architecture == "arm64":
        found += [Platform(base.os, "arm", variant) for variant in _ARM_VARIANTS]
    if base.architecture == "arm" and base.variant in _ARM_VARIANTS:
        older = _ARM_VARIANTS[_ARM_VARIANTS.index(base.variant) + 1 :]
        found += [Platform(base.os, "arm", variant) for variant in older]
    return tuple(found)


def matches(wanted: Platform, offered: Platform) -> bool:
    """Tell whether something made for *offered* runs on *wanted*."""
    return choose(wanted, (offered,)) is not None


def choose(wanted: Platform, offered: Iterable[Platform | None]) -> int | None:
    """Return the position of the best match for *wanted* in *offered*, or None.

    Among equals the first wins, as image-index.md asks. An entry without a
    platform matches only when nothing else does.
    """
    candidates: Sequence[Platform | None] = list(offered)
    names = [None if entry is None else str(entry.normalised()) for entry in candidates]
    for preference in preferences(wanted):
        if str(preference) in names:
            return names.index(str(preference))
    return names.index(None) if None in names else None
