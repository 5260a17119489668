"""Rights: what rules give to whom."""

import msgspec
import pytest

from corten.errors import InvalidInput
from corten.serve.registry.access.rights import Rights, Rule, pattern, standard

RIGHTS = Rights(
    [
        Rule(users=("@makers",), repositories=("team/*",), actions=("pull", "push")),
        Rule(users=("anna",), repositories=("team/app",), actions=("delete",)),
        Rule(users=("*",), repositories=("library/**",)),
        Rule(users=("anonymous",), repositories=("public/**",)),
        Rule(users=("root",), actions=("pull", "push", "delete", "catalog")),
    ],
    {"makers": ["anna", "ben"]},
)


@pytest.mark.parametrize(
    ("user", "repository", "allowed"),
    [
        ("anna", "team/app", {"pull", "push", "delete"}),
        ("ben", "team/app", {"pull", "push"}),
        ("ben", "team/app/sub", set()),
        ("carl", "team/app", set()),
        ("carl", "library/a/b", {"pull"}),
        ("", "library/a/b", set()),
        ("", "public/x", {"pull"}),
        ("carl", "public/x", {"pull"}),
        ("root", "any/thing", {"pull", "push", "delete"}),
        ("anonymous", "library/a", {"pull"}),
        ("", "team/app", set()),
    ],
)
def test_rules_add_up(user: str, repository: str, allowed: set[str]) -> None:
    """Every rule that fits gives its actions; nothing else is allowed."""
    assert RIGHTS.allowed(user, repository) == allowed


def test_the_catalog_is_a_right_of_its_own() -> None:
    """Only who was given it may list repositories."""
    assert RIGHTS.catalog("root")
    assert not RIGHTS.catalog("anna")
    assert not RIGHTS.catalog("")


@pytest.mark.parametrize(
    ("text", "fits", "fails"),
    [
        ("a/*", "a/b", "a/b/c"),
        ("a/**", "a/b/c", "b/a"),
        ("**", "x", "\n"),
        ("a.b", "a.b", "axb"),
        ("*/x", "a/x", "x"),
    ],
)
def test_patterns(text: str, fits: str, fails: str) -> None:
    """One star stays within a component, two do not; all else stands for itself."""
    assert pattern(text).fullmatch(fits)
    assert not pattern(text).fullmatch(fails)


def test_without_rules() -> None:
    """Users may do everything, others nothing, or pull."""
    users = Rights(standard((), anonymous_pull=False), {})
    assert users.allowed("anna", "x") == {"pull", "push", "delete"}
    assert users.catalog("anna")
    assert users.allowed("", "x") == set()
    assert Rights(standard((), anonymous_pull=True), {}).allowed("", "x") == {"pull"}
    given = standard((Rule(users=("anna",)),), anonymous_pull=False)
    assert Rights(given, {}).allowed("ben", "x") == set()


def test_a_group_must_exist() -> None:
    """A rule for a group that nobody defined is a mistake, not a rule for nobody."""
    with pytest.raises(InvalidInput, match="@ghosts"):
        Rights([Rule(users=("@ghosts",))], {})


def test_rules_are_checked_when_read() -> None:
    """Unknown members and actions are refused."""
    for wrong in ({"users": ["a"], "action": ["pull"]}, {"users": ["a"], "actions": ["write"]}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, Rule)
