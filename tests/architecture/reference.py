"""docs/reference.md from the code: ``python -m tests.architecture.reference`` writes it anew.

Every command with its flags, every endpoint, every variable of the
environment that is read.
"""

import importlib
import re
from collections.abc import Iterator

from corten.cli.flags import Flag, Parser
from corten.cli.groups import paths
from corten.serve.api.app import ROUTER
from corten.serve.api.routing import Route
from tests.architecture.source import PACKAGE, ROOT, files

FILE = ROOT / "docs" / "reference.md"
INTRODUCTION = """\
# Reference

Made from the code by `make reference`; do not edit. What a command prints
with `--help` is the same, and the API is Docker's: its own documentation holds.
"""
_VARIABLE = re.compile(r"\bCORTEN_[A-Z_]+\b")


def commands() -> list[str]:
    """Return the modules of the commands, in the order of their names."""
    folder = PACKAGE / "cli" / "commands"
    return sorted(file.stem for file in folder.glob("*.py") if not file.stem.startswith("_"))


def routes() -> list[Route]:
    """Return every operation of the HTTP door, in the order of its paths."""
    found = [*ROUTER._fixed.values(), *ROUTER._named.values()]
    return sorted(found, key=lambda route: (route.path, route.method))


def variables() -> list[str]:
    """Return the environment variables that the command line and the daemon name."""
    readers = files(PACKAGE / "cli") + files(PACKAGE / "serve" / "daemon")
    return sorted({name for file in readers for name in _VARIABLE.findall(file.read_text(encoding="utf-8"))})


def _command(module: str) -> Iterator[str]:
    """Yield the lines of one command."""
    code = importlib.import_module(f"corten.cli.commands.{module}")
    names = paths(module)
    parser = Parser(names[0], code.USAGE)
    code.arguments(parser)
    yield f"### {names[0]}\n"
    yield f"{code.HELP.rstrip('.')}.\n"
    yield f"    {names[0]} {code.USAGE}\n"
    if names[1:]:
        yield f"Also: {', '.join(f'`{name}`' for name in names[1:])}.\n"
    rows = [_flag(flag) for flag in parser.flags.values() if not flag.hidden]
    if rows:
        yield "| flag | value | meaning |\n| --- | --- | --- |"
        yield "\n".join(rows) + "\n"


def _flag(flag: Flag) -> str:
    """Return the row of one flag."""
    name = f"`-{flag.short}`, `--{flag.name}`" if flag.short else f"`--{flag.name}`"
    return f"| {name} | {flag.kind.label} | {flag.meaning.replace('|', chr(92) + '|')} |"


def text() -> str:
    """Return the whole document."""
    parts = [INTRODUCTION, "## Commands\n"]
    parts += [line for module in commands() for line in _command(module)]
    parts += ["## API\n", "| method | path |\n| --- | --- |"]
    parts += ["\n".join(f"| `{route.method}` | `{route.path}` |" for route in routes()) + "\n"]
    parts += ["## Environment\n", "\n".join(f"- `{name}`" for name in variables())]
    return "\n".join(parts) + "\n"


def main() -> None:
    """Write the document."""
    FILE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
