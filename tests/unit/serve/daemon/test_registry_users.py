"""corten registry user."""

import io
from pathlib import Path

import pytest

from corten.serve.daemon.registry import main
from corten.serve.registry.access import htpasswd


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "User":
    """The command on a folder of its own."""
    return User(tmp_path, monkeypatch)


class User:
    """Runs the command with a password on stdin."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "htpasswd"
        self._arguments, self._patch = ["--data", str(folder)], monkeypatch

    def __call__(self, *argv: str, password: str = "") -> int:
        """Return the exit status."""
        self._patch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
        return main(["user", *argv, *self._arguments])


@pytest.mark.slow
def test_adds_lists_and_removes(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """The password comes from stdin and is kept as a hash; a listing marks who cannot log in."""
    assert user("add", "anna", password="secret") == 0
    assert htpasswd.matches("secret", htpasswd.read(str(user.file))["anna"])
    user.file.write_text(user.file.read_text() + "old:{SHA}x\n")
    assert user("ls") == 0
    assert capsys.readouterr().out == "anna\nold  (cannot log in: give a new password)\n"
    assert user("rm", "anna") == 0
    assert list(htpasswd.read(str(user.file))) == ["old"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["add"], "name the user"),
        (["ls", "anna"], "no user's name"),
        (["rm", "eve"], "no such user: eve"),
        (["add", "a:b"], "invalid user name"),
        (["add", "anna"], "1 to 72 bytes"),
    ],
)
def test_mistakes_are_one_line(
    user: User, capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    """A missing or wrong name and an empty password are told, and nothing is changed."""
    user.file.write_text("")
    assert user(*argv) == 1
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert user.file.read_text() == ""
