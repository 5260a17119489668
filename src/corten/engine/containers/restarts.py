"""Restart policies: whether an ended container starts again, and after how long.

Docker's rules: the delay doubles from 100 ms up to a minute and begins anew after
a run of ten seconds; a container that a user stopped stays down.
"""

import time
from datetime import datetime

from corten.engine.records.container import Container

FIRST_DELAY, LONGEST_DELAY = 0.1, 60.0  # seconds
STEADY = 10.0  # a run of so many seconds resets the delay


class Restarts:
    """Remembers how long each container has to wait next time."""

    def __init__(self) -> None:
        self._delays: dict[str, float] = {}

    def delay(self, container: Container, code: int) -> float | None:
        """Return after how many seconds a container that ended with *code* starts again; None for never."""
        if not _wanted(container, code):
            self.forget(container.id)
            return None
        ran = time.time() - datetime.fromisoformat(container.state.started_at).timestamp()
        delay = FIRST_DELAY if ran > STEADY else self._delays.get(container.id, FIRST_DELAY)
        self._delays[container.id] = min(delay * 2, LONGEST_DELAY)
        return delay

    def forget(self, container: str) -> None:
        """Begin anew with this container; idempotent."""
        self._delays.pop(container, None)


def _wanted(container: Container, code: int) -> bool:
    """Tell whether the policy asks for another start."""
    policy = container.host_config.restart_policy
    if container.stopped_by_user or policy.name in ("", "no"):
        return False
    most = policy.maximum_retry_count
    return policy.name != "on-failure" or (code != 0 and not (most and container.restart_count >= most))
