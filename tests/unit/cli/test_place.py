"""Which engine a command speaks with."""

import posix

import pytest

from corten.cli.failure import Failure
from corten.cli.place import Place


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (b"CORTEN_HOST", b"CORTEN_ROOT", b"CORTEN_RUN"):
        monkeypatch.delitem(posix.environ, name, raising=False)


def test_defaults() -> None:
    """Nothing said: the usual folders, and a daemon of our own."""
    place = Place()

    assert (place.root, place.run) == ("/var/lib/corten", "/run/corten")
    assert (place.socket, place.own) == ("/run/corten/corten.sock", True)


def test_flags_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is used where there is no flag."""
    monkeypatch.setitem(posix.environ, b"CORTEN_RUN", b"/env/run")
    monkeypatch.setitem(posix.environ, b"CORTEN_ROOT", b"/env/root")

    place = Place(run="/flag/run/")

    assert (place.root, place.run, place.socket) == ("/env/root", "/flag/run", "/flag/run/corten.sock")


def test_a_run_folder_on_the_command_line_names_its_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is typed wins over a host in the environment."""
    monkeypatch.setitem(posix.environ, b"CORTEN_HOST", b"unix:///somewhere.sock")

    assert Place(run="/r").socket == "/r/corten.sock"


def test_another_socket_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon is started only for the socket of the run folder."""
    monkeypatch.setitem(posix.environ, b"CORTEN_HOST", b"unix:///somewhere.sock")

    assert not Place().own
    assert Place(host="unix:///run/corten/corten.sock").own


@pytest.mark.parametrize("host", ["tcp://localhost:2375", "ssh://me@there", "unix://", "fd://"])
def test_refuses_other_hosts(host: str) -> None:
    """Only Unix sockets are spoken with, and the message says so."""
    with pytest.raises(Failure, match="corten listens on Unix sockets"):
        Place(host=host)
