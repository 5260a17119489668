"""Retention: what stays and what goes, decided from facts alone."""

import pytest

from corten.errors import InvalidInput
from corten.oci.digest import Digest
from corten.serve.registry.retention import ManifestFacts, Retention, RetentionRule, TagFacts, parse

DAY = 86400.0
NOW = 1000 * DAY


def digest(name: str) -> Digest:
    """Return a digest of its own for each name."""
    return Digest.of(name.encode())


def tags(**ages: float) -> list[TagFacts]:
    """Return tags by how many days ago they were pushed."""
    return [TagFacts(name, digest(name), NOW - age * DAY) for name, age in ages.items()]


def gone(rule: RetentionRule, found: list[TagFacts], repository: str = "a/b") -> tuple[str, ...]:
    """Return the tags that *rule* lets go."""
    return Retention([rule]).plan(repository, found, [], NOW).tags


def test_keeps_the_last_tags() -> None:
    """The newest so many stay, whatever their names."""
    assert gone(RetentionRule(keep_last=2), tags(z=1, y=2, x=3, w=4)) == ("w", "x")
    assert gone(RetentionRule(keep_last=0), tags(z=1)) == ("z",)


def test_keeps_young_tags() -> None:
    """Tags younger than said stay."""
    assert gone(RetentionRule(keep_younger_than="2d"), tags(new=1, old=3)) == ("old",)


def test_keeps_matching_tags() -> None:
    """An expression has to fit the whole tag."""
    rule = RetentionRule(keep_matching=(r"v\d+", "latest"))
    assert gone(rule, tags(v1=9, v2x=9, latest=9, nolatest=9)) == ("nolatest", "v2x")


def test_any_reason_to_keep_is_enough() -> None:
    """The members of a rule add up."""
    rule = RetentionRule(keep_last=1, keep_younger_than="2d", keep_matching=("keep.*",))
    assert gone(rule, tags(a=0, b=1, c=5, keepme=9)) == ("c",)


def test_without_a_reason_all_tags_stay() -> None:
    """A rule about manifests alone, or no rule at all, removes no tag."""
    assert gone(RetentionRule(delete_untagged_after="1d"), tags(a=99)) == ()
    assert Retention([]).plan("a", tags(a=99), [], NOW).tags == ()


def test_the_first_rule_that_fits_decides() -> None:
    """Later rules do not count, nor those for other repositories."""
    found = Retention(
        [RetentionRule(repositories=("keep/**",)), RetentionRule(repositories=("*/*",), keep_last=0)]
    )
    assert found.plan("keep/x", tags(a=1), [], NOW).tags == ()
    assert found.plan("x/y", tags(a=1), [], NOW).tags == ("a",)
    assert found.plan("x/y/z", tags(a=1), [], NOW).tags == ()


def test_untagged_manifests_go_with_what_belongs_to_them() -> None:
    """What a tag, an index or a subject holds stays; the rest goes when it is old enough, an index before its parts."""
    old, new = NOW - 9 * DAY, NOW - DAY
    kept_index, part, signature = digest("latest"), digest("part"), digest("signature")
    lost_index, lost_part, lost_signature = digest("lost"), digest("lost part"), digest("lost signature")
    manifests = [
        ManifestFacts(kept_index, old, (part,)),
        ManifestFacts(part, old),
        ManifestFacts(signature, old, subject=part),
        ManifestFacts(digest("signature of signature"), old, subject=signature),
        ManifestFacts(lost_part, old),
        ManifestFacts(lost_index, old, (lost_part,)),
        ManifestFacts(lost_signature, old, subject=lost_part),
        ManifestFacts(digest("young"), new),
    ]
    plan = Retention([RetentionRule(delete_untagged_after="2d")]).plan("a", tags(latest=9), manifests, NOW)
    assert plan.manifests[0] == lost_index
    assert set(plan.manifests) == {lost_index, lost_part, lost_signature}


def test_a_removed_tag_frees_its_manifest() -> None:
    """Tags that go in the same run no longer hold anything."""
    rule = RetentionRule(keep_last=1, delete_untagged_after="2d")
    manifests = [ManifestFacts(digest(name), NOW - 9 * DAY) for name in ("a", "b")]
    plan = Retention([rule]).plan("r", tags(a=5, b=9), manifests, NOW)
    assert (plan.tags, plan.manifests) == (("b",), (digest("b"),))


@pytest.mark.parametrize(
    "rule",
    [
        RetentionRule(keep_younger_than="2 days"),
        RetentionRule(delete_untagged_after="-1d"),
        RetentionRule(keep_matching=("(",)),
        RetentionRule(keep_last=-1),
        RetentionRule(repositories=("",)),
    ],
)
def test_rules_that_cannot_be_read(rule: RetentionRule) -> None:
    """A mistake in a rule is told before anything is removed."""
    with pytest.raises(InvalidInput):
        Retention([rule])


def test_reads_toml() -> None:
    """Rules are tables of a TOML file; unknown members are mistakes."""
    (rule,) = parse('[[retention]]\nrepositories = ["a/*"]\nkeep_last = 3\ndelete_untagged_after = "1w"\n')
    assert rule == RetentionRule(repositories=("a/*",), keep_last=3, delete_untagged_after="1w")
    for wrong in ("[[retention]]\nkeep = 3", "[[retention]]\nkeep_last = 'x'", "["):
        with pytest.raises(InvalidInput):
            parse(wrong)
