"""Retention: which tags and manifests of a registry are to go.

The first rule whose pattern fits a repository decides about it. A tag stays if
any of the rule's ``keep_*`` members wants it; a rule without such a member
keeps all tags. A manifest without a tag stays while something that stays needs
it: the index that it is part of, or the subject that it refers to (a signature
lives as long as what it signs). Deciding is pure; carrying it out and the
collection of blobs are other people's.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from corten.errors import InvalidInput
from corten.oci.digest import Digest
from corten.serve.registry.access.rights import pattern

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(\d+)([smhdw])")


class RetentionRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to keep in repositories; durations are written ``30d``, ``12h``, ``2w``.

    Attributes:
        repositories: Patterns, as in the rules of access.
        keep_last: Keep this many tags, those pushed last.
        keep_younger_than: Keep tags pushed less long ago.
        keep_matching: Keep tags that one of these regular expressions fits as a whole.
        delete_untagged_after: Delete manifests without a tag that nothing needs, this long after their push.
    """

    repositories: tuple[str, ...] = ("**",)
    keep_last: int | None = None
    keep_younger_than: str = ""
    keep_matching: tuple[str, ...] = ()
    delete_untagged_after: str = ""


class TagFacts(NamedTuple):
    """A tag, what it points to, and when it was pushed last, in seconds since the epoch."""

    name: str
    digest: Digest
    pushed: float


class ManifestFacts(NamedTuple):
    """A manifest: when it was pushed, the manifests it is made of (of an index), and its subject."""

    digest: Digest
    pushed: float
    parts: tuple[Digest, ...] = ()
    subject: Digest | None = None


class Plan(NamedTuple):
    """What is to go in one repository; manifests in an order in which nothing that is left needs them."""

    repository: str
    tags: tuple[str, ...] = ()
    manifests: tuple[Digest, ...] = ()


class Retention:
    """Rules, checked.

    Raises:
        InvalidInput: a duration, a pattern or an expression cannot be read.
    """

    def __init__(self, rules: Sequence[RetentionRule]) -> None:
        self._rules = [(_patterns(rule), _Keep(rule)) for rule in rules]

    def plan(
        self, repository: str, tags: Iterable[TagFacts], manifests: Iterable[ManifestFacts], now: float
    ) -> Plan:
        """Return what is to go in *repository* at the time *now*; nothing where no rule fits."""
        for patterns, keep in self._rules:
            if any(form.fullmatch(repository) for form in patterns):
                return keep.plan(repository, tuple(tags), tuple(manifests), now)
        return Plan(repository)


class _Keep:
    """One rule, ready to be used."""

    def __init__(self, rule: RetentionRule) -> None:
        if rule.keep_last is not None and rule.keep_last < 0:
            raise InvalidInput(f"keep_last is {rule.keep_last}: a number of tags is not negative")
        self._last = rule.keep_last
        self._younger = seconds(rule.keep_younger_than)
        self._matching = [_expression(text) for text in rule.keep_matching]
        self._untagged = seconds(rule.delete_untagged_after)
        self._all = self._last is None and self._younger is None and not self._matching

    def plan(
        self, repository: str, tags: tuple[TagFacts, ...], manifests: tuple[ManifestFacts, ...], now: float
    ) -> Plan:
        newest_first = sorted(tags, key=lambda tag: (-tag.pushed, tag.name))
        kept = [tag for place, tag in enumerate(newest_first) if self._keeps(tag, place, now)]
        gone = {tag.name for tag in tags} - {tag.name for tag in kept}
        return Plan(repository, tuple(sorted(gone)), self._unneeded(kept, manifests, now))

    def _keeps(self, tag: TagFacts, place: int, now: float) -> bool:
        return (
            self._all
            or (self._last is not None and place < self._last)
            or (self._younger is not None and now - tag.pushed < self._younger)
            or any(form.fullmatch(tag.name) for form in self._matching)
        )

    def _unneeded(
        self, kept: list[TagFacts], manifests: tuple[ManifestFacts, ...], now: float
    ) -> tuple[Digest, ...]:
        """Return the manifests that are old enough and that no kept tag or young manifest needs."""
        limit = self._untagged
        if limit is None:
            return ()
        young = {facts.digest for facts in manifests if now - facts.pushed < limit}
        needed = _needed(manifests, young | {tag.digest for tag in kept})
        gone = [facts for facts in manifests if facts.digest not in needed]
        gone.sort(key=lambda facts: (not facts.parts, facts.digest))  # an index before its parts
        return tuple(facts.digest for facts in gone)


def _needed(manifests: tuple[ManifestFacts, ...], roots: set[Digest]) -> set[Digest]:
    """Return *roots* with all they are made of, and all that refers to any of those."""
    parts = {facts.digest: facts.parts for facts in manifests}
    referrers: dict[Digest, list[Digest]] = {}
    for facts in manifests:
        if facts.subject is not None:
            referrers.setdefault(facts.subject, []).append(facts.digest)
    found: set[Digest] = set()
    left = list(roots)
    while left:
        digest = left.pop()
        if digest not in found:
            found.add(digest)
            left += [*parts.get(digest, ()), *referrers.get(digest, ())]
    return found


def rules(texts: Sequence[Mapping[str, Any]]) -> tuple[RetentionRule, ...]:
    """Return the rules in the ``[[retention]]`` tables of a settings file.

    Raises:
        InvalidInput: an unknown member, or one of a wrong type.
    """
    try:
        return msgspec.convert(texts, tuple[RetentionRule, ...])
    except msgspec.ValidationError as failure:
        raise InvalidInput(f"[[retention]]: {failure}") from None


def parse(text: str) -> tuple[RetentionRule, ...]:
    """Return the rules of a TOML file that holds ``[[retention]]`` tables."""
    try:
        return rules(tomllib.loads(text).get("retention", []))
    except tomllib.TOMLDecodeError as failure:
        raise InvalidInput(f"not TOML: {failure}") from None


def _patterns(rule: RetentionRule) -> list["re.Pattern[str]"]:
    return [pattern(text) for text in rule.repositories]


def seconds(text: str) -> float | None:
    """Return the seconds of a duration (``30d``, ``12h``, ``2w``, ``45m``, ``90s``), None for none.

    Raises:
        InvalidInput: no such form.
    """
    if not text:
        return None
    found = _DURATION.fullmatch(text)
    if found is None:
        raise InvalidInput(f"invalid duration {text!r}: write 30d, 12h, 2w, 45m or 90s")
    return int(found[1]) * _UNITS[found[2]]


def _expression(text: str) -> "re.Pattern[str]":
    try:
        return re.compile(text)
    except re.error as failure:
        raise InvalidInput(f"invalid regular expression {text!r}: {failure}") from None
