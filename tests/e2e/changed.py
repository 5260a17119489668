"""Containers that have changed their files, and the images made of them: what the tests of local images share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import running_engine
from tests.e2e.tools import ALONE, unique, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from tests.e2e.conftest import Engine

SCRIPT = (
    "echo hi > /etc/new; rm /usr/bin/tr; mkdir -p /a/b; echo x > /a/b/c; chmod 700 /tmp; "
    "ln -s /a /link; echo y >> /etc/group"
)
SLACK = 64 << 10  # bytes by which the records may grow while they are measured


@pytest.fixture(scope="module")
def engine(small_tar: Path) -> Iterator[Engine]:
    """An engine with the small image ``base``."""
    with running_engine() as engine:
        engine.import_tree(small_tar, "base")
        yield engine


@pytest.fixture
def other(small_tar: Path) -> Iterator[Engine]:
    """A second engine, with nothing in it."""
    with running_engine() as engine:
        yield engine


@pytest.fixture
def changed(engine: Engine) -> Iterator[str]:
    """A container that has made its changes and ended."""
    name = unique()
    engine.docker("run", "--name", name, *ALONE, "base", "sh", "-c", SCRIPT)
    yield name
    engine.docker("rm", "-f", name, check=False)


@pytest.fixture
def alone(other: Engine, small_tar: Path) -> str:
    """The name of a container that has made its changes in the other engine: no image has the same layer there."""
    other.import_tree(small_tar, "base")
    name = unique()
    other.docker("run", "--name", name, *ALONE, "base", "sh", "-c", SCRIPT)
    return name


def facts(engine: Engine, name: str) -> dict[str, Any]:
    """Return what ``docker image inspect`` says."""
    found: list[dict[str, Any]] = json.loads(engine.docker("image", "inspect", name).stdout)
    return found[0]


def run(engine: Engine, image: str, *command: str) -> str:
    """Return what *command* says in a container of *image*."""
    return str(engine.docker("run", "--rm", *ALONE, image, *command).stdout)


def committed(engine: Engine, name: str, *flags: str, image: str = "") -> str:
    """Commit by the real client; return the name of the image."""
    image = image or f"{unique('img')}:1"
    engine.docker("commit", *flags, name, image)
    return image


def ids(engine: Engine, *names: str) -> list[str]:
    """Return the ids of images."""
    return [facts(engine, name)["Id"] for name in names]


def occupied(engine: Engine) -> dict[str, Any]:
    """Return ``/system/df`` once nothing is on its way out any more."""

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = engine.api("GET", "/system/df")[1]
        return None if found["Corten"]["Trash"] > SLACK else found

    found = until(look, "the trash to be empty")
    assert found is not None
    return found
