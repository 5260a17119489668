"""What run, create and exec read at the client: its environment and its files."""

from __future__ import annotations

import posix

from corten.cli.failure import Failure


def environment(files: list[str], given: list[str]) -> list[str]:
    """Variables of env files, then of -e; a name alone is copied from the client.

    A name that the client does not have either is passed on alone, which
    takes the variable out of the image's environment; in a file it is left out.

    Raises:
        Failure: a file cannot be read, or a name is empty or has blanks.
    """
    variables = [found for name in files for line in lines(name) if (found := _copied(line))]
    for text in given:
        name, equals, _ = text.partition("=")
        if not name:
            raise Failure(f"invalid environment variable: {text}")
        variables.append(text if equals else _copied(text) or text)
    return variables


def labels(files: list[str], given: list[str]) -> dict[str, str]:
    """Labels of files, then of -l, as a dictionary."""
    texts = [line for name in files for line in lines(name) if "=" in line] + given
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


def lines(name: str) -> list[str]:
    """The lines of a file of ``NAME=value`` without comments and empty ones.

    Raises:
        Failure: the file cannot be read, or a line has no proper name.
    """
    found = []
    for raw in read(name).removeprefix("\ufeff").splitlines():
        line = raw.lstrip()
        if not line or line.startswith("#"):
            continue
        variable = line.partition("=")[0].lstrip()
        if not variable:
            raise Failure(f"no variable name on line '{line}'")
        if any(char.isspace() for char in variable):
            raise Failure(f"variable '{variable}' contains whitespaces")
        found.append(line)
    return found


def read(name: str) -> str:
    """The text of a file.

    Raises:
        Failure: it cannot be opened, or is no UTF-8.
    """
    try:
        with open(name, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise Failure(f"open {name}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise Failure(f"{name} contains invalid utf8 bytes: write it in UTF-8") from None


def _copied(text: str) -> str:
    """*text*, or with the client's value if it is a name alone; empty if there is none."""
    if "=" in text:
        return text
    environ: dict[bytes, bytes] = posix.environ
    value = environ.get(text.encode("utf-8", "surrogateescape"))
    return "" if value is None else f"{text}={value.decode('utf-8', 'surrogateescape')}"
