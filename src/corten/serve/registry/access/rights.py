"""Rights: who may do what in which repository.

Rules only ever give. A rule names users (a name, ``@group``, ``*`` for everyone
who has logged in, ``anonymous`` for everyone at all), repositories (patterns:
``*`` is any text without a slash, ``**`` any text) and actions. What no rule
gives is refused. Without any rule, whoever has logged in may do everything.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from corten.errors import InvalidInput

Action = Literal["pull", "push", "delete", "catalog"]
ACTIONS: tuple[Action, ...] = ("pull", "push", "delete", "catalog")
EVERYONE, LOGGED_IN = "anonymous", "*"


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """*users* may do *actions* in *repositories*; ``catalog`` (listing them all) knows no repository."""

    users: tuple[str, ...]
    repositories: tuple[str, ...] = ("**",)
    actions: tuple[Action, ...] = ("pull",)


def pattern(text: str) -> "re.Pattern[str]":
    """Return the expression that a pattern of repositories stands for.

    Raises:
        InvalidInput: it is empty.
    """
    if not text:
        raise InvalidInput("a pattern of repositories is empty: write ** for all of them")
    parts = re.split(r"(\*\*|\*)", text)
    known = {"**": ".*", "*": "[^/]*"}
    return re.compile("".join(known.get(part) or re.escape(part) for part in parts))


class Rights:
    """What rules give; *user* is empty for whoever has not logged in.

    Raises:
        InvalidInput: a rule names a group that there is not.
    """

    def __init__(self, rules: Sequence[Rule], groups: Mapping[str, Iterable[str]]) -> None:
        members = {f"@{group}": frozenset(names) for group, names in groups.items()}
        self._rules = [
            (_users(rule, members), [pattern(text) for text in rule.repositories], frozenset(rule.actions))
            for rule in rules
        ]

    def allowed(self, user: str, repository: str) -> frozenset[Action]:
        """Return what *user* may do in *repository*; ``catalog`` is not among it."""
        found: set[Action] = set()
        for users, repositories, actions in self._rules:
            if _named(user, users) and any(form.fullmatch(repository) for form in repositories):
                found |= actions
        return frozenset(found - {"catalog"})

    def catalog(self, user: str) -> bool:
        """Tell whether *user* may list all repositories."""
        return any("catalog" in actions and _named(user, users) for users, _, actions in self._rules)


def standard(rules: Sequence[Rule], *, anonymous_pull: bool) -> tuple[Rule, ...]:
    """Return the rules that hold: *rules*, or if there are none, that whoever has logged in may do everything.

    With *anonymous_pull* everyone may pull, too.
    """
    found = tuple(rules) or (Rule(users=(LOGGED_IN,), actions=ACTIONS),)
    return (*found, Rule(users=(EVERYONE,))) if anonymous_pull else found


def _users(rule: Rule, members: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Return the users of *rule*, groups spelled out."""
    names: set[str] = set()
    for name in rule.users:
        if not name.startswith("@"):
            names.add(name)
        elif name in members:
            names |= members[name]
        else:
            raise InvalidInput(
                f"a rule of access names the group {name}, which there is not: add it under [access.groups]"
            )
    return frozenset(names)


def _named(user: str, users: frozenset[str]) -> bool:
    return EVERYONE in users or (user != "" and (user in users or LOGGED_IN in users))
