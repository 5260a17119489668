"""``corten --help`` and the help of the groups: what there is, for someone who is new here."""

from __future__ import annotations

from corten.cli.groups import GROUPS, OVERVIEW
from corten.cli.help import columns, flag_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.flags import Parser

EXAMPLES = """\
Examples:
  corten image bootstrap debian           make a small Debian image, no registry needed
  corten run -it --rm debian bash         try things in a container that is gone afterwards
  corten run -d --name web IMAGE          run a service in the background
  corten logs -f web                      see what it says
"""


def overview(parser: Parser) -> str:
    """The help of the program itself; *parser* knows the global flags."""
    parts = [
        "Usage:  corten [OPTIONS] COMMAND",
        "Pack an application with all it needs into an image, and run it in a container",
    ]
    for title, commands in OVERVIEW:
        rows = [(command, meaning(_module(command))) for command in commands]
        parts.append(f"{title}:\n" + _rows(rows))
    parts.append("Groups:\n" + _rows([(name, what) for name, (what, _) in GROUPS.items()]))
    parts.append("Global Options:\n" + flag_lines(parser.flags.values(), columns()))
    parts.append(EXAMPLES.rstrip())
    parts.append("Run 'corten COMMAND --help' for more information on a command.")
    return "\n\n".join(parts) + "\n"


def group_help(group: str, about: str, members: dict[str, str]) -> str:
    """The help of one group; the second name of a command is left out."""
    seen: dict[str, str] = {}
    for word, module in members.items():
        seen.setdefault(module, word)
    rows = [(word, meaning(module)) for module, word in sorted(seen.items(), key=lambda item: item[1])]
    return (
        f"Usage:  corten {group} COMMAND\n\n{about}\n\nCommands:\n{_rows(rows)}\n\n"
        f"Run 'corten {group} COMMAND --help' for more information on a command.\n"
    )


def meaning(module: str) -> str:
    """The line that says what a command does, from its module."""
    text: str = __import__(f"corten.cli.commands.{module}", fromlist=["HELP"]).HELP
    return text


def _module(command: str) -> str:
    group, _, word = command.partition(" ")
    return GROUPS[group][1][word] if word else group


def _rows(rows: list[tuple[str, str]]) -> str:
    return "\n".join(f"  {name:<18}{what}" for name, what in rows)
