"""Searches, and what belongs to no repository."""

from collections.abc import Iterator
from typing import Any

import pytest
from yarl import URL

from corten.core.distribution.access.tokens import Service, Token, Tokens, Wanted, merge
from corten.core.distribution.addresses import Origin
from corten.errors import CortenError, DataCorrupted, LimitExceeded, Unavailable, Unsupported
from tests.fakes.registry import FakeRegistry, refuse, reply
from tests.unit.core.distribution.client import client, run

WANTED = Wanted(Service(Origin("https", "a.test", 443), URL("https://t.test/"), "s"), ("x",), None)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """A registry that offers search."""
    with FakeRegistry() as made:
        made.results = [{"name": f"image-{number}", "star_count": number} for number in range(5)]
        yield made


def search(registry: FakeRegistry, limit: int = 25) -> list[dict[str, Any]]:
    """Search for something."""

    async def go() -> list[dict[str, Any]]:
        async with client() as registries:
            return await registries.search(registry.host, "some thing", limit)

    return run(go())


def test_search(registry: FakeRegistry) -> None:
    """Results come as the registry gives them, no more than asked for."""
    assert [one["name"] for one in search(registry, 2)] == ["image-0", "image-1"]
    assert registry.saw("search")[0].query == {"q": "some thing", "n": "2"}
    search(registry, 1000)
    assert registry.saw("search")[1].query["n"] == "100"


def test_registry_without_search(registry: FakeRegistry) -> None:
    """Most registries offer none."""
    registry.results = []

    with pytest.raises(Unsupported, match="offers no search"):
        search(registry)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"results": "x"}'])
def test_search_that_answers_nonsense(registry: FakeRegistry, body: bytes) -> None:
    """Something else than results is told."""
    registry.order("search", reply(200, body=body))

    with pytest.raises(DataCorrupted, match="something else than results"):
        search(registry)


@pytest.mark.parametrize(("status", "kind"), [(429, LimitExceeded), (503, Unavailable), (400, CortenError)])
def test_search_that_fails(registry: FakeRegistry, status: int, kind: type[CortenError]) -> None:
    """A failure is one line."""
    registry.order("search", refuse(status, ""), times=10)

    with pytest.raises(kind):
        search(registry)


# tokens


def test_tokens_are_kept_for_their_life() -> None:
    """A token is good for most of its life, and a minute at least."""
    now = 0.0
    tokens = Tokens(lambda: now)

    tokens.keep(WANTED, Token(token="one", expires_in=1000))
    now = 899.0
    assert tokens.find(WANTED) == "one"
    now = 901.0
    assert tokens.find(WANTED) is None
    tokens.keep(WANTED, Token(access_token="two"))
    now += 50
    assert tokens.find(WANTED) == "two"


def test_dropped_token_is_forgotten_for_all_rights() -> None:
    """Of two requests that are refused the second does not throw away what the first one got."""
    tokens = Tokens()
    other = WANTED._replace(scopes=("y",))
    tokens.keep(WANTED, Token(token="old"))
    tokens.keep(other, Token(token="old"))

    tokens.drop("old")
    assert (tokens.find(WANTED), tokens.find(other)) == (None, None)
    tokens.keep(WANTED, Token(token="new"))
    tokens.drop("old")
    assert tokens.find(WANTED) == "new"


def test_tokens_do_not_pile_up() -> None:
    """Many repositories do not fill the memory."""
    tokens = Tokens()
    for number in range(5000):
        tokens.keep(WANTED._replace(scopes=(str(number),)), Token(token="x"))

        tokens.lock(WANTED._replace(scopes=(str(number),)))

    assert len(tokens._kept) <= 1000
    assert len(tokens._locks) <= 1000


def test_scopes_are_merged() -> None:
    """Rights on the same repository are one scope, in one order."""
    assert merge(("repository:a/b:push,pull",), ("repository:a/b:pull", "repository:c:pull", "")) == (
        "repository:a/b:pull,push",
        "repository:c:pull",
    )
    assert merge(("registry:catalog:*", "odd")) == ("odd", "registry:catalog:*")
