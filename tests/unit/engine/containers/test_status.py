"""The table of a container's life, walked whole."""

from itertools import product

import pytest

from corten.engine.containers.status import MOVES, Move, Status, advance
from corten.engine.records.config import ContainerConfig, HostConfig
from corten.engine.records.container import Container, State
from corten.errors import Conflict, NotModified


def container(status: Status) -> Container:
    """A container that stands at *status*."""
    return Container(
        id="c" * 64,
        name="cc",
        created="",
        image_id="",
        config=ContainerConfig(),
        host_config=HostConfig(),
        path="",
        args=(),
        snapshotter="",
        state=State(status=status),
    )


@pytest.mark.parametrize(("status", "move"), list(product(Status, Move)))
def test_every_move_is_in_the_table_or_refused(status: Status, move: Move) -> None:
    """A move leads where the table says; any other is refused in words that name the container."""
    if (status, move) in MOVES:
        assert advance(container(status), move) is MOVES[status, move]
        return
    with pytest.raises((Conflict, NotModified)) as refusal:
        advance(container(status), move)
    assert "c" in str(refusal.value)


def test_starting_what_runs_changes_nothing() -> None:
    """A second start is no conflict: Docker answers 304."""
    with pytest.raises(NotModified):
        advance(container(Status.RUNNING), Move.START)


def test_a_paused_container_says_what_to_do() -> None:
    """Starting a paused container names unpause."""
    with pytest.raises(Conflict, match="unpause"):
        advance(container(Status.PAUSED), Move.START)


def test_every_status_but_the_first_can_be_reached() -> None:
    """No status stands in the table that nothing leads to."""
    assert {*MOVES.values()} == set(Status) - {Status.CREATED}
