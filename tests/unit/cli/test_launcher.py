"""bin/corten in the places where pip may put it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.server import SOURCE

LAUNCHER = SOURCE.parent / "bin" / "corten"
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


def install(prefix: Path, packages: str, *, editable: bool = False, venv: bool = False) -> Path:
    """Lay out an installation under *prefix* and return the launcher in it."""
    site = prefix / "lib" / VERSION / packages
    site.mkdir(parents=True)
    (site / "corten-1.2.3.dist-info").mkdir()
    if editable:
        (site / "_editable_impl_corten.pth").write_text(f"{SOURCE}\n")
    else:
        shutil.copytree(SOURCE / "corten" / "cli", site / "corten" / "cli")
    (prefix / "bin").mkdir()
    if venv:
        (prefix / "pyvenv.cfg").write_text("home = /usr/bin\n")
        (prefix / "bin" / "python3").symlink_to(Path(sys.executable).resolve())
    launcher = prefix / "bin" / "corten"
    shutil.copy(LAUNCHER, launcher)
    return launcher


def version(program: Path | str, **more: str) -> str:
    """What the launcher says about itself."""
    done = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=False, timeout=30, **more
    )  # type: ignore[call-overload]
    return str(done.stdout + done.stderr)


@pytest.mark.parametrize(
    ("packages", "editable", "venv"),
    [
        ("site-packages", False, True),
        ("site-packages", True, True),
        ("site-packages", False, False),
        ("dist-packages", False, False),
    ],
)
def test_finds_its_package(tmp_path: Path, packages: str, editable: bool, venv: bool) -> None:
    """In a virtual environment, with --user, under /usr/local, and from a source tree."""
    assert (
        version(install(tmp_path / "p", packages, editable=editable, venv=venv)) == "corten version 1.2.3\n"
    )


def test_follows_a_link_and_a_relative_name(tmp_path: Path) -> None:
    """A link to it elsewhere works, and so does a name relative to the current folder."""
    launcher = install(tmp_path / "p", "site-packages", venv=True)
    (tmp_path / "link").symlink_to(launcher)

    assert version(tmp_path / "link") == "corten version 1.2.3\n"
    assert version("./corten", cwd=str(launcher.parent)) == "corten version 1.2.3\n"


def test_passes_words_on_unchanged(tmp_path: Path) -> None:
    """Spaces, empty words and options of the interpreter arrive as they are."""
    launcher = install(tmp_path / "p", "site-packages", venv=True)
    done = subprocess.run([launcher, "a b -c *"], capture_output=True, text=True, check=False, timeout=30)

    assert "unknown command: corten a b -c *" in done.stderr


def test_says_that_the_package_is_missing(tmp_path: Path) -> None:
    """Without the package beside it there is one line."""
    shutil.copy(LAUNCHER, tmp_path / "corten")

    assert "the package is not installed beside" in version(tmp_path / "corten")
