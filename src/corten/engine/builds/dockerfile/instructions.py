"""Instructions: one frozen value for each line of a Dockerfile.

Words that hold variables are kept as written; ``substitute.expand`` returns an
instruction with values in their place. Source: Dockerfile reference.
"""

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from corten.engine.builds.dockerfile.heredoc import Heredoc
from corten.engine.builds.dockerfile.lines import Line, Position
from corten.engine.builds.dockerfile.mounts import MountFlag
from corten.oci.image import Healthcheck

DEFAULT_SHELL = ("/bin/sh", "-c")


class Command(msgspec.Struct, frozen=True):
    """What is to be run: one text for the shell, or a program with its arguments."""

    words: tuple[str, ...]
    shell: bool

    def arguments(self, shell: Sequence[str] = DEFAULT_SHELL) -> tuple[str, ...]:
        """Return what is executed where *shell* is the SHELL of the stage."""
        return (*shell, *self.words) if self.shell else self.words


class Pair(msgspec.Struct, frozen=True):
    """A name and a value, of ENV or LABEL."""

    name: str
    value: str


class Argument(msgspec.Struct, frozen=True):
    """A build argument; *default* is None when there is none."""

    name: str
    default: str | None = None


class Device(msgspec.Struct, frozen=True):
    """A CDI device that RUN asks for."""

    name: str
    required: bool = False


class Instruction(msgspec.Struct, frozen=True, kw_only=True):
    """What all of them have; *line* is the source, for messages and for the history of an image."""

    NAME: ClassVar[str] = ""
    line: Line

    @property
    def position(self) -> Position:
        """Where it begins."""
        return self.line.at()

    @property
    def text(self) -> str:
        """The source on one line, without bodies of here-documents."""
        return self.line.text


class From(Instruction, frozen=True, kw_only=True):
    """Begins a stage; *alias* is its name as written, empty for none."""

    NAME: ClassVar[str] = "FROM"
    image: str
    platform: str = ""
    alias: str = ""


class Run(Instruction, frozen=True, kw_only=True):
    """Runs a command and keeps what it changed.

    Attributes:
        command: As written, without bodies of here-documents.
        mounts: The ``--mount`` flags; ``mounts.typed`` makes mounts of them.
        network: ``default``, ``none`` or ``host``.
        security: ``sandbox`` or ``insecure``.
        devices: The ``--device`` flags.
        heredocs: In the order in which *command* names them.
    """

    NAME: ClassVar[str] = "RUN"
    command: Command
    mounts: tuple[MountFlag, ...] = ()
    network: str = "default"
    security: str = "sandbox"
    devices: tuple[Device, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()

    @property
    def script(self) -> Heredoc | None:
        """The body to store in a file and execute: a sole here-document with a ``#!`` line."""
        return self.heredocs[0] if self._is_heredoc and self.heredocs[0].is_script else None

    def arguments(self, shell: Sequence[str] = DEFAULT_SHELL) -> tuple[str, ...]:
        """Return what is executed where *shell* is the SHELL of the stage and ``script`` is None."""
        if self._is_heredoc:
            return (*shell, self.heredocs[0].body)
        if not self.heredocs:
            return self.command.arguments(shell)
        bodies = (f"\n{heredoc.body}{heredoc.name}" for heredoc in self.heredocs)
        return (*shell, "".join((*self.command.words, *bodies)))

    @property
    def _is_heredoc(self) -> bool:
        """Whether the command is nothing but one here-document."""
        return bool(self.heredocs) and self.command.words == (self.heredocs[0].marker,)


class Copy(Instruction, frozen=True, kw_only=True):
    """Copies files into the image; see ``Add`` for what both have.

    Attributes:
        from_: A stage, context or image instead of the context; never a variable.
        parents: Keep the folders that sources stand in.
    """

    NAME: ClassVar[str] = "COPY"
    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    from_: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()


class Add(Instruction, frozen=True, kw_only=True):
    """Copies files, unpacks archives and fetches what is at a URL.

    Attributes:
        sources: Paths, patterns or URLs, without here-documents.
        heredocs: Files that are given in place.
        chown: ``user[:group]`` or empty.
        chmod: See ``values.mode``; or empty.
        link: Make a layer that does not depend on those below.
        exclude: Patterns of what to leave out.
        checksum: Digest of what a URL yields, or commit; or empty.
        keep_git_dir: Keep ``.git`` of a repository.
        unpack: None unpacks what is local and keeps what is remote.
    """

    NAME: ClassVar[str] = "ADD"
    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str = ""
    keep_git_dir: bool = False
    unpack: bool | None = None


class Env(Instruction, frozen=True, kw_only=True):
    """Sets variables of the image; *legacy* is the form without an equals sign."""

    NAME: ClassVar[str] = "ENV"
    pairs: tuple[Pair, ...]
    legacy: bool = False


class Label(Instruction, frozen=True, kw_only=True):
    """Sets labels of the image; *legacy* is the form without an equals sign."""

    NAME: ClassVar[str] = "LABEL"
    pairs: tuple[Pair, ...]
    legacy: bool = False


class Arg(Instruction, frozen=True, kw_only=True):
    """Declares build arguments."""

    NAME: ClassVar[str] = "ARG"
    arguments: tuple[Argument, ...]


class Cmd(Instruction, frozen=True, kw_only=True):
    """What a container runs, or the arguments of its entry point."""

    NAME: ClassVar[str] = "CMD"
    command: Command


class Entrypoint(Instruction, frozen=True, kw_only=True):
    """What a container runs always."""

    NAME: ClassVar[str] = "ENTRYPOINT"
    command: Command


class Expose(Instruction, frozen=True, kw_only=True):
    """Ports as written; expanded they are ``80/tcp`` and so on, ranges spread out."""

    NAME: ClassVar[str] = "EXPOSE"
    ports: tuple[str, ...]


class Volume(Instruction, frozen=True, kw_only=True):
    """Places that get a volume in every container."""

    NAME: ClassVar[str] = "VOLUME"
    paths: tuple[str, ...]


class User(Instruction, frozen=True, kw_only=True):
    """Who runs what follows, and containers: ``user[:group]``; an empty text is root, as with Docker."""

    NAME: ClassVar[str] = "USER"
    user: str


class Workdir(Instruction, frozen=True, kw_only=True):
    """Where what follows runs, and containers; a relative path continues the one before."""

    NAME: ClassVar[str] = "WORKDIR"
    path: str


class StopSignal(Instruction, frozen=True, kw_only=True):
    """The signal that asks a container to end, by name or number."""

    NAME: ClassVar[str] = "STOPSIGNAL"
    signal: str


class Shell(Instruction, frozen=True, kw_only=True):
    """What runs commands in shell form from here on."""

    NAME: ClassVar[str] = "SHELL"
    words: tuple[str, ...]


class HealthCheck(Instruction, frozen=True, kw_only=True):
    """How to find out whether a container is well; the test is ``("NONE",)`` to switch it off."""

    NAME: ClassVar[str] = "HEALTHCHECK"
    health: Healthcheck


class Maintainer(Instruction, frozen=True, kw_only=True):
    """The author of the image."""

    NAME: ClassVar[str] = "MAINTAINER"
    author: str


class OnBuild(Instruction, frozen=True, kw_only=True):
    """An instruction for images that are built on this one.

    Attributes:
        trigger: What the image stores: the instruction, bodies of
            here-documents included; ``parse.parse_trigger`` reads it.
        instruction: The same, parsed.
    """

    NAME: ClassVar[str] = "ONBUILD"
    trigger: str
    instruction: Instruction
