"""The ``corten`` command: find the verb, run it, turn failures into messages.

Start-up decides how fast corten feels, so this file and all that it loads on
the way to a verb use built-in modules of the interpreter (posix instead of
os, no signal, no json) and load the one module of the verb by its name.
Nothing is closed at the end: the kernel does that faster.
"""

from __future__ import annotations

import posix
import sys

from corten.cli.client import Client
from corten.cli.failure import Failure
from corten.cli.flags import BOOL, STRING, HelpWanted, Parser, UsageError
from corten.cli.place import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, NoReturn

INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
BROKEN_PIPE = 141  # 128 + SIGPIPE
RAW_FAILURE = 125  # commands that pass on an exit status keep this one for their own failures


def main() -> NoReturn:
    """Run the command line in sys.argv and end the process with its exit status."""
    _replace_missing_streams()
    try:
        status = command_line(sys.argv[1:])
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        status = BROKEN_PIPE
    posix._exit(status)  # noqa: SLF001 - public as os._exit, but os takes 1 ms to load


def _replace_missing_streams() -> None:
    """Put /dev/null where the caller closed stdin, stdout or stderr, before a socket takes the number."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            posix.open("/dev/null", posix.O_RDWR)  # open(2) takes the lowest free number: this one
            setattr(sys, name, open(descriptor, "r" if descriptor == 0 else "w", encoding="utf-8"))  # noqa: SIM115


def command_line(words: list[str]) -> int:
    """Run *words* and return the exit status; failures are printed on stderr."""
    try:
        place, rest = _global_flags(words)
    except HelpWanted:
        return _overview()
    except UsageError as error:
        return _misused(_global_parser(), error)
    except Failure as error:
        return _say(str(error), error.status or RAW_FAILURE)
    if place is None:
        return 0
    return _verb(place, rest)


def _global_parser() -> Parser:
    parser = Parser("corten", "[OPTIONS] COMMAND [ARG...]")
    parser.words(interspersed=False)
    parser.flag("config", STRING, "Folder of the client's configuration (accepted for Docker's sake)")
    parser.flag("context", STRING, 'Name of the context; "default" is the only one', short="c")
    parser.flag("debug", BOOL, "Print tracebacks of internal errors", short="D")
    parser.flag(
        "host", STRING, "Socket of the daemon (default unix://RUN/corten.sock; $CORTEN_HOST)", short="H"
    )
    parser.flag("log-level", STRING, "Accepted for Docker's sake", short="l", default="info")
    parser.flag("root", STRING, "Folder of the engine's state (default /var/lib/corten; $CORTEN_ROOT)")
    parser.flag("run", STRING, "Folder of the engine's sockets (default /run/corten; $CORTEN_RUN)")
    parser.flag("version", BOOL, "Print version information and quit", short="v")
    return parser


def _global_flags(words: list[str]) -> tuple[Place | None, list[str]]:
    """Read the flags before the verb; no place means that everything is done."""
    if not words or words[0][:1] != "-":
        return Place(), words
    parser = _global_parser()
    args = parser.parse(words)
    if args.version:
        from corten.cli.about import version

        sys.stdout.write(f"corten version {version()}\n")
        return None, []
    if args.context not in ("", "default"):
        raise Failure(
            f"there is no context {args.context!r}: leave --context out, or name an engine with --host"
        )
    return Place(args.root, args.run, args.host, debug=args.debug), args.words


def _verb(place: Place, words: list[str]) -> int:
    if not words or words == ["help"]:
        return _overview()
    if words[0] == "help":
        words = [*words[1:], "--help"]
    found = _find(words)
    if isinstance(found, int):
        return found
    name, module, rest = found
    parser = Parser(name, module.USAGE)
    try:
        module.arguments(parser)
        args = parser.parse(rest)
    except HelpWanted:
        from corten.cli.groups import paths
        from corten.cli.help import command_help

        short = module.__name__.rpartition(".")[2]
        sys.stdout.write(command_help(parser, module.HELP, paths(short)))
        return 0
    except UsageError as error:
        return _misused(parser, error)
    return _guarded(place, module, parser, args)


def _find(words: list[str]) -> tuple[str, ModuleType, list[str]] | int:
    """The command's path, its module and what follows; or an exit status."""
    verb = words[0]
    if verb in ("container", "image", "manifest", "network", "registry", "system", "volume"):
        return _find_in_group(verb, words[1:])
    module = _load(verb) if verb.isascii() and verb.isalpha() and verb.islower() else None
    if module is None:
        return _say(f"corten: unknown command: corten {verb}\n\nRun 'corten --help' for more information", 1)
    return f"corten {verb}", module, words[1:]


def _find_in_group(group: str, words: list[str]) -> tuple[str, ModuleType, list[str]] | int:
    from corten.cli.groups import GROUPS

    meaning, members = GROUPS[group]
    if not words or words[0] in ("--help", "-h", "help"):
        from corten.cli.overview import group_help

        sys.stdout.write(group_help(group, meaning, members))
        return 0
    name = members.get(words[0])
    module = _load(name) if name else None
    if module is None:
        return _say(
            f"corten: unknown command: corten {group} {words[0]}\n\nUsage:  corten {group}\n\n"
            f"Run 'corten {group} --help' for more information",
            1,
        )
    return f"corten {group} {words[0]}", module, words[1:]


def _load(name: str) -> ModuleType | None:
    """The module of a command; None if there is none of that name."""
    whole = f"corten.cli.commands.{name}"
    try:
        module: ModuleType = __import__(whole, fromlist=["run"])
    except ModuleNotFoundError as error:
        if error.name == whole:
            return None
        raise
    return module


def _guarded(place: Place, module: Any, parser: Parser, args: Any) -> int:
    """Run a command; every failure becomes one message and an exit status."""
    client = _client(place)
    try:
        status: int = module.run(client, args)
    except Failure as error:
        return _failed(module, parser, str(error), error.status)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        name = f"{_text(error.filename)}: " if error.filename else ""
        return _failed(module, parser, f"{name}{(error.strerror or str(error)).lower()}", None)
    except Exception as error:  # noqa: BLE001 - a traceback helps nobody who did not ask for it
        if place.debug:
            sys.excepthook(type(error), error, error.__traceback__)
        text = f"{type(error).__name__}: {error}"
        return _failed(module, parser, f"internal error: {text} ('corten --debug ...' shows where)", None)
    finally:
        client.close()
    return status


def _client(place: Place) -> Client:
    def launch() -> None:
        from corten.cli.launch import start

        start(place)

    return Client(place, launch if place.own else None)


def _failed(module: Any, parser: Parser, message: str, status: int | None) -> int:
    own: int = getattr(module, "FAILURE", 1)
    if own == RAW_FAILURE and message and (status is None or status >= RAW_FAILURE):
        message = f"corten: {message}\n\nRun '{parser.path} --help' for more information"
    return _say(message, own if status is None else status)


def _misused(parser: Parser, error: UsageError) -> int:
    more = f"Run '{parser.path} --help' for more information"
    return _say(f"{error}\n\nUsage:  {parser.path} {parser.usage}".rstrip() + f"\n\n{more}", error.status)


def _overview() -> int:
    from corten.cli.overview import overview

    sys.stdout.write(overview(_global_parser()))
    return 0


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _say(message: str, status: int) -> int:
    sys.stdout.flush()
    if message:
        sys.stderr.write(message + "\n")
    return status
