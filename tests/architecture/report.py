"""The architecture in numbers: ``python -m tests.architecture.report``.

It fails nothing. A number that grows is a question about the design, not a
line to split. In brackets: what well-made projects of this kind seldom pass.
"""

import sys
from collections import Counter
from collections.abc import Iterable

from tests.architecture import source

SHOWN = 5


def largest_modules() -> list[tuple[int, str]]:
    """Return (lines, file)."""
    return [(len(file.read_bytes().splitlines()), source.place(file)) for file in source.files()]


def widest_classes(interfaces: bool) -> list[tuple[int, str]]:
    """Return (methods, class) of the interfaces, or of the other classes."""
    return [
        (len(source.methods(node)), f"{source.place(file)} {node.name}")
        for file in source.files()
        for node in source.classes(source.tree(file))
        if source.is_interface(node) is interfaces
    ]


def fullest_folders() -> list[tuple[int, str]]:
    """Return (modules, folder); the empty ``__init__.py`` does not count."""
    count = Counter(source.place(file.parent) for file in source.files() if file.name != "__init__.py")
    return [(number, folder) for folder, number in count.items()]


def longest_functions() -> list[tuple[int, str]]:
    """Return (lines, function)."""
    return [
        ((node.end_lineno or node.lineno) - node.lineno + 1, f"{source.place(file)} {node.name}")
        for file in source.files()
        for node in source.functions(source.tree(file))
    ]


def table(title: str, rows: Iterable[tuple[int, str]]) -> str:
    """Return the largest *rows* below *title*."""
    largest = sorted(rows, key=lambda row: (-row[0], row[1]))[:SHOWN]
    return "\n".join([title, *(f"{number:6}  {name}" for number, name in largest)])


def main() -> None:
    """Print the report."""
    tables = [
        table("largest modules, in lines (500)", largest_modules()),
        table("widest classes, in methods (20)", widest_classes(interfaces=False)),
        table("widest interfaces, in methods (8)", widest_classes(interfaces=True)),
        table("fullest folders, in modules (15; one file per verb aside)", fullest_folders()),
        table("longest functions, in lines (40)", longest_functions()),
    ]
    sys.stdout.write("\n".join(tables) + "\n")


if __name__ == "__main__":
    main()
