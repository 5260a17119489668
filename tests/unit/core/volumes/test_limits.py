"""Sizes of volumes, on a file system that is told to keep quotas."""

import os
from pathlib import Path

import pytest

from corten.core.volumes import limits
from corten.core.volumes.store import VolumeStore
from corten.errors import Unsupported
from corten.linux import quota


class FileSystem:
    """What a file system with project quotas remembers: projects by inode, limits by project."""

    def __init__(self) -> None:
        self.projects: dict[int, int] = {}
        self.limits: dict[int, int] = {}
        self.used: dict[int, int] = {}

    def get_quota(self, _: int, project: int) -> quota.Quota:
        """Return limit and use."""
        return quota.Quota(self.limits.get(project, 0), self.used.get(project, 0))

    def set_limit(self, _: int, project: int, limit: int) -> None:
        """Remember a limit."""
        self.limits[project] = limit

    def get_project(self, folder: int) -> int:
        """Return the project of a folder."""
        return self.projects.get(os.fstat(folder).st_ino, 0)

    def set_project(self, folder: int, project: int) -> None:
        """Put a folder into a project; its limit must stand already."""
        assert self.limits[project]
        self.projects[os.fstat(folder).st_ino] = project


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> FileSystem:
    """A file system that keeps quotas."""
    made = FileSystem()
    monkeypatch.setattr(quota, "is_enforced", lambda _: True)
    for name in ("get_quota", "set_limit", "get_project", "set_project"):
        monkeypatch.setattr(quota, name, getattr(made, name))
    return made


def test_each_volume_has_a_number_of_its_own(system: FileSystem, tmp_path: Path) -> None:
    """And gives it back when its files are gone."""
    store = VolumeStore(str(tmp_path))
    store.make("one", 1000)
    store.make("two", 2000)
    store.make("free")
    assert sorted(system.limits.values()) == [1000, 2000]
    assert store.quota("two") == quota.Quota(2000, 0)
    assert store.quota("free") is None
    store.erase("one")
    assert sorted(system.limits.values()) == [0, 2000]


def test_filling_keeps_the_size(system: FileSystem, tmp_path: Path) -> None:
    """The new folder has it, and the number of the former is free again."""
    store = VolumeStore(str(tmp_path))
    store.make("one", 1000)
    store.fill("one", 1000, lambda folder: os.mkdir("x", dir_fd=folder))
    assert store.quota("one") == quota.Quota(1000, 0)
    assert sorted(system.limits.values()) == [0, 1000]


def test_numbers_in_use_are_left_alone(
    system: FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has a limit, or files; when all have, that is told."""
    monkeypatch.setattr(limits, "_RANGE", range(100, 103))
    system.limits[100], system.used[101] = 5, 1
    store = VolumeStore(str(tmp_path))
    store.make("one", 1000)
    assert system.limits == {100: 5, 102: 1000}
    with pytest.raises(Unsupported, match="all numbers"):
        store.make("two", 1000)


def test_other_projects_are_not_ours(system: FileSystem, tmp_path: Path) -> None:
    """A folder that an administrator has put into a project keeps its limit."""
    store = VolumeStore(str(tmp_path))
    store.make("one")
    system.limits[7] = 5
    with store.opened("one") as folder:
        system.set_project(folder, 7)
    assert store.quota("one") is None
    store.erase("one")
    assert system.limits == {7: 5}
