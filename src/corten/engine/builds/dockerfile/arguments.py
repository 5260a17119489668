"""What follows an instruction's name: one function for each instruction.

Each gets a ``Request`` and returns the instruction, or raises InvalidInput
with the place and what was expected there.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from corten.engine.builds.dockerfile import mounts, values, words
from corten.engine.builds.dockerfile.flags import Flags, Kind, nearest
from corten.engine.builds.dockerfile.heredoc import Heredoc, Marker, markers
from corten.engine.builds.dockerfile.instructions import (
    Add,
    Arg,
    Argument,
    Cmd,
    Command,
    Copy,
    Device,
    Entrypoint,
    Env,
    Expose,
    From,
    HealthCheck,
    Instruction,
    Label,
    Maintainer,
    Pair,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from corten.engine.builds.dockerfile.lines import Line, Position, shown
from corten.oci.image import Healthcheck

NETWORKS = ("default", "host", "none")
SECURITY = ("insecure", "sandbox")
_STAGE_NAME = re.compile(r"[a-z][a-z0-9._-]*", re.IGNORECASE | re.ASCII)
_BLANKS = re.compile(r"[ \t\v\f\r]+")
_TIMES = {
    "interval": "interval",
    "timeout": "timeout",
    "start-period": "start_period",
    "start-interval": "start_interval",
}
_FILES = {"chown": Kind.TEXT, "chmod": Kind.TEXT, "link": Kind.BOOL, "exclude": Kind.MANY}

FLAGS: Mapping[str, Mapping[str, Kind]] = {
    "FROM": {"platform": Kind.TEXT},
    "RUN": {"mount": Kind.MANY, "network": Kind.TEXT, "security": Kind.TEXT, "device": Kind.MANY},
    "COPY": {**_FILES, "from": Kind.TEXT, "parents": Kind.BOOL},
    "ADD": {**_FILES, "checksum": Kind.TEXT, "keep-git-dir": Kind.BOOL, "unpack": Kind.BOOL},
    "HEALTHCHECK": {**dict.fromkeys(_TIMES, Kind.TEXT), "retries": Kind.TEXT},
}


class Request(msgspec.Struct, frozen=True):
    """One instruction on its way to its type.

    Attributes:
        line: The logical line.
        start: Offset of the first argument in it.
        flags: Those that were given.
        escape: The escape character of the file.
        heredocs: Bodies that the line asked for.
    """

    line: Line
    start: int
    flags: Flags
    escape: str
    heredocs: tuple[Heredoc, ...]

    @property
    def rest(self) -> str:
        """The arguments as one text."""
        return self.line.text[self.start :]

    @property
    def position(self) -> Position:
        """Where the arguments begin, or would."""
        return self.line.at(self.start)

    def text(self, expected: str) -> str:
        """Return the arguments as one text that is not empty."""
        if not self.rest:
            raise self.position.refuse(f"expected {expected}, found nothing")
        return self.rest

    def array(self) -> tuple[str, ...] | None:
        """Return the arguments of the JSON form, None for any other form."""
        try:
            return words.json_array(self.rest) if self.rest.startswith("[") else None
        except words.NotStrings:
            raise self.position.refuse(
                "expected a JSON array of strings: put every member in quotes"
            ) from None

    def list(self, expected: str) -> words.Words:
        """Return the arguments of either form as words, one at least."""
        array = self.array()
        found = (
            words.split(self.line.text, self.start)
            if array is None
            else [(self.start, word) for word in array]
        )
        if not found:
            raise self.position.refuse(f"expected {expected}, found nothing")
        return found

    def command(self, expected: str) -> Command:
        """Return the arguments as a command."""
        array = self.array()
        return Command((self.text(expected),), True) if array is None else Command(array, False)


def _from(request: Request) -> Instruction:
    found = words.split(request.line.text, request.start)
    if len(found) not in (1, 3) or (len(found) == 3 and found[1][1].lower() != "as"):
        raise request.position.refuse(
            f"expected FROM IMAGE or FROM IMAGE AS NAME, found {shown(request.rest)}"
        )
    alias = found[2][1] if len(found) == 3 else ""
    if alias and not _STAGE_NAME.fullmatch(alias):
        raise request.line.at(found[2][0]).refuse(
            f"expected a stage name of letters, digits and -_. that begins with a letter, found {shown(alias)}"
        )
    return From(line=request.line, image=found[0][1], platform=request.flags.text("platform"), alias=alias)


def _choice(request: Request, flag: str, choice: tuple[str, ...], default: str) -> str:
    """Return the value of a flag that is one of a few words."""
    value = request.flags.text(flag, default)
    if value not in choice:
        raise request.flags.position(flag).refuse(f"unknown --{flag}={value}{nearest(value, choice)}")
    return value


def _device(text: str, position: Position) -> Device:
    """Read ``NAME[,required]`` or ``name=NAME,required=true``."""
    name, required = "", False
    try:
        for number, field in enumerate(mounts.fields_of(text, position, "device")):
            key, equals, value = field.partition("=")
            if key == "required":
                required = values.boolean(value) if equals else True
            elif key == "name":
                name = value
            elif number == 0:
                name = field
            else:
                raise position.refuse(f"expected required in --device, found {shown(field)}")
    except ValueError as error:
        raise position.refuse(f"{error} in --device") from None
    if not name:
        raise position.refuse("expected --device=NAME[,required]")
    return Device(name, required)


def _run(request: Request) -> Instruction:
    command = request.command("a command")
    if not any(command.words):
        raise request.position.refuse("expected a command, found an empty one")
    return Run(
        line=request.line,
        command=command,
        mounts=tuple(mounts.read_flag(*given) for given in request.flags.many("mount")),
        network=_choice(request, "network", NETWORKS, "default"),
        security=_choice(request, "security", SECURITY, "sandbox"),
        devices=tuple(_device(*given) for given in request.flags.many("device")),
        heredocs=request.heredocs,
    )


def _files(request: Request) -> tuple[tuple[str, ...], str]:
    """Return sources that are no here-documents, and the destination."""
    bodies = markers(request.line.text, request.escape, False, request.start) if request.heredocs else []
    found = request.list("SOURCE... DESTINATION") if not bodies else _around(request, bodies)
    if len(found) + len(bodies) < 2:
        raise request.line.at(len(request.line.text)).refuse("expected a destination after the source")
    if bodies and (not found or bodies[-1].offset > found[-1][0]):
        raise request.line.at(bodies[-1].offset).refuse(
            "expected a path as destination, found a here-document"
        )
    return tuple(word for _, word in found[:-1]), found[-1][1]


def _around(request: Request, bodies: Sequence[Marker]) -> words.Words:
    """Return the words that are no here-documents, which may hold blanks in quotes."""
    text = request.line.text
    for marker in bodies:
        end = marker.offset + len(marker.text)
        text = f"{text[: marker.offset]}{' ' * len(marker.text)}{text[end:]}"
    return words.split(text, request.start)


def _copy(request: Request) -> Instruction:
    sources, destination = _files(request)
    flags = request.flags
    origin = flags.text("from")
    if "$" in origin:
        raise flags.position("from").refuse(
            "--from takes no variable: name the image with FROM ... AS NAME, and copy from that"
        )
    return Copy(
        line=request.line,
        sources=sources,
        destination=destination,
        heredocs=request.heredocs,
        from_=origin,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.boolean("link") or False,
        parents=flags.boolean("parents") or False,
        exclude=tuple(value for value, _ in flags.many("exclude")),
    )


def _add(request: Request) -> Instruction:
    sources, destination = _files(request)
    flags = request.flags
    return Add(
        line=request.line,
        sources=sources,
        destination=destination,
        heredocs=request.heredocs,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.boolean("link") or False,
        exclude=tuple(value for value, _ in flags.many("exclude")),
        checksum=flags.text("checksum"),
        keep_git_dir=flags.boolean("keep-git-dir") or False,
        unpack=flags.boolean("unpack"),
    )


def _pairs(request: Request, name: str) -> tuple[tuple[Pair, ...], bool]:
    """Return names and values, and whether they stand in the old form."""
    found = words.split_quoted(request.line.text, request.escape, request.start)
    if not found:
        raise request.position.refuse(f"expected {name} NAME=VALUE ..., found nothing")
    if "=" not in found[0][1]:
        parts = _BLANKS.split(request.rest, maxsplit=1)
        if len(parts) < 2:
            raise request.position.refuse(
                f"expected {name} NAME=VALUE, found {shown(request.rest)} without a value"
            )
        return (Pair(parts[0], parts[1]),), True
    pairs = []
    for offset, word in found:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise request.line.at(offset).refuse(
                f"expected NAME=VALUE, found {shown(word)}: put values with blanks in quotes"
            )
        pairs.append(Pair(key, value))
    return tuple(pairs), False


def _env(request: Request) -> Instruction:
    pairs, legacy = _pairs(request, "ENV")
    return Env(line=request.line, pairs=pairs, legacy=legacy)


def _label(request: Request) -> Instruction:
    pairs, legacy = _pairs(request, "LABEL")
    return Label(line=request.line, pairs=pairs, legacy=legacy)


def _arg(request: Request) -> Instruction:
    arguments = []
    for offset, word in words.split_quoted(request.line.text, request.escape, request.start):
        name, equals, default = word.partition("=")
        if not name:
            raise request.line.at(offset).refuse(f"expected NAME or NAME=DEFAULT, found {shown(word)}")
        arguments.append(Argument(name, default if equals else None))
    if not arguments:
        raise request.position.refuse("expected ARG NAME[=DEFAULT] ..., found nothing")
    return Arg(line=request.line, arguments=tuple(arguments))


def _optional(request: Request) -> Command:
    """Return a command; nothing at all is none, as ``[]`` is."""
    return request.command("a command") if request.rest else Command((), False)


def _cmd(request: Request) -> Instruction:
    return Cmd(line=request.line, command=_optional(request))


def _entrypoint(request: Request) -> Instruction:
    return Entrypoint(line=request.line, command=_optional(request))


def _expose(request: Request) -> Instruction:
    request.text("EXPOSE PORT[/PROTOCOL] ...")
    found = words.split(request.line.text, request.start)
    return Expose(line=request.line, ports=tuple(word for _, word in found))


def _volume(request: Request) -> Instruction:
    return Volume(line=request.line, paths=tuple(word for _, word in request.list("VOLUME PATH ...")))


def _user(request: Request) -> Instruction:
    return User(line=request.line, user=request.text("USER NAME[:GROUP]"))


def _workdir(request: Request) -> Instruction:
    return Workdir(line=request.line, path=request.text("WORKDIR PATH"))


def _stop_signal(request: Request) -> Instruction:
    return StopSignal(line=request.line, signal=request.text("STOPSIGNAL SIGNAL"))


def _maintainer(request: Request) -> Instruction:
    return Maintainer(line=request.line, author=request.text("MAINTAINER NAME"))


def _shell(request: Request) -> Instruction:
    array = request.array()
    if not array:
        raise request.position.refuse(
            f'expected a JSON array such as ["/bin/sh", "-c"], found {shown(request.rest)}'
        )
    return Shell(line=request.line, words=array)


def _health_check(request: Request) -> Instruction:
    found = words.split(request.line.text, request.start)
    kind = found[0][1].upper() if found else ""
    if kind == "NONE" and len(found) == 1:
        return HealthCheck(line=request.line, health=Healthcheck(test=("NONE",)))
    if kind != "CMD":
        raise request.position.refuse(
            f"expected HEALTHCHECK CMD COMMAND or HEALTHCHECK NONE, found {shown(request.rest)}"
        )
    start = found[1][0] if len(found) > 1 else len(request.line.text)
    command = msgspec.structs.replace(request, start=start).command("a command after CMD")
    if not command.words:
        raise request.line.at(start).refuse("expected a command after CMD, found an empty one")
    times = {member: _time(request, flag) for flag, member in _TIMES.items()}
    health = Healthcheck(
        test=("CMD-SHELL" if command.shell else "CMD", *command.words), retries=_retries(request), **times
    )
    return HealthCheck(line=request.line, health=health)


def _time(request: Request, flag: str) -> int:
    try:
        return values.duration(request.flags.text(flag))
    except ValueError as error:
        raise request.flags.position(flag).refuse(f"{error} for --{flag}") from None


def _retries(request: Request) -> int:
    try:
        return values.retries(request.flags.text("retries") or "0")
    except ValueError as error:
        raise request.flags.position("retries").refuse(f"{error} for --retries") from None


# ONBUILD is not here: it needs the parser itself.
READERS: Mapping[str, Callable[[Request], Instruction]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _health_check,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
