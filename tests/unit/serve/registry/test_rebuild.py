"""The records are made again from the storage, and nothing is lost."""

import logging
from pathlib import Path
from typing import Any

import pytest

from corten.oci.descriptor import OCI_MANIFEST
from corten.oci.digest import Digest
from corten.serve.registry import naming
from corten.serve.registry.database import Database
from tests.unit.serve.registry.live import Clock, Live, descriptor, index, manifest, served

LAYER, OTHER = b"layer" * 100, b"other" * 1000


def contents(database: Database) -> dict[str, set[Any]]:
    """Return all records, but for leases and row numbers."""
    by_name = {
        "repositories": "SELECT name FROM repositories",
        "blobs": "SELECT * FROM blobs",
        "links": "SELECT r.name, l.digest, l.hidden FROM links l JOIN repositories r ON r.id = l.repository",
        "manifests": "SELECT r.name, m.digest, m.media_type, m.size, m.subject, m.artifact_type,"
        " m.annotations, m.pushed FROM manifests m JOIN repositories r ON r.id = m.repository",
        "refs": "SELECT r.name, f.manifest, f.target FROM refs f JOIN repositories r ON r.id = f.repository",
        "tags": "SELECT r.name, t.name, t.digest, t.changed FROM tags t"
        " JOIN repositories r ON r.id = t.repository",
        "outbox": "SELECT name FROM outbox",
    }
    return database.read(lambda c: {name: set(c.execute(sql)) for name, sql in by_name.items()})


def fill(live: Live, clock: Clock) -> None:
    """Push one thing of each kind, at different times."""
    image = live.push_image("a/b", "v1", LAYER, OTHER)
    clock.now += 10
    live.push_image("a/b", "", b"sig", subject=descriptor(image, OCI_MANIFEST), annotations={"k": "v"})
    live.push_image("a", "moved", LAYER)
    clock.now += 10
    live.put_manifest("a", "moved", live.push_image("a", "Upper_1.0-x", OTHER))
    child = live.push_image("multi", "", LAYER)
    live.put_manifest("multi", "latest", index(child))
    live.push_image("gone", "v1", b"gone")
    live.call("DELETE", "/v2/gone/manifests/v1")
    live.push_blob("a", b"only a blob")
    live.call("POST", f"/v2/mounted/blobs/uploads/?mount={Digest.of(LAYER)}&from=a/b")


def forget(folder: Path) -> None:
    """Delete the database."""
    for file in folder.glob("registry.db*"):
        file.unlink()


def test_deleting_the_database_loses_nothing(tmp_path: Path, clock: Clock) -> None:
    """Every record comes back from notes and blobs, and the next client notices nothing."""
    with served(tmp_path / "r", clock=clock) as live:
        fill(live, clock)
        before = contents(live.registry.shelves.database)
    forget(tmp_path / "r")
    with served(tmp_path / "r", clock=clock) as live:
        assert contents(live.registry.shelves.database) == before
        assert live.call("GET", "/v2/a/tags/list").json()["tags"] == ["moved", "Upper_1.0-x"]
        assert live.put_manifest("a", "later", manifest(b"only a blob")).status == 201
        assert live.registry.collector.plan().size == 0
        clock.now += 1e6
        assert live.registry.collector.run().blobs == 0


def test_a_damaged_database_is_made_again(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Garbage in the file costs a scan and a line in the log."""
    with served(tmp_path / "r", clock=clock) as live:
        fill(live, clock)
        before = contents(live.registry.shelves.database)
    (tmp_path / "r" / "registry.db").write_bytes(b"\0" * 10_000)
    with caplog.at_level(logging.WARNING), served(tmp_path / "r", clock=clock) as live:
        assert contents(live.registry.shelves.database) == before
    assert "is damaged" in caplog.text


def test_a_rebuild_that_was_killed_is_done_again(tmp_path: Path, clock: Clock) -> None:
    """Records that were filled in part are filled to the end."""
    with served(tmp_path / "r", clock=clock) as live:
        fill(live, clock)
        before = contents(live.registry.shelves.database)
        live.registry.shelves.database.write(lambda c: c.execute("DELETE FROM facts") and None)
        live.registry.shelves.database.write(lambda c: c.execute("DELETE FROM tags") and None)
    with served(tmp_path / "r", clock=clock) as live:
        assert contents(live.registry.shelves.database) == before


def test_what_cannot_be_read_is_left_out(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Damaged notes and missing blobs cost what they named, and a line in the log each."""
    with served(tmp_path / "r", clock=clock) as live:
        kept = live.push_image("a", "kept", LAYER)
        lost = live.push_image("a", "lost", OTHER)
        notes, blobs = live.registry.shelves.storage.notes, live.registry.shelves.storage.blobs
        notes.put(f"{naming.TOP}/a/_tags/bad", "{")
        notes.put(f"{naming.TOP}/a/_blobs/sha256-xyz", "")
        notes.put(f"{naming.TOP}/UPPER/_tags/x", "{}")
        notes.put(f"{naming.TOP}/a/_other/x", "{}")
        blobs.delete(Digest.of(lost))
    forget(tmp_path / "r")
    with caplog.at_level(logging.WARNING), served(tmp_path / "r", clock=clock) as live:
        assert live.get_manifest("a", "kept").body == kept
        assert live.get_manifest("a", "lost").status == 404
        assert live.call("GET", "/v2/a/tags/list").json()["tags"] == ["kept"]
    assert {"bad", "sha256-xyz", "UPPER", "lost"} <= {
        word for word in ("bad", "sha256-xyz", "UPPER", "lost") if word in caplog.text
    }


def test_a_note_that_a_killed_process_owed_is_written(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed but not mirrored reaches the notes at the next start."""
    with served(tmp_path / "r", clock=clock) as live:
        raw = live.push_image("a", "v1", LAYER)
        registry = live.registry
        monkeypatch.setattr(registry.shelves.mirror, "flush", list)
        live.put_manifest("a", "v2", raw)
        live.call("DELETE", "/v2/a/manifests/v1")
        assert registry.shelves.storage.notes.get(naming.tag_note("a", "v2")) is None
    with served(tmp_path / "r", clock=clock) as live:
        notes = live.registry.shelves.storage.notes
        assert notes.get(naming.tag_note("a", "v2")) is not None
        assert notes.get(naming.tag_note("a", "v1")) is None
        assert contents(live.registry.shelves.database)["outbox"] == set()
