"""What bootstrap asks of mmdebstrap, without running it."""

from pathlib import Path

import pytest

from corten.engine.images import bootstrap
from corten.engine.images.apt_sources import Source
from corten.errors import InvalidInput

SOURCE = Source(
    uris=("http://m.example/debian",),
    suites=("bookworm",),
    components=("main",),
    options={"Signed-By": "/etc/apt/keyrings/own key.gpg"},
)


@pytest.mark.parametrize(
    "order",
    [
        bootstrap.Order(suite="--help"),
        bootstrap.Order(suite=""),
        bootstrap.Order(suite="a/b"),
        bootstrap.Order(suite="bookworm", includes=("-y",)),
        bootstrap.Order(suite="bookworm", includes=("/etc/shadow",)),
        bootstrap.Order(suite="bookworm", includes=("?essential",)),
        bootstrap.Order(suite="bookworm", includes=("a b",)),
        bootstrap.Order(suite="bookworm", variant="$(id)"),
    ],
)
def test_options_paths_and_patterns_are_refused(order: bootstrap.Order) -> None:
    """What apt or mmdebstrap would read as something else never reaches them."""
    with pytest.raises(InvalidInput):
        bootstrap.check(order)


def test_customary_packages_pass() -> None:
    """Names with plus signs, architectures, versions and releases are packages."""
    names = ("g++", "libc6:amd64", "bash=5.2.15-2+b13", "python3.11", "curl/bookworm")
    bootstrap.check(bootstrap.Order(suite="bookworm", includes=names))


def test_paths_are_quoted_in_hooks() -> None:
    """A folder or a keyring with a blank in its name stays one word of the shell."""
    command = bootstrap.command(bootstrap.Order(suite="bookworm", includes=("curl",)), "/a b", [SOURCE])
    hooks = [part for part in command if "-hook=" in part]
    assert any("'/a b'/apt.conf" in hook for hook in hooks)
    assert any("'/etc/apt/keyrings/own key.gpg'" in hook for hook in hooks)
    assert command[-3:] == ["bookworm", "/a b/root.tar", "/a b/debian.sources"]
    assert "--include=curl" in command


@pytest.mark.parametrize(
    ("text", "name"),
    [('ID=debian\nVERSION_CODENAME="bookworm"\n', "bookworm"), ("ID=arch\n", ""), ("", "")],
)
def test_the_release_of_the_machine(tmp_path: Path, text: str, name: str) -> None:
    """The codename comes from os-release, quoted or not."""
    (tmp_path / "os-release").write_text(text)
    assert bootstrap.codename(bootstrap.Machine(os_release=tmp_path / "os-release")) == name


def test_a_machine_without_a_release(tmp_path: Path) -> None:
    """A missing file is a machine that is not Debian."""
    assert bootstrap.codename(bootstrap.Machine(os_release=tmp_path / "none")) == ""
