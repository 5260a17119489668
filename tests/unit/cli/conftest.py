"""A scripted daemon for the client's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from corten.cli.client import Client
from corten.cli.place import Place
from tests.unit.cli.server import Daemon, serving


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A server without any routes, on a socket in a folder of its own."""
    with serving(tmp_path / "corten.sock") as found:
        yield found


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    """A client of that server which starts no daemon."""
    made = Client(Place(host=f"unix://{daemon.path}"))
    yield made
    made.close()
