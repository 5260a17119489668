"""Retiring: carries out what the retention rules decide.

Facts are read, the decision is made and tags and manifests go in one
transaction for each repository, so that nothing that is pushed meanwhile can
be hit: a tag that has moved is judged by where and when it moved. What a
client relies on (a lease) counts as young. Blobs are left to the collector.
"""

import sqlite3

from corten.oci.digest import Digest
from corten.serve.registry import records
from corten.serve.registry.retention import ManifestFacts, Plan, Retention, TagFacts
from corten.serve.registry.shelves import Shelves

_PAGE = 1000  # repositories asked for at a time


def retire(shelves: Shelves, retention: Retention, *, dry_run: bool = False) -> list[Plan]:
    """Apply the rules to all repositories; blocks.

    Returns:
        What went (or with *dry_run* would go), of repositories where that is anything.

    Raises:
        OutOfSpace, Unavailable: records or storage cannot be written.
    """
    plans = [_retire(shelves, retention, name, dry_run) for name in _repositories(shelves)]
    return [plan for plan in plans if plan.tags or plan.manifests]


def _repositories(shelves: Shelves) -> list[str]:
    """Return all names."""
    names: list[str] = []
    while found := _page(shelves, names[-1] if names else ""):
        names += found
    return names


def _page(shelves: Shelves, last: str) -> list[str]:
    return shelves.database.read(lambda c: records.repositories(c, last, _PAGE))


def _retire(shelves: Shelves, retention: Retention, repository: str, dry_run: bool) -> Plan:
    def decide(c: sqlite3.Connection) -> Plan:
        now = shelves.clock()
        return retention.plan(repository, _tags(c, repository), _manifests(c, repository, now), now)

    def carry_out(c: sqlite3.Connection) -> tuple[Plan, list[str]]:
        plan = decide(c)
        notes = [records.delete_tag(c, repository, tag) for tag in plan.tags]
        for digest in plan.manifests:
            notes += records.delete_manifest(c, repository, digest)
        return plan, notes

    plan = shelves.database.read(decide)
    if dry_run or not (plan.tags or plan.manifests):
        return plan
    plan, notes = shelves.database.write(carry_out)
    shelves.mirror.flush(notes)
    return plan


def _tags(c: sqlite3.Connection, repository: str) -> list[TagFacts]:
    rows = c.execute(
        "SELECT t.name, t.digest, t.changed FROM tags t JOIN repositories r ON r.id = t.repository WHERE r.name = ?",
        (repository,),
    )
    return [TagFacts(name, Digest(digest), changed) for name, digest, changed in rows]


def _manifests(c: sqlite3.Connection, repository: str, now: float) -> list[ManifestFacts]:
    """Return the manifests; one under a lease counts as pushed now."""
    parts: dict[str, list[Digest]] = {}
    for owner, target in c.execute(
        "SELECT f.manifest, f.target FROM refs f JOIN repositories r ON r.id = f.repository"
        " JOIN manifests m ON m.repository = f.repository AND m.digest = f.target WHERE r.name = ?",
        (repository,),
    ):
        parts.setdefault(owner, []).append(Digest(target))
    rows = c.execute(
        "SELECT m.digest, m.pushed, m.lease, m.subject FROM manifests m"
        " JOIN repositories r ON r.id = m.repository WHERE r.name = ?",
        (repository,),
    )
    return [
        ManifestFacts(
            Digest(digest),
            now if lease > now else pushed,
            tuple(parts.get(digest, ())),
            Digest(subject) if subject else None,
        )
        for digest, pushed, lease, subject in rows
    ]
