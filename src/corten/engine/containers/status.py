"""The life of a container as a table: which move is legal from which status, and where it leads.

Statuses and the words of refusals are Docker's.
"""

from enum import StrEnum

from corten.engine.records.container import Container
from corten.errors import Conflict, NotModified


class Status(StrEnum):
    """Where a container stands."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"  # ended, to be started again by its policy
    EXITED = "exited"


class Move(StrEnum):
    """What can happen to it."""

    START = "start"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    EXIT = "exit"
    RETRY = "retry"  # it ended and its policy wants another start
    GIVE_UP = "give up"  # that start is called off, or failed


MOVES: dict[tuple[Status, Move], Status] = {
    (Status.CREATED, Move.START): Status.RUNNING,
    (Status.EXITED, Move.START): Status.RUNNING,
    (Status.RESTARTING, Move.START): Status.RUNNING,
    (Status.RUNNING, Move.PAUSE): Status.PAUSED,
    (Status.PAUSED, Move.UNPAUSE): Status.RUNNING,
    (Status.RUNNING, Move.EXIT): Status.EXITED,
    (Status.PAUSED, Move.EXIT): Status.EXITED,
    (Status.RUNNING, Move.RETRY): Status.RESTARTING,
    (Status.PAUSED, Move.RETRY): Status.RESTARTING,
    (Status.RESTARTING, Move.GIVE_UP): Status.EXITED,
}

UP = (Status.RUNNING, Status.PAUSED)

_REFUSALS = {
    (Status.PAUSED, Move.START): "cannot start a paused container, try unpause instead",
    (Status.PAUSED, Move.PAUSE): "Container {id} is already paused",
}


def advance(container: Container, move: Move) -> Status:
    """Return the status after *move*.

    Raises:
        NotModified: it runs and is to be started.
        Conflict: *move* is not legal from where it stands.
    """
    status = Status(container.state.status)
    following = MOVES.get((status, move))
    if following is not None:
        return following
    if (status, move) == (Status.RUNNING, Move.START):
        raise NotModified(f"container {container.name} is running")
    if move is Move.UNPAUSE:
        raise Conflict(f"Container {container.id} is not paused")
    words = _REFUSALS.get((status, move), "Container {id} is not running")
    raise Conflict(words.format(id=container.id))
