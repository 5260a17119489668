"""Which variables an instruction sees: build arguments and the image's environment.

There is one global scope, of the ARG instructions in front of the first FROM
and of what is said about platforms; FROM sees it. Each stage has its own, and
takes from the global one only what it declares. Source: Dockerfile reference,
"ARG", "Scope", "Predefined ARGs", "Automatic platform ARGs in the global scope".
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from corten.engine.builds.dockerfile import substitute
from corten.engine.builds.dockerfile.instructions import Arg, Argument, Instruction, OnBuild, Pair
from corten.engine.builds.dockerfile.stages import Dockerfile
from corten.oci.platform import Platform

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
PROXIES = frozenset({*_PROXIES, *(name.lower() for name in _PROXIES)})  # need no ARG
SETTINGS = frozenset(  # build arguments that speak to the builder
    {
        "BUILDKIT_BUILD_NAME",
        "BUILDKIT_CACHE_MOUNT_NS",
        "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
        "BUILDKIT_DOCKERFILE_CHECK",
        "BUILDKIT_INLINE_CACHE",
        "BUILDKIT_MULTI_PLATFORM",
        "BUILDKIT_SANDBOX_HOSTNAME",
        "BUILDKIT_SBOM_SCAN_CONTEXT",
        "BUILDKIT_SBOM_SCAN_STAGE",
        "BUILDKIT_SYNTAX",
        "SOURCE_DATE_EPOCH",
    }
)
PLATFORM_NAMES = frozenset(
    f"{side}{part}"
    for side in ("TARGET", "BUILD")
    for part in ("PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT")
) | {"TARGETSTAGE"}


def platform_arguments(build: Platform, target: Platform, stage: str = "default") -> dict[str, str]:
    """Return the platform ARGs: who builds, for whom, and the name of the target stage."""
    found = {"TARGETSTAGE": stage}
    for side, platform in (("BUILD", build), ("TARGET", target)):
        found |= {
            f"{side}PLATFORM": str(platform),
            f"{side}OS": platform.os,
            f"{side}OSVERSION": platform.os_version,
            f"{side}ARCH": platform.architecture,
            f"{side}VARIANT": platform.variant,
        }
    return found


def global_variables(
    arguments: Sequence[Arg], given: Mapping[str, str], platform: Mapping[str, str], escape: str = "\\"
) -> dict[str, str]:
    """Return what FROM sees.

    Args:
        arguments: The ARG instructions in front of the first FROM.
        given: Build arguments of the caller; they win over any default.
        platform: See ``platform_arguments``.
        escape: The escape character of the file.

    Raises:
        InvalidInput: a default cannot be expanded.
    """
    found = {name: given.get(name, value) for name, value in platform.items()}
    for instruction in arguments:
        for written in instruction.arguments:
            one = msgspec.structs.replace(instruction, arguments=(written,))
            argument = substitute.expand(one, found, escape).arguments[0]
            value = given.get(argument.name, argument.default)
            if value is not None:
                found[argument.name] = value
    return found


class Scope(msgspec.Struct, frozen=True):
    """What one place in a stage sees; changes make another scope.

    Attributes:
        given: Build arguments of the caller.
        outer: The global scope.
        environment: What the image sets: that of its base, and ENV up to here.
        arguments: Build arguments declared up to here; None has no value.
    """

    given: Mapping[str, str] = {}
    outer: Mapping[str, str] = {}
    environment: Mapping[str, str] = {}
    arguments: Mapping[str, str | None] = {}

    @property
    def variables(self) -> dict[str, str]:
        """What words expand to; ENV wins over ARG."""
        declared = {name: value for name, value in self.arguments.items() if value is not None}
        return {**declared, **self.environment}

    @property
    def run_environment(self) -> dict[str, str]:
        """The environment of RUN: as ``variables``, and the proxies that were given."""
        proxies = {name: value for name, value in self.given.items() if name in PROXIES}
        return {**proxies, **self.variables}

    def declare(self, arguments: Iterable[Argument]) -> "Scope":
        """Return the scope after ARG; *arguments* are expanded.

        The caller's value wins over the default, and the default over the
        value of the global scope.
        """
        declared = dict(self.arguments)
        for name, default in ((argument.name, argument.default) for argument in arguments):
            inherited = self.outer.get(name) if default is None else default
            declared[name] = self.given.get(name, inherited)
        return msgspec.structs.replace(self, arguments=declared)

    def define(self, pairs: Iterable[Pair]) -> "Scope":
        """Return the scope after ENV; *pairs* are expanded."""
        environment = {**self.environment, **{pair.name: pair.value for pair in pairs}}
        return msgspec.structs.replace(self, environment=environment)


def unused(dockerfile: Dockerfile, given: Iterable[str]) -> tuple[str, ...]:
    """Return the names among *given* build arguments that nothing in the file declares."""
    declared = {
        argument.name
        for instruction in _with_triggers(dockerfile.instructions)
        if isinstance(instruction, Arg)
        for argument in instruction.arguments
    }
    return tuple(sorted(set(given) - declared - PROXIES - SETTINGS - PLATFORM_NAMES))


def _with_triggers(instructions: Iterable[Instruction]) -> Iterable[Instruction]:
    for instruction in instructions:
        yield instruction.instruction if isinstance(instruction, OnBuild) else instruction
