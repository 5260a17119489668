"""Variables in instructions: which words of which instruction are expanded.

The text of RUN, CMD, ENTRYPOINT, HEALTHCHECK and SHELL belongs to the shell
that runs it, and stays as it is. All words of one instruction see the values
from before it.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

import msgspec

from corten.engine.builds.dockerfile import expand as expansion
from corten.engine.builds.dockerfile import mounts, values
from corten.engine.builds.dockerfile.heredoc import Heredoc
from corten.engine.builds.dockerfile.instructions import (
    Add,
    Arg,
    Argument,
    Copy,
    Env,
    Expose,
    From,
    Instruction,
    Label,
    Pair,
    Run,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from corten.engine.builds.dockerfile.lines import Position, shown
from corten.engine.builds.dockerfile.mounts import MountFlag

_replace = msgspec.structs.replace
_MOST_PORTS = 1 << 18  # more than there are, with every protocol
_Kind = TypeVar("_Kind", bound=Instruction)


class _Words:
    """Expands the words of one instruction."""

    def __init__(self, instruction: Instruction, variables: Mapping[str, str], escape: str) -> None:
        self._line = instruction.line
        self._begin = len(instruction.NAME)  # no argument stands further to the left
        self._variables = variables
        self._escape = escape

    def one(self, word: str) -> str:
        try:
            return expansion.expand(word, self._variables, self._escape)
        except expansion.ExpansionError as error:
            raise self._place(word, error.offset).refuse(str(error)) from None

    def all(self, words: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(self.one, words))

    def split(self, word: str) -> tuple[str, ...]:
        try:
            return expansion.expand_words(word, self._variables, self._escape)
        except expansion.ExpansionError as error:
            raise self._place(word, error.offset).refuse(str(error)) from None

    def bodies(self, heredocs: tuple[Heredoc, ...]) -> tuple[Heredoc, ...]:
        return tuple(self._body(heredoc) if heredoc.expands else heredoc for heredoc in heredocs)

    def refuse(self, word: str, expected: str) -> Exception:
        return self._place(word, 0).refuse(expected)

    def _body(self, heredoc: Heredoc) -> Heredoc:
        try:
            return _replace(heredoc, body=expansion.expand_body(heredoc.body, self._variables))
        except expansion.ExpansionError as error:
            raise self.refuse(heredoc.marker, f"{error} in the here-document") from None

    def _place(self, word: str, offset: int) -> Position:
        begin = self._line.text.find(word, self._begin)
        return self._line.at(begin + offset if begin >= 0 else 0)


def expand(instruction: _Kind, variables: Mapping[str, str], escape: str = "\\") -> _Kind:
    """Return *instruction* with the values of variables in its words, and quotes removed.

    Mounts keep their fields as text; ports become ``80/tcp`` and so on.

    Args:
        instruction: As parsed.
        variables: For FROM those of the global scope, for others those of the stage.
        escape: The escape character of the file.

    Raises:
        InvalidInput: a word cannot be expanded, or its value cannot stand there.
    """
    expander = _EXPANDERS.get(type(instruction))
    if expander is None:
        return instruction
    return cast("_Kind", expander(instruction, _Words(instruction, variables, escape)))


def words_of(instruction: Instruction) -> tuple[str, ...]:
    """Return the words of *instruction* that ``expand`` expands, as written; bodies are not among them."""
    match instruction:
        case From():
            return instruction.platform, instruction.image
        case Run():
            return tuple(value for flag in instruction.mounts for _, value in flag.fields if value)
        case Copy() | Add():
            checksum = (instruction.checksum,) if isinstance(instruction, Add) else ()
            owner = (instruction.chown, instruction.chmod)
            return (*owner, *instruction.sources, instruction.destination, *instruction.exclude, *checksum)
        case Env() | Label():
            return tuple(text for pair in instruction.pairs for text in (pair.name, pair.value))
        case Arg():
            return tuple(argument.default or "" for argument in instruction.arguments)
        case Expose():
            return instruction.ports
        case Volume():
            return instruction.paths
    return _single(instruction)


def _single(instruction: Instruction) -> tuple[str, ...]:
    """Return the words of instructions that have just one."""
    match instruction:
        case User():
            return (instruction.user,)
        case Workdir():
            return (instruction.path,)
        case StopSignal():
            return (instruction.signal,)
    return ()


def check(instruction: Instruction, escape: str) -> None:
    """Refuse an instruction without variables that cannot be expanded."""
    expand(instruction, {}, escape)


def _from(found: From, words: _Words) -> From:
    image = words.one(found.image)
    if not image:
        raise words.refuse(
            found.image, "expected the name of an image, found an empty one: give the variable a value"
        )
    return _replace(found, image=image, platform=words.one(found.platform))


def _run(found: Run, words: _Words) -> Run:
    if not found.mounts:
        return found
    return _replace(found, mounts=tuple(_mount(flag, words) for flag in found.mounts))


def _mount(flag: MountFlag, words: _Words) -> MountFlag:
    fields = tuple((key, value if value is None else words.one(value)) for key, value in flag.fields)
    expanded = _replace(flag, fields=fields)
    mounts.typed(expanded)
    return expanded


def _mode(text: str, words: _Words, written: str) -> str:
    """Return a ``--chmod`` that is one, or empty."""
    if text:
        try:
            values.mode(text)
        except ValueError as error:
            raise words.refuse(written, f"{error} for --chmod") from None
    return text


def _copy(found: Copy, words: _Words) -> Copy:
    return _replace(
        found,
        sources=words.all(found.sources),
        destination=words.one(found.destination),
        heredocs=words.bodies(found.heredocs),
        chown=words.one(found.chown),
        chmod=_mode(words.one(found.chmod), words, found.chmod),
        exclude=words.all(found.exclude),
    )


def _add(found: Add, words: _Words) -> Add:
    return _replace(
        found,
        sources=words.all(found.sources),
        destination=words.one(found.destination),
        heredocs=words.bodies(found.heredocs),
        chown=words.one(found.chown),
        chmod=_mode(words.one(found.chmod), words, found.chmod),
        exclude=words.all(found.exclude),
        checksum=words.one(found.checksum),
    )


def _pairs(found: tuple[Pair, ...], words: _Words) -> tuple[Pair, ...]:
    return tuple(Pair(words.one(pair.name), words.one(pair.value)) for pair in found)


def _env(found: Env, words: _Words) -> Env:
    pairs = _pairs(found.pairs, words)
    for pair, written in zip(pairs, found.pairs, strict=True):
        if not pair.name or "=" in pair.name:
            raise words.refuse(written.name, f"expected a name without equals sign, found {shown(pair.name)}")
    return _replace(found, pairs=pairs)


def _label(found: Label, words: _Words) -> Label:
    return _replace(found, pairs=_pairs(found.pairs, words))


def _arg(found: Arg, words: _Words) -> Arg:
    arguments = []
    for argument in found.arguments:
        name = words.one(argument.name)
        if not name:
            raise words.refuse(argument.name, "expected a name, found an empty one")
        arguments.append(Argument(name, None if argument.default is None else words.one(argument.default)))
    return _replace(found, arguments=tuple(arguments))


def _expose(found: Expose, words: _Words) -> Expose:
    ports: dict[str, None] = {}
    spread = 0
    for written in dict.fromkeys(found.ports):
        try:
            for word in words.split(written):
                found_ports = values.ports(word)
                spread += len(found_ports)
                ports.update(dict.fromkeys(found_ports))
        except ValueError as error:
            raise words.refuse(written, str(error)) from None
        if spread > _MOST_PORTS:
            raise words.refuse(written, f"expected {_MOST_PORTS} ports at most: remove ranges")
    return _replace(found, ports=tuple(ports))


def _volume(found: Volume, words: _Words) -> Volume:
    paths = words.all(found.paths)
    for path, written in zip(paths, found.paths, strict=True):
        if not path.strip():
            raise words.refuse(written, "expected a path for each volume, found an empty one")
    return _replace(found, paths=paths)


def _user(found: User, words: _Words) -> User:
    return _replace(found, user=words.one(found.user))


def _workdir(found: Workdir, words: _Words) -> Workdir:
    path = words.one(found.path)
    if not path:
        raise words.refuse(found.path, "expected a path, found an empty text: give the variable a value")
    return _replace(found, path=path)


def _stop_signal(found: StopSignal, words: _Words) -> StopSignal:
    name = words.one(found.signal)
    try:
        values.check_signal(name)
    except ValueError as error:
        raise words.refuse(found.signal, str(error)) from None
    return _replace(found, signal=name)


_EXPANDERS = cast(
    "Mapping[type[Instruction], Callable[[Instruction, _Words], Instruction]]",
    {
        Add: _add,
        Arg: _arg,
        Copy: _copy,
        Env: _env,
        Expose: _expose,
        From: _from,
        Label: _label,
        Run: _run,
        StopSignal: _stop_signal,
        User: _user,
        Volume: _volume,
        Workdir: _workdir,
    },
)
