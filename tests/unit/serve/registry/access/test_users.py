"""Users: passwords checked, remembered, and forgotten when the file changes."""

import asyncio
import os
from pathlib import Path

import bcrypt
import pytest

from corten.errors import LimitExceeded, Unavailable
from corten.serve.registry.access import htpasswd
from corten.serve.registry.access import users as module
from corten.serve.registry.access.users import REMEMBERED, Users
from tests.looping import in_loop


def quick(password: str) -> str:
    """Return the cheapest bcrypt hash."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one user."""
    made = tmp_path / "users"
    made.write_text(f"anna:{quick('secret')}\n")
    return made


class Counting:
    """Counts how often a password is really computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._matches = htpasswd.matches
        monkeypatch.setattr(htpasswd, "matches", self)

    def __call__(self, password: str, stored: str) -> bool:
        """Compute it."""
        self.count += 1
        return self._matches(password, stored)


@in_loop
async def test_only_the_right_password(path: Path) -> None:
    """A wrong password, an unknown user and endless passwords do not get in."""
    users = Users(str(path))
    assert await users.check("anna", "secret")
    assert not await users.check("anna", "Secret")
    assert not await users.check("ben", "secret")
    assert not await users.check("anna", "x" * 10_000)


@in_loop
async def test_an_unknown_user_costs_a_check(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not exist cannot be told by the time the answer takes."""
    counting, users = Counting(monkeypatch), Users(str(path))
    for name in ("nobody", ""):
        assert not await users.check(name, "secret")
    assert counting.count == 2


@in_loop
async def test_a_right_password_is_remembered_for_a_while(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is computed once within the time; a wrong one each time."""
    now = [0.0]
    counting, users = Counting(monkeypatch), Users(str(path), lambda: now[0])
    for _ in range(3):
        assert await users.check("anna", "secret")
    assert counting.count == 1
    now[0] = REMEMBERED + 1
    assert await users.check("anna", "secret")
    assert counting.count == 2
    for _ in range(2):
        assert not await users.check("anna", "wrong")
    assert counting.count == 4


@in_loop
async def test_a_changed_file_counts_at_once(path: Path) -> None:
    """A new password holds, the old one does not, and the fingerprint changes."""
    users = Users(str(path))
    assert await users.check("anna", "secret")
    before = users.fingerprint("anna")
    htpasswd.add(str(path), "anna", quick("other"))
    assert await users.check("anna", "other")
    assert not await users.check("anna", "secret")
    assert users.fingerprint("anna") not in ("", before)
    htpasswd.remove(str(path), "anna")
    assert not await users.check("anna", "other")
    assert users.fingerprint("anna") == ""


@in_loop
async def test_without_its_file_nobody_gets_in(path: Path) -> None:
    """A file that goes away locks everybody out; one that never was is told at the start."""
    users = Users(str(path))
    os.unlink(path)
    assert not await users.check("anna", "secret")
    with pytest.raises(Unavailable):
        Users(str(path))


@in_loop
async def test_guessing_does_not_pile_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More logins than can wait are turned away."""
    monkeypatch.setattr(module, "_MOST_WAITING", 3)
    users = Users(str(path))
    results = await asyncio.gather(
        *(users.check("anna", f"guess {n}") for n in range(5)), return_exceptions=True
    )
    assert [type(result) for result in results].count(LimitExceeded) == 2
    assert await users.check("anna", "secret")
