"""The words of a command line, read the way Docker's client reads them.

Docker uses pflag: ``--flag value``, ``--flag=value``, ``-abc``, ``-e value``,
``-evalue``, booleans with an optional ``=false``, ``--`` to end the flags.
Commands that carry another command line (run, exec) stop at their first
plain word. The texts of the errors are the ones people search for, so they
are Docker's.

argparse is not used: importing it costs as much as starting the interpreter.
"""

from __future__ import annotations

TYPE_CHECKING = False  # not from typing: that import doubles start-up
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

TRUE = ("1", "t", "T", "TRUE", "true", "True")
FALSE = ("0", "f", "F", "FALSE", "false", "False")
INT64 = 1 << 63
MISUSED = 125  # exit status of Docker's client for a flag it cannot read


class UsageError(Exception):
    """The command line cannot be understood.

    Args:
        message: What is wrong, without the usage line.
        status: Exit status for the process.
    """

    def __init__(self, message: str, status: int = MISUSED) -> None:
        super().__init__(message)
        self.status = status


class HelpWanted(Exception):
    """``--help`` was among the words."""


class Kind:
    """How the text of a flag becomes a value.

    Args:
        label: Name of the type as help shows it; empty for booleans.
        parse: Text to value; raises ValueError with the reason.
        zero: Value of a flag that was not given; ``[]`` stands for a flag
            that may be repeated and gathers its values.
        spread: ``parse`` returns several values at once.
    """

    __slots__ = ("label", "parse", "spread", "zero")

    def __init__(self, label: str, parse: Callable[[str], Any], zero: Any, *, spread: bool = False) -> None:
        self.label, self.parse, self.zero, self.spread = label, parse, zero, spread


def _bool(text: str) -> bool:
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def _integer(text: str) -> int:
    try:
        digits = text.lstrip("+-")
        octal = len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567_"
        value = int(text, 8 if octal else 0)
    except ValueError:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
    if not -INT64 <= value < INT64:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": value out of range')
    return value


def _pair(text: str) -> str:
    key, equals, _ = text.partition("=")
    if not equals or not key:
        raise ValueError("invalid filter '" + text + "'" if key else "invalid argument: empty filter")
    return text


BOOL = Kind("", _bool, zero=False)
STRING = Kind("string", str, "")
INT = Kind("int", _integer, 0)
LIST = Kind("list", str, [])
STRINGS = Kind("strings", lambda text: text.split(","), [], spread=True)
FILTER = Kind("filter", _pair, [])


class Flag:
    """One flag of a command: names, kind, default and what it means."""

    __slots__ = ("default", "hidden", "kind", "meaning", "name", "short")

    def __init__(
        self, name: str, short: str, kind: Kind, default: Any, meaning: str, *, hidden: bool
    ) -> None:
        self.name, self.short, self.kind = name, short, kind
        self.default, self.meaning, self.hidden = default, meaning, hidden

    @property
    def title(self) -> str:
        """The flag as errors name it: ``-n, --last``."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


class Values:
    """What a command line said: one attribute per flag, ``words`` and ``given``.

    ``given`` holds the names of the flags that were there, dashes as
    underscores, so that a default can be told from the same value typed.
    """

    words: list[str]
    given: set[str]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class Parser:
    """The flags and words that one command takes.

    Args:
        path: The command as typed, ``corten container ls``.
        usage: What follows it in the usage line.
    """

    def __init__(self, path: str, usage: str) -> None:
        self.path, self.usage = path, usage
        self.flags: dict[str, Flag] = {}
        self.interspersed = True
        self.raw = False
        self.epilog = ""
        self._shorts: dict[str, Flag] = {}
        self._alias: dict[str, str] = {}
        self._least, self._most = 0, 0

    def flag(
        self,
        name: str,
        kind: Kind,
        meaning: str,
        *,
        short: str = "",
        default: Any = None,
        hidden: bool = False,
    ) -> None:
        """Declare ``--name``; *default* is the zero of *kind* unless said."""
        flag = Flag(name, short, kind, kind.zero if default is None else default, meaning, hidden=hidden)
        self.flags[name] = flag
        if short:
            self._shorts[short] = flag

    def alias(self, old: str, name: str) -> None:
        """Take ``--old``, which help does not show, for ``--name``."""
        self._alias[old] = name

    def words(self, least: int = 0, most: int | None = None, *, interspersed: bool = True) -> None:
        """Say how many plain words the command takes; *most* None: any number.

        With *interspersed* False everything after the first plain word is a
        word too, even if it looks like a flag.
        """
        self._least, self._most = least, -1 if most is None else most
        self.interspersed = interspersed

    def parse(self, words: Iterable[str]) -> Values:
        """Read the words that follow the command.

        Raises:
            UsageError: an unknown flag, a value that does not parse, or too
                few or too many words.
            HelpWanted: ``--help`` (or ``-h`` where that has no other meaning).
        """
        values = Values()
        fields = values.__dict__
        for flag in self.flags.values():
            default = flag.default
            fields[flag.name.replace("-", "_")] = list(default) if isinstance(default, list) else default
        values.given = set()
        values.words = []
        rest = list(words)
        if self.raw:
            values.words = rest
            return values
        rest.reverse()
        while rest:
            word = rest.pop()
            if word == "--":
                break
            if len(word) < 2 or word[0] != "-":
                values.words.append(word)
                if not self.interspersed:
                    break
            elif word[1] == "-":
                self._long(values, word, rest)
            else:
                self._short(values, word, rest)
        values.words += reversed(rest)
        self._count(len(values.words))
        return values

    def _long(self, values: Values, word: str, rest: list[str]) -> None:
        name, equals, text = word[2:].partition("=")
        if not name or name[0] in "-=":
            raise UsageError(f"bad flag syntax: {word}")
        flag = self.flags.get(self._alias.get(name, name))
        if name == "help":
            raise HelpWanted
        if flag is None:
            raise UsageError(f"unknown flag: --{name}")
        if not equals:
            if flag.kind is BOOL:
                text = "true"
            elif rest:
                text = rest.pop()
            else:
                raise UsageError(f"flag needs an argument: --{name}")
        self._store(values, flag, text)

    def _short(self, values: Values, word: str, rest: list[str]) -> None:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            flag = self._shorts.get(letter)
            if flag is None:
                if letter == "h":
                    raise HelpWanted
                raise UsageError(f"unknown shorthand flag: '{letter}' in {word}")
            if letters[:1] == "=" and (len(letters) > 1 or flag.kind is BOOL):
                text, letters = letters[1:], ""
            elif flag.kind is BOOL:
                text = "true"
            elif letters:
                text, letters = letters, ""
            elif rest:
                text = rest.pop()
            else:
                raise UsageError(f"flag needs an argument: '{letter}' in {word}")
            self._store(values, flag, text)

    def _store(self, values: Values, flag: Flag, text: str) -> None:
        try:
            value = flag.kind.parse(text)
        except ValueError as error:
            raise UsageError(f'invalid argument "{text}" for "{flag.title}" flag: {error}') from None
        name = flag.name.replace("-", "_")
        if flag.kind.spread:
            values.__dict__[name] += value
        elif isinstance(flag.kind.zero, list):
            values.__dict__[name].append(value)
        else:
            values.__dict__[name] = value
        values.given.add(name)

    def _count(self, count: int) -> None:
        least, most = self._least, self._most
        if count >= least and (most < 0 or count <= most):
            return
        plural = "argument" if (most if most > 0 else least) == 1 else "arguments"
        if most == 0:
            what = "accepts no arguments"
        elif most < 0:
            what = f"requires at least {least} {plural}"
        elif least == most:
            what = f"requires {least} {plural}"
        elif least == 0:
            what = f"requires at most {most} {plural}"
        else:
            what = f"requires at least {least} and at most {most} {plural}"
        raise UsageError(f"corten: '{self.path}' {what}", 1)
