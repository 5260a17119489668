"""Rules about variables: those that nothing defines, and those that defaults leave empty."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches

import msgspec

from corten.engine.builds.dockerfile import expand, scope, substitute
from corten.engine.builds.dockerfile.instructions import Add, Arg, Copy, Env, Instruction
from corten.engine.builds.dockerfile.lint.finding import Finding
from corten.engine.builds.dockerfile.stages import SCRATCH, Dockerfile
from corten.errors import InvalidInput
from corten.oci.platform import Platform
from corten.oci.reference import Reference

Environments = Mapping[str, Collection[str]]  # names of the variables that an image sets, by its reference
_ALWAYS = ("PATH",)  # every stage has one
_SOME = "x"  # the value of a variable that has one
_MANY = 200  # names among which likeness is looked for; more take too long
_ANY = Platform("linux", "amd64")  # stands for whatever the platform is


def undefined_arg_in_from(dockerfile: Dockerfile) -> Iterator[Finding]:
    """FROM sees only ARGs that stand above the first FROM."""
    known = _declared(dockerfile.arguments) | dict.fromkeys(scope.PLATFORM_NAMES, _SOME)
    for stage in dockerfile.stages:
        for name, word in _missing(stage.start, known, dockerfile.escape):
            message = f"FROM uses ${name}, which no ARG above the first FROM declares{_hint(name, known)}"
            yield Finding("UndefinedArgInFrom", stage.start.line.find(word), message)


def invalid_default_arg_in_from(dockerfile: Dockerfile) -> Iterator[Finding]:
    """Without build arguments, FROM should still name an image."""
    try:
        platform = scope.platform_arguments(_ANY, _ANY)
        defaults = scope.global_variables(dockerfile.arguments, {}, platform, dockerfile.escape)
    except InvalidInput:
        return
    known = _declared(dockerfile.arguments) | dict.fromkeys(scope.PLATFORM_NAMES, _SOME)
    for stage in dockerfile.stages:
        image = stage.start.image
        undefined = any(_missing(stage.start, known, dockerfile.escape))
        if "$" in image and not undefined and not _names_image(image, defaults, dockerfile.escape):
            message = f"{image} names no image unless build arguments are given: give its ARG a default"
            yield Finding("InvalidDefaultArgInFrom", stage.start.line.find(image), message)


def undefined_var(dockerfile: Dockerfile, environments: Environments) -> Iterator[Finding]:
    """A variable should be declared by ARG or ENV, in the stage or in what it begins with."""
    ends: dict[int, _Known] = {}
    for stage in dockerfile.stages:
        base = dockerfile.find(stage.start.image, stage.index)
        known = _known(stage.start.image, environments) if base is None else ends[base.index]
        names = dict(known.names)
        for instruction in stage.instructions:
            for name, word in _missing(instruction, names, dockerfile.escape):
                unless = "" if known.complete else ", unless the base image sets it"
                message = f"nothing defines ${name} here{unless}{_hint(name, names)}"
                yield Finding("UndefinedVar", instruction.line.find(word), message)
            names |= _declared([instruction])
        ends[stage.index] = _Known(names, known.complete)


class _Known(msgspec.Struct, frozen=True):
    """The variables at one place; *complete* when there can be no others."""

    names: Mapping[str, str]
    complete: bool


def _known(image: str, environments: Environments) -> _Known:
    """Return what an image defines, as far as the caller knows."""
    names = dict.fromkeys((*_ALWAYS, *environments.get(image, ())), _SOME)
    return _Known(names, image.lower() == SCRATCH or image in environments)


def _declared(instructions: Iterable[Instruction]) -> dict[str, str]:
    """Return the variables that instructions define, with a value that stands for any."""
    names: list[str] = []
    for instruction in instructions:
        if isinstance(instruction, Arg):
            names += (argument.name for argument in instruction.arguments)
        elif isinstance(instruction, Env):
            names += (pair.name for pair in instruction.pairs)
    return dict.fromkeys(names, _SOME)


def _missing(instruction: Instruction, known: Mapping[str, str], escape: str) -> Iterator[tuple[str, str]]:
    """Yield each variable that an instruction needs and nobody defines, and the word with it."""
    told: set[str] = set()
    for text, quotes in _texts(instruction):
        try:
            found = expand.analyse(text, known, escape, quotes=quotes)
        except expand.ExpansionError:
            continue
        for name in sorted(found.missing - told):
            told.add(name)
            yield name, next((form for form in (f"${name}", f"${{{name}") if form in text), text)


def _texts(instruction: Instruction) -> Iterator[tuple[str, bool]]:
    """Yield the texts with variables in an instruction, and whether quotes count there."""
    for word in substitute.words_of(instruction):
        if "$" in word:
            yield word, True
    if isinstance(instruction, Copy | Add):
        for heredoc in instruction.heredocs:
            if heredoc.expands and "$" in heredoc.body:
                yield heredoc.body, False


def _names_image(image: str, variables: Mapping[str, str], escape: str) -> bool:
    try:
        name = expand.expand(image, variables, escape)
        return name.lower() == SCRATCH or bool(Reference.parse(name))
    except (InvalidInput, expand.ExpansionError):
        return False


def _hint(name: str, known: Collection[str]) -> str:
    """Return what to do about a variable that is not defined."""
    close = get_close_matches(name, known, 1, 0.75) if len(known) < _MANY else []
    return f": did you mean ${close[0]}?" if close else f": add ARG {name}"
