"""Rules about how instructions are written; none needs to know what they mean."""

import re
from collections.abc import Iterator

from corten.engine.builds.dockerfile import directives, words
from corten.engine.builds.dockerfile.instructions import (
    Arg,
    Env,
    Expose,
    From,
    Instruction,
    Label,
    Maintainer,
)
from corten.engine.builds.dockerfile.lines import Position, shown
from corten.engine.builds.dockerfile.lint.finding import Finding
from corten.engine.builds.dockerfile.stages import Dockerfile

_RESERVED = ("scratch", "context")
_AS = re.compile(r"\s(as)\s+\S+\Z", re.IGNORECASE)
_SECRETS = frozenset(
    {
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "passwd",
        "password",
        "pword",
        "secret",
        "token",
    }
)
_TARGET_PLATFORM = ("$TARGETPLATFORM", "${TARGETPLATFORM}")


def stage_name_casing(dockerfile: Dockerfile) -> Iterator[Finding]:
    """Stage names are compared without regard to case, so small letters are honest."""
    for stage in dockerfile.stages:
        if stage.start.alias != stage.name:
            message = f"stage name {shown(stage.start.alias)} has capitals: write {stage.name}"
            yield Finding("StageNameCasing", _alias(stage.start), message)


def reserved_stage_name(dockerfile: Dockerfile) -> Iterator[Finding]:
    """Some names mean something else already."""
    for stage in dockerfile.stages:
        if stage.name in _RESERVED:
            message = f"stage name {shown(stage.name)} has a meaning of its own: choose another name"
            yield Finding("ReservedStageName", _alias(stage.start), message)


def duplicate_stage_name(dockerfile: Dockerfile) -> Iterator[Finding]:
    """Of two stages with one name nobody can refer to the first."""
    for stage in dockerfile.stages:
        earlier = dockerfile.find(stage.name, stage.index) if stage.name else None
        if earlier is not None:
            line = earlier.start.position.line
            message = f"stage name {shown(stage.name)} is taken on line {line}: choose another name"
            yield Finding("DuplicateStageName", _alias(stage.start), message)


def from_as_casing(dockerfile: Dockerfile) -> Iterator[Finding]:
    """FROM and AS belong together."""
    for stage in dockerfile.stages:
        word = _AS.search(stage.start.text) if stage.start.alias else None
        if word is None:
            continue
        wanted = "as" if _written(stage.start).islower() else "AS"
        if word[1] != wanted:
            message = f"{word[1]} is not written like {_written(stage.start)}: write {wanted}"
            yield Finding("FromAsCasing", stage.start.line.at(word.start(1)), message)


def consistent_instruction_casing(dockerfile: Dockerfile) -> Iterator[Finding]:
    """All names in capitals, or all in small letters: what most are."""
    instructions = list(dockerfile.instructions)
    small = sum(_written(found).islower() for found in instructions)
    capitals = sum(_written(found).isupper() for found in instructions)
    for instruction in instructions:
        word = _written(instruction)
        wanted = word.lower() if small > capitals else word.upper()
        if word != wanted:
            message = f"{word} is not written like most instructions here: write {wanted}"
            yield Finding("ConsistentInstructionCasing", instruction.position, message)


def maintainer_deprecated(dockerfile: Dockerfile) -> Iterator[Finding]:
    """MAINTAINER was given up long ago."""
    for instruction in dockerfile.instructions:
        if isinstance(instruction, Maintainer):
            message = "MAINTAINER is deprecated: write LABEL org.opencontainers.image.authors=..."
            yield Finding("MaintainerDeprecated", instruction.position, message)


def legacy_key_value_format(dockerfile: Dockerfile) -> Iterator[Finding]:
    """``ENV a b`` is easily misread."""
    for instruction in dockerfile.instructions:
        if isinstance(instruction, Env | Label) and instruction.legacy:
            name = instruction.pairs[0].name
            message = f"{instruction.NAME} without an equals sign is deprecated: write {name}=..."
            yield Finding("LegacyKeyValueFormat", instruction.position, message)


def no_empty_continuation(dockerfile: Dockerfile) -> Iterator[Finding]:
    """An empty line inside an instruction looks like its end."""
    for instruction in dockerfile.instructions:
        for number in instruction.line.gaps:
            message = "empty line inside an instruction: remove it, or make it a comment"
            yield Finding("NoEmptyContinuation", Position(dockerfile.file, number), message)


def redundant_target_platform(dockerfile: Dockerfile) -> Iterator[Finding]:
    """The target platform is what FROM takes anyway."""
    for stage in dockerfile.stages:
        if stage.start.platform in _TARGET_PLATFORM:
            message = f"--platform={stage.start.platform} is what FROM does without it: remove the flag"
            yield Finding("RedundantTargetPlatform", stage.start.line.find("--platform"), message)


def from_platform_flag_const(dockerfile: Dockerfile) -> Iterator[Finding]:
    """A fixed platform breaks builds for another one, unless the stage is named for it."""
    for stage in dockerfile.stages:
        platform = stage.start.platform
        named = any(part and part in stage.name for part in platform.lower().split("/"))
        if platform and "$" not in platform and not named:
            message = f"--platform={platform} is fixed: remove it, or use $BUILDPLATFORM or $TARGETPLATFORM"
            yield Finding("FromPlatformFlagConstDisallowed", stage.start.line.find("--platform"), message)


def secrets_in_arg_or_env(dockerfile: Dockerfile) -> Iterator[Finding]:
    """Values of ARG and ENV can be read by whoever has the image."""
    for instruction in dockerfile.instructions:
        names: list[str] = []
        if isinstance(instruction, Arg):
            names = [argument.name for argument in instruction.arguments]
        elif isinstance(instruction, Env):
            names = [pair.name for pair in instruction.pairs]
        for name in names:
            parts = set(name.lower().split("_"))
            if parts & _SECRETS and "public" not in parts:
                message = f"{name} looks like a secret, and {instruction.NAME} is public: use RUN --mount=type=secret"
                yield Finding("SecretsUsedInArgOrEnv", _argument(instruction, name), message)


def expose_proto_casing(dockerfile: Dockerfile) -> Iterator[Finding]:
    """Protocols are names in small letters."""
    for instruction, port in _ports(dockerfile):
        protocol = port.rpartition("/")[2] if "/" in port else ""
        if "$" not in protocol and protocol != protocol.lower():
            message = f"protocol {shown(protocol)} has capitals: write {protocol.lower()}"
            yield Finding("ExposeProtoCasing", _argument(instruction, port), message)


def expose_invalid_format(dockerfile: Dockerfile) -> Iterator[Finding]:
    """EXPOSE knows nothing of the host."""
    for instruction, port in _ports(dockerfile):
        if ":" in port and "$" not in port:
            message = f"EXPOSE takes no address or port of the host: write {port.rpartition(':')[2]}"
            yield Finding("ExposeInvalidFormat", _argument(instruction, port), message)


def invalid_definition_description(dockerfile: Dockerfile) -> Iterator[Finding]:
    """A comment right above a named stage or an ARG describes it: ``# name text``."""
    for instruction in dockerfile.instructions:
        names = _defined(instruction)
        comments = [comment for comment in instruction.line.comments if not directives.is_directive(comment)]
        described = any(comment.lower().startswith(f"{name} ") for comment in comments for name in names)
        if names and comments and not described:
            message = f"the comment above does not describe {names[0]}: begin it with {shown(names[0] + ' ')}"
            yield Finding("InvalidDefinitionDescription", instruction.position, message)


def _defined(instruction: Instruction) -> list[str]:
    """Return the names, in small letters, that an instruction gives to something."""
    if isinstance(instruction, From):
        return [instruction.alias.lower()] if instruction.alias else []
    if isinstance(instruction, Arg):
        return [argument.name.lower() for argument in instruction.arguments]
    return []


def _ports(dockerfile: Dockerfile) -> Iterator[tuple[Expose, str]]:
    for instruction in dockerfile.instructions:
        if isinstance(instruction, Expose):
            for port in instruction.ports:
                yield instruction, port


def _written(instruction: Instruction) -> str:
    """Return the instruction's name as the file has it."""
    return words.first(instruction.text)


def _alias(start: From) -> Position:
    return start.line.at(len(start.text) - len(start.alias))


def _argument(instruction: Instruction, word: str) -> Position:
    """Return the place of an argument, which may look like the instruction's own name."""
    found = instruction.text.find(word, len(instruction.NAME))
    return instruction.line.at(max(found, 0))
