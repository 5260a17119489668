"""The source as data: files, and what is defined in them."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "corten"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def files(folder: Path = PACKAGE) -> list[Path]:
    """Return every Python file below *folder*, in order."""
    return sorted(folder.rglob("*.py"))


def tree(file: Path) -> ast.Module:
    """Return the syntax tree of *file*."""
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def functions(node: ast.AST) -> Iterator[Function]:
    """Yield every function and method in *node*, inner ones too."""
    return (found for found in ast.walk(node) if isinstance(found, Function))


def classes(node: ast.AST) -> Iterator[ast.ClassDef]:
    """Yield every class in *node*."""
    return (found for found in ast.walk(node) if isinstance(found, ast.ClassDef))


def methods(node: ast.ClassDef) -> list[Function]:
    """Return the methods that stand in a class itself."""
    return [found for found in node.body if isinstance(found, Function)]


def is_interface(node: ast.ClassDef) -> bool:
    """Return whether a class is a Protocol."""
    return any(ast.unparse(base).split("[")[0].endswith("Protocol") for base in node.bases)


def place(file: Path) -> str:
    """Return a file's path in the repository."""
    return str(file.relative_to(ROOT))
