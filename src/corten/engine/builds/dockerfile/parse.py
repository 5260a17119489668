"""A Dockerfile as text to a Dockerfile as values.

Parsing needs no variables, so it says nothing about words that hold some. What
holds none is checked here already: an instruction that could never be expanded
is refused with the rest of the file, not an hour later when its turn comes.
"""

from corten.engine.builds.dockerfile import directives, flags, heredoc, substitute, words
from corten.engine.builds.dockerfile.arguments import FLAGS, READERS, Request
from corten.engine.builds.dockerfile.heredoc import Heredoc
from corten.engine.builds.dockerfile.instructions import Instruction, OnBuild
from corten.engine.builds.dockerfile.lines import Line, Reader, shown
from corten.engine.builds.dockerfile.stages import Dockerfile, assemble

_ONBUILD = "ONBUILD"
_NAMES = (*READERS, _ONBUILD)
_WITH_HEREDOCS = ("ADD", "COPY", "RUN")
_NO_TRIGGERS = ("FROM", "MAINTAINER", _ONBUILD)


def parse(text: str, file: str = "Dockerfile") -> Dockerfile:
    """Read a Dockerfile.

    Args:
        text: Its text; bytes that are not UTF-8 may be there as surrogates
            (``errors="surrogateescape"``), which are allowed in comments only.
        file: What it is called in messages.

    Raises:
        InvalidInput: ``FILE:LINE:COLUMN: what was expected``, for the first
            thing that is wrong.
    """
    found = directives.read(text, file)
    reader = Reader(text, file, found.escape)
    instructions: list[Instruction] = []
    while line := reader.line():
        instructions.append(_instruction(line, found.escape, reader))
    return assemble(file, found, instructions, reader.last)


def parse_trigger(text: str, image: str) -> Instruction:
    """Read an ONBUILD instruction that *image* stores.

    Raises:
        InvalidInput: it is not one instruction, or not one that ONBUILD takes.
    """
    file = f"{_ONBUILD} of {image}"
    reader = Reader(text, file, "\\")
    line = reader.line()
    if line is None:
        raise Line("", file, ((0, 1, 1),), 1).at().refuse("expected an instruction, found nothing")
    _check_trigger(line)
    instruction = _instruction(line, "\\", reader)
    surplus = reader.line()
    if surplus:
        raise surplus.at().refuse(f"expected one instruction, found another one: {shown(surplus.text)}")
    return instruction


def _instruction(line: Line, escape: str, reader: Reader) -> Instruction:
    """Read the instruction on a line, and the bodies that belong to it."""
    name, start = _name(line)
    if name == _ONBUILD:
        return _on_build(line, start, escape, reader)
    heredocs: tuple[Heredoc, ...] = ()
    if "<<" in line.text and name in _WITH_HEREDOCS:
        heredocs = heredoc.read(line, escape, name == "RUN", reader, start)
    given, first = flags.take(line, start, FLAGS.get(name, {}), name)
    instruction = READERS[name](Request(line, first, given, escape, heredocs))
    if "$" not in line.text and not any("$" in found.body for found in heredocs):
        substitute.check(instruction, escape)
    return instruction


def _name(line: Line) -> tuple[str, int]:
    """Return the instruction's name in capitals, and the offset of what follows."""
    word = words.first(line.text)
    name = word.upper()
    if name not in _NAMES:
        raise line.at().refuse(f"unknown instruction {shown(word)}{flags.nearest(name, _NAMES)}")
    return name, len(word)


def _on_build(line: Line, start: int, escape: str, reader: Reader) -> Instruction:
    given, first = flags.take(line, start, {}, _ONBUILD)
    del given  # ONBUILD has no flags of its own: any was refused
    inner = line.cut(first)
    if not inner.text:
        raise inner.at().refuse("expected an instruction after ONBUILD, found nothing")
    _check_trigger(inner)
    instruction = _instruction(inner, escape, reader)
    bodies = getattr(instruction, "heredocs", ())
    trigger = "".join((inner.text, *(f"\n{body.body}{body.name}" for body in bodies)))
    return OnBuild(line=line, trigger=trigger, instruction=instruction)


def _check_trigger(line: Line) -> None:
    """Refuse the instructions that cannot wait for another image."""
    name = words.first(line.text).upper()
    if name in _NO_TRIGGERS:
        raise line.at().refuse(f"{name} cannot follow ONBUILD: expected RUN, COPY or another instruction")
