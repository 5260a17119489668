"""Parser directives: the comments at the very top that change how the rest is read.

Source: Dockerfile reference, "Parser directives"; the other places of
``syntax`` are those of front ends that are not Dockerfiles.
"""

import re

import msgspec

from corten.engine.builds.dockerfile.lines import BLANKS, Position, rows_of, shown

ALL = frozenset({"all"})  # stands for every rule of the checks
_DIRECTIVE = re.compile(r"[#]\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*\Z")
_SLASHED = re.compile(r"//\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*\Z")
_KNOWN = ("syntax", "escape", "check")
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


class Check(msgspec.Struct, frozen=True):
    """What the ``check`` directive says of lint rules.

    Attributes:
        skip: Rules that are not applied; ``ALL`` for none at all.
        error: A warning fails the build.
        experimental: Rules on trial that are applied too; ``ALL`` for every one.
    """

    skip: frozenset[str] = frozenset()
    error: bool = False
    experimental: frozenset[str] = frozenset()


class Directives(msgspec.Struct, frozen=True):
    """What stands at the top of a file; *syntax* is the name of a front end or empty."""

    syntax: str = ""
    escape: str = "\\"
    check: Check = Check()


def read(text: str, file: str) -> Directives:
    """Read the directives of a Dockerfile.

    The first line that is something else ends the search: later ones are
    comments.

    Raises:
        InvalidInput: one is given twice or has a value that it cannot have.
    """
    found: dict[str, tuple[str, Position]] = {}
    for number, row in enumerate(rows_of(text), 1):
        match = _DIRECTIVE.match(row.strip(BLANKS))
        if match is None or match[1].lower() not in _KNOWN:
            break
        name = match[1].lower()
        column = row.index("=", row.index("#")) + 1
        if name in found:
            raise Position(file, number).refuse(
                f"expected one {name} directive, found a second one: remove it"
            )
        found[name] = (match[2], Position(file, number, row.index(match[2], column) + 1))
    return Directives(
        syntax=found["syntax"][0] if "syntax" in found else "",
        escape=_escape(*found["escape"]) if "escape" in found else "\\",
        check=parse_check(*found["check"]) if "check" in found else Check(),
    )


def _escape(value: str, position: Position) -> str:
    if value not in ("\\", "`"):
        raise position.refuse(f"expected \\ or ` as escape character, found {shown(value)}")
    return value


def parse_check(value: str, position: Position) -> Check:
    """Read ``skip=A,B;error=true;experimental=C``, as the directive and the build argument have it.

    Raises:
        InvalidInput: another key, or a boolean that is none.
    """
    check = Check()
    for part in filter(None, (part.strip() for part in value.split(";"))):
        key, _, rest = part.partition("=")
        names = frozenset(name.strip() for name in rest.split(",") if name.strip())
        names = ALL if any(name.lower() == "all" for name in names) else names
        match key.strip().lower():
            case "skip":
                check = msgspec.structs.replace(check, skip=names)
            case "experimental":
                check = msgspec.structs.replace(check, experimental=names)
            case "error" if rest.strip().lower() in _BOOLEANS:
                check = msgspec.structs.replace(check, error=_BOOLEANS[rest.strip().lower()])
            case "error":
                raise position.refuse(f"expected error=true or error=false in check, found {shown(part)}")
            case _:
                raise position.refuse(
                    f"expected skip=RULE,..., error=true or experimental=RULE,... in check, found {shown(part)}"
                )
    return check


def syntax_of(text: str) -> str:
    """Return the front end that a build file asks for, or an empty text.

    Looked for in directives (a line ``#!`` may stand above), in ``//``
    comments, and in the member ``syntax`` of a JSON document.
    """
    rows = rows_of(text)
    if rows and rows[0].startswith("#!"):
        rows = rows[1:]
    for pattern in (_DIRECTIVE, _SLASHED):
        for row in rows:
            match = pattern.match(row.strip(BLANKS))
            if match is None:
                break
            if match[1].lower() == "syntax":
                return match[2]
    return _syntax_of_json(text)


def is_directive(comment: str) -> bool:
    """Return whether the text of a comment has the form of a known directive."""
    match = _DIRECTIVE.match(f"#{comment}")
    return match is not None and match[1].lower() in _KNOWN


class _Document(msgspec.Struct):
    syntax: str = ""


def _syntax_of_json(text: str) -> str:
    if not text.lstrip(f"{BLANKS}\n\ufeff").startswith("{"):
        return ""
    try:
        return msgspec.json.decode(text.removeprefix("\ufeff"), type=_Document).syntax
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return ""
