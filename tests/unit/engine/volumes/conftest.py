"""Volumes on a disk, with containers that are only told of."""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from corten.engine.records.database import Database
from corten.engine.records.volumes import VolumeRepository
from corten.engine.volumes.service import Volumes
from corten.engine.volumes.shared import User

Happening = tuple[str, str, dict[str, str]]


class World:
    """An engine's volumes: *used* says which containers have a volume, *events* what was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: dict[str, list[User]] = {}
        self.events: list[Happening] = []
        self.database = Database(folder / "engine.db")
        self.volumes = self.start()

    def start(self) -> Volumes:
        """Return the service as a new engine on the same folder makes it; nothing of the former is kept."""
        self.records = VolumeRepository(self.database)
        self.volumes = Volumes(
            self.records, str(self.folder / "volumes"), lambda name: self.used.get(name, []), self._publish
        )
        return self.volumes

    def _publish(self, kind: str, action: str, identifier: str, attributes: Mapping[str, str]) -> None:
        assert kind == "volume"
        self.events.append((action, identifier, dict(attributes)))

    def write(self, volume: str, name: str, text: str) -> None:
        """Write a file as a container would."""
        Path(self.volumes.get(volume).mountpoint, name).write_text(text)

    def plant(self, folder: str, name: str, text: str) -> None:
        """Put a file where a volume would be, without any record."""
        strange = self.folder / "volumes" / folder / "_data"
        strange.mkdir(parents=True)
        (strange / name).write_text(text)

    def empty(self, volume: str) -> None:
        """Take the files of a volume away, as somebody with a shell would."""
        shutil.rmtree(self.volumes.get(volume).mountpoint)

    def look(self, volume: str) -> os.stat_result:
        """Return what stat(2) says of the folder of a volume."""
        return os.stat(self.volumes.get(volume).mountpoint)

    def files(self, volume: str) -> dict[str, str]:
        """Return what a volume holds, by path."""
        top = Path(self.volumes.get(volume).mountpoint)
        return {str(file.relative_to(top)): file.read_text() for file in top.rglob("*") if file.is_file()}

    def folders(self) -> list[str]:
        """Return the names of all folders of volumes."""
        return sorted(name for name in os.listdir(self.folder / "volumes") if not name.startswith("."))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An engine without volumes."""
    made = World(tmp_path)
    yield made
    made.database.close()
