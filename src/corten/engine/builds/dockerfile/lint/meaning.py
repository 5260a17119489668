"""Rules about what a stage means: what is overwritten, what depends on luck."""

from collections.abc import Callable, Iterator
from itertools import pairwise

from corten.engine.builds.dockerfile.instructions import (
    Cmd,
    Entrypoint,
    HealthCheck,
    Instruction,
    Shell,
    Workdir,
)
from corten.engine.builds.dockerfile.lines import shown
from corten.engine.builds.dockerfile.lint.finding import Finding
from corten.engine.builds.dockerfile.stages import Dockerfile

_ONCE = (Cmd, Entrypoint, HealthCheck)


def multiple_instructions(dockerfile: Dockerfile) -> Iterator[Finding]:
    """Of some instructions only the last one in a stage counts."""
    for stage in dockerfile.stages:
        for kind in _ONCE:
            same = [found for found in stage.instructions if isinstance(found, kind)]
            for earlier, later in pairwise(same):
                line = later.position.line
                message = f"this {kind.NAME} has no effect, the one on line {line} wins: remove one of them"
                yield Finding("MultipleInstructionsDisallowed", earlier.position, message)


def json_args_recommended(dockerfile: Dockerfile) -> Iterator[Finding]:
    """A shell in between does not pass signals on; who sets SHELL wants one."""
    inherited = _inherited(dockerfile, _is_shell)
    for stage in dockerfile.stages:
        if inherited[stage.index] or any(map(_is_shell, stage.instructions)):
            continue
        for instruction in stage.instructions:
            if isinstance(instruction, Cmd | Entrypoint) and instruction.command.shell:
                name = instruction.NAME
                message = f'the shell of {name} gets the signals: write {name} ["program", "argument"]'
                yield Finding("JSONArgsRecommended", instruction.position, message)


def workdir_relative_path(dockerfile: Dockerfile) -> Iterator[Finding]:
    """Where a relative path leads depends on the base image."""
    inherited = _inherited(dockerfile, _is_absolute)
    for stage in dockerfile.stages:
        fixed = inherited[stage.index]
        for instruction in stage.instructions:
            fixed = fixed or _is_absolute(instruction)
            if isinstance(instruction, Workdir) and not fixed and not instruction.path.startswith("$"):
                message = (
                    f"WORKDIR {shown(instruction.path)} continues that of the base image: begin it with /"
                )
                yield Finding("WorkdirRelativePath", instruction.position, message)


def _is_shell(instruction: Instruction) -> bool:
    return isinstance(instruction, Shell)


def _is_absolute(instruction: Instruction) -> bool:
    """Return whether a WORKDIR starts at the root, quotes aside."""
    return isinstance(instruction, Workdir) and instruction.path.lstrip("\"'").startswith("/")


def _inherited(dockerfile: Dockerfile, holds: Callable[[Instruction], bool]) -> dict[int, bool]:
    """Return for each stage whether something holds in a stage that it begins with."""
    begin: dict[int, bool] = {}
    end: dict[int, bool] = {}
    for stage in dockerfile.stages:
        base = dockerfile.find(stage.start.image, stage.index)
        begin[stage.index] = base is not None and end[base.index]
        end[stage.index] = begin[stage.index] or any(map(holds, stage.instructions))
    return begin
