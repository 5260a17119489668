"""Instructions to stages, and what a name in one of them refers to."""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from corten.engine.builds.dockerfile import substitute
from corten.engine.builds.dockerfile.directives import Directives
from corten.engine.builds.dockerfile.flags import nearest
from corten.engine.builds.dockerfile.instructions import Arg, Copy, From, Instruction, Run
from corten.engine.builds.dockerfile.lines import Position, shown
from corten.errors import InvalidInput

SCRATCH = "scratch"


class Stage(msgspec.Struct, frozen=True):
    """What one FROM begins; *index* counts from 0."""

    index: int
    start: From
    instructions: tuple[Instruction, ...]

    @property
    def name(self) -> str:
        """Its name in small letters, by which others refer to it, or an empty text."""
        return self.start.alias.lower()

    @property
    def label(self) -> str:
        """What to call it: its name, or its number."""
        return self.name or str(self.index)


class Dockerfile(msgspec.Struct, frozen=True):
    """A whole file.

    Attributes:
        file: What it is called in messages.
        directives: What stands at its top.
        arguments: The ARG instructions before the first FROM.
        stages: In the order of the file, one at least.
        names: The numbers of the stages of each name, in order.
    """

    file: str
    directives: Directives
    arguments: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    names: Mapping[str, tuple[int, ...]]

    @property
    def escape(self) -> str:
        """The escape character."""
        return self.directives.escape

    @property
    def instructions(self) -> Iterator[Instruction]:
        """All instructions in the order of the file."""
        yield from self.arguments
        for stage in self.stages:
            yield stage.start
            yield from stage.instructions

    def target(self, name: str = "") -> Stage:
        """Return the stage that a build ends with: by name, by number, or the last one.

        Raises:
            InvalidInput: there is none of that name.
        """
        if not name:
            return self.stages[-1]
        found = self.find(name)
        if (
            found is None
            and name.isascii()
            and name.isdigit()
            and len(name) < 6
            and int(name) < len(self.stages)
        ):
            return self.stages[int(name)]
        if found is None:
            known = tuple(stage.name for stage in self.stages if stage.name)
            raise InvalidInput(f"{self.file} has no target stage {shown(name)}{nearest(name.lower(), known)}")
        return found

    def find(self, name: str, before: int | None = None) -> Stage | None:
        """Return the last stage of a name, in any case, among those in front of number *before*."""
        numbers = self.names.get(name.lower(), ())
        place = bisect_left(numbers, len(self.stages) if before is None else before)
        return self.stages[numbers[place - 1]] if place else None


class FromStage(msgspec.Struct, frozen=True, tag="stage"):
    """What another stage made."""

    index: int


class FromContext(msgspec.Struct, frozen=True, tag="context"):
    """What the caller gave under a name, in the spelling of the caller."""

    name: str


class FromImage(msgspec.Struct, frozen=True, tag="image"):
    """An image by its reference."""

    name: str


class FromScratch(msgspec.Struct, frozen=True, tag="scratch"):
    """Nothing at all."""


Origin = FromStage | FromContext | FromImage | FromScratch


class Needs(msgspec.Struct, frozen=True):
    """Where a stage takes things from.

    Attributes:
        base: What it begins with.
        others: What COPY and mounts take from, by the name that they use.
    """

    base: Origin
    others: Mapping[str, Origin]

    @property
    def stages(self) -> frozenset[int]:
        """The numbers of the stages among them."""
        found = (self.base, *self.others.values())
        return frozenset(origin.index for origin in found if isinstance(origin, FromStage))


def assemble(file: str, directives: Directives, instructions: Sequence[Instruction], last: int) -> Dockerfile:
    """Group *instructions* into stages; the file has *last* lines.

    Raises:
        InvalidInput: something other than ARG stands in front of FROM, or there is no FROM.
    """
    begins = [number for number, found in enumerate(instructions) if isinstance(found, From)]
    first = begins[0] if begins else len(instructions)
    for instruction in instructions[:first]:
        if not isinstance(instruction, Arg):
            raise instruction.position.refuse(f"expected FROM before {instruction.NAME}, which needs a stage")
    if not begins:
        raise Position(file, max(last, 1)).refuse("expected FROM, found the end of the file")
    stages = []
    for index, (begin, end) in enumerate(zip(begins, [*begins[1:], len(instructions)], strict=True)):
        start = instructions[begin]
        assert isinstance(start, From)
        stages.append(Stage(index, start, tuple(instructions[begin + 1 : end])))
    arguments = tuple(found for found in instructions[:first] if isinstance(found, Arg))
    return Dockerfile(file, directives, arguments, tuple(stages), _numbers(stages))


def _numbers(stages: Sequence[Stage]) -> dict[str, tuple[int, ...]]:
    """Return the numbers of the stages of each name."""
    found: dict[str, list[int]] = {}
    for stage in stages:
        if stage.name:
            found.setdefault(stage.name, []).append(stage.index)
    return {name: tuple(numbers) for name, numbers in found.items()}


def base_origin(dockerfile: Dockerfile, stage: Stage, image: str, contexts: Collection[str] = ()) -> Origin:
    """Return what *image*, the expanded name in the FROM of *stage*, refers to.

    A stage further up shadows an image of that name; a context that the
    caller gave shadows both.
    """
    context = _context(image, contexts)
    if context is not None:
        return context
    if image.lower() == SCRATCH:
        return FromScratch()
    found = dockerfile.find(image, stage.index)
    return FromImage(image) if found is None else FromStage(found.index)


def origin(
    dockerfile: Dockerfile, stage: Stage, name: str, position: Position, contexts: Collection[str] = ()
) -> Origin:
    """Return what the name in ``COPY --from`` or a mount's ``from`` refers to.

    Raises:
        InvalidInput: it is the stage itself or one further down, or a number
            that no stage further up has.
    """
    context = _context(name, contexts)
    if context is not None:
        return context
    found = dockerfile.find(name, stage.index)
    if found is not None:
        return FromStage(found.index)
    if name.isascii() and name.isdigit():
        if len(name) > 5 or int(name) >= stage.index:
            raise position.refuse(
                f"expected a stage above this one, which is number {stage.index}, found {shown(name)}"
            )
        return FromStage(int(name))
    later = dockerfile.find(name)
    if later is not None and later.index == stage.index:
        raise position.refuse(f"stage {shown(name)} cannot take files from itself: expected a stage above it")
    if later is not None:
        raise position.refuse(f"expected a stage above this one, but {shown(name)} stands below: move it up")
    return FromScratch() if name.lower() == SCRATCH else FromImage(name)


def needs(
    dockerfile: Dockerfile, stage: Stage, variables: Mapping[str, str], contexts: Collection[str] = ()
) -> Needs:
    """Return where *stage* takes things from.

    Args:
        dockerfile: The whole file.
        stage: One of its stages.
        variables: The global scope, see ``scope.global_variables``.
        contexts: Names that the caller gave contexts to.

    Raises:
        InvalidInput: a name cannot be what it is used for.
    """
    start = substitute.expand(stage.start, variables, dockerfile.escape)
    others: dict[str, Origin] = {}
    for name, position in _names(stage.instructions):
        others[name] = origin(dockerfile, stage, name, position, contexts)
    return Needs(base_origin(dockerfile, stage, start.image, contexts), others)


def required(
    dockerfile: Dockerfile, target: Stage, variables: Mapping[str, str], contexts: Collection[str] = ()
) -> dict[int, Needs]:
    """Return the stages that *target* needs, itself included, each after those that it needs.

    A stage refers only to those above it, so there are no circles.

    Raises:
        InvalidInput: as ``needs``; stages that are not needed are not looked at.
    """
    found: dict[int, Needs] = {}
    waiting = {target.index}
    while waiting:
        index = waiting.pop()
        found[index] = needs(dockerfile, dockerfile.stages[index], variables, contexts)
        waiting |= found[index].stages - found.keys()
    return dict(sorted(found.items()))


def _context(name: str, contexts: Collection[str]) -> FromContext | None:
    """Return the context of a name; the tag ``latest`` may be left out, and case does not count."""
    names = {given.lower().removesuffix(":latest"): given for given in contexts}
    found = names.get(name.lower().removesuffix(":latest"))
    return None if found is None else FromContext(found)


def _names(instructions: Sequence[Instruction]) -> Iterator[tuple[str, Position]]:
    """Yield the names that instructions take files from; triggers wait for another build."""
    for instruction in instructions:
        if isinstance(instruction, Copy) and instruction.from_:
            yield instruction.from_, instruction.line.find("--from")
        elif isinstance(instruction, Run):
            for flag in instruction.mounts:
                if flag.from_:
                    yield flag.from_, flag.position
