"""Tokens: only ours, only for their use, only in their time."""

import base64
import json
import os
from pathlib import Path

import pytest

from corten.errors import DataCorrupted, Forbidden
from corten.serve.registry.access.tokens import ACCESS_LIFE, Grant, Tokens, load_key

KEY = bytes(32)
GRANTS = (Grant("repository", "a/b", ("pull", "push")),)


class Clock:
    """A time that tests set."""

    now = 1_000_000.0

    def __call__(self) -> float:
        """Return the time set."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock of its own."""
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> Tokens:
    """Tokens of a registry."""
    return Tokens(KEY, "here", clock)


def forged(token: str, header: dict[str, str] | None = None, **changes: object) -> str:
    """Return *token* with other claims, its signature as it was."""
    head, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "==")) | changes
    texts = [json.dumps(part).encode() for part in (header, claims) if part is not None]
    parts = [base64.urlsafe_b64encode(text).rstrip(b"=").decode() for text in texts]
    return ".".join([*([] if header else [head]), *parts, signature])


def test_says_what_was_granted(tokens: Tokens) -> None:
    """What went in comes out."""
    claims = tokens.read(tokens.access("anna", "f", GRANTS), "access")
    assert (claims.sub, claims.pwd, claims.access, claims.aud) == ("anna", "f", GRANTS, "here")


def test_is_a_json_web_token(tokens: Tokens) -> None:
    """Three parts, the header naming the algorithm, as others' tools read it."""
    header, payload, _ = tokens.access("anna", "f", GRANTS).split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"alg": "HS256", "typ": "JWT"}
    assert json.loads(base64.urlsafe_b64decode(payload + "=="))["access"] == [
        {"type": "repository", "name": "a/b", "actions": ["pull", "push"]}
    ]


def test_ends_in_time(tokens: Tokens, clock: Clock) -> None:
    """Valid for its minutes, and not before they begin."""
    token = tokens.access("anna", "f", ())
    clock.now += ACCESS_LIFE - 1
    tokens.read(token, "access")
    clock.now += 60
    with pytest.raises(Forbidden, match="expired"):
        tokens.read(token, "access")
    clock.now -= 2 * ACCESS_LIFE
    with pytest.raises(Forbidden):
        tokens.read(token, "access")


def test_one_use_is_not_the_other(tokens: Tokens) -> None:
    """A refresh token opens no repository; an access token gets no other."""
    with pytest.raises(Forbidden, match="something else"):
        tokens.read(tokens.refresh("anna", "f"), "access")
    with pytest.raises(Forbidden, match="something else"):
        tokens.read(tokens.access("anna", "f", ()), "refresh")


def test_forgeries(tokens: Tokens, clock: Clock) -> None:
    """Changed claims, other algorithms, other keys, other registries, garbage: none is valid."""
    token = tokens.access("anna", "f", ())
    none = forged(token, {"alg": "none", "typ": "JWT"})
    wrong = [
        *(forged(token, sub="root"), none, none.rpartition(".")[0] + ".", token[:-2], token + "x", ""),
        *("...", "a.b.c", "é.ü.\udcff", "x" * 100_000),
        *(
            Tokens(b"1" * 32, "here", clock).access("anna", "f", ()),
            Tokens(KEY, "there", clock).access("anna", "f", ()),
        ),
    ]
    for text in wrong:
        with pytest.raises(Forbidden):
            tokens.read(text, "access")


def test_the_key_is_made_once(tmp_path: Path) -> None:
    """It is private, the same the next time, and of its own in another place."""
    path = tmp_path / "key"
    key = load_key(str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(str(path)) == key
    assert load_key(str(tmp_path / "other")) != key
    assert sorted(os.listdir(tmp_path)) == ["key", "other"]


def test_a_broken_key_is_told(tmp_path: Path) -> None:
    """An empty or damaged file is never used as a key."""
    for text in ("", "abcd", "not hex"):
        (tmp_path / "key").write_text(text)
        with pytest.raises(DataCorrupted):
            load_key(str(tmp_path / "key"))
