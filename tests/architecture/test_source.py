"""Facts about the source that no other tool holds."""

import ast
from pathlib import Path

import pytest

from tests.architecture import source

TESTS = [file for file in source.files(source.ROOT / "tests") if file.name.startswith("test_")]
ALL = source.files() + source.files(source.ROOT / "tests")
ENVIRONMENT_READERS = (
    "src/corten/cli/",
    "src/corten/serve/daemon/",
    "src/corten/core/runtime/supervisor/main.py",  # tells itself across its own exec that it is sealed
)


@pytest.mark.parametrize("file", TESTS, ids=source.place)
def test_every_test_says_what_it_holds(file: Path) -> None:
    """A test without a docstring does not say which behaviour it defends."""
    silent = [
        node.name
        for node in source.functions(source.tree(file))
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert not silent


def test_package_files_are_empty() -> None:
    """What a package holds is seen from its folder, not from its ``__init__.py``."""
    assert not [source.place(file) for file in ALL if file.name == "__init__.py" and file.stat().st_size]


def test_only_the_edges_read_the_environment() -> None:
    """The command line and the daemon read the environment; everything else gets values."""
    readers = [
        source.place(file)
        for file in source.files()
        if any(
            isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv")
            for node in ast.walk(source.tree(file))
        )
    ]
    assert not [reader for reader in readers if not reader.startswith(ENVIRONMENT_READERS)]


def test_every_folder_of_tests_is_a_package() -> None:
    """Two test files of one name can live side by side only in packages."""
    folders = {file.parent for file in TESTS}
    assert not [source.place(folder) for folder in folders if not (folder / "__init__.py").exists()]
