"""Restart policies."""

import pytest
from msgspec.structs import replace

from corten.engine.containers.parts import timestamp
from corten.engine.containers.restarts import LONGEST_DELAY, Restarts
from corten.engine.containers.status import Status
from corten.engine.records.config import HostConfig, RestartPolicy
from corten.engine.records.container import Container, State
from tests.unit.engine.containers.test_status import container


def having(policy: str, most: int = 0, **changes: object) -> Container:
    """A container with a restart policy that has just begun its run."""
    wishes = HostConfig(restart_policy=RestartPolicy(name=policy, maximum_retry_count=most))
    return replace(
        container(Status.RUNNING), host_config=wishes, state=State(started_at=timestamp()), **changes
    )


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        ("no", 1, False),
        ("", 1, False),
        ("always", 0, True),
        ("always", 1, True),
        ("unless-stopped", 0, True),
        ("on-failure", 1, True),
        ("on-failure", 0, False),
    ],
)
def test_who_is_started_again(policy: str, code: int, again: bool) -> None:
    """Each policy looks at the code as Docker's does."""
    assert (Restarts().delay(having(policy), code) is not None) is again


def test_what_a_user_stopped_stays_down() -> None:
    """No policy starts a container that was stopped on purpose."""
    assert Restarts().delay(having("always", stopped_by_user=True), 0) is None


def test_tries_are_counted() -> None:
    """on-failure:2 gives up after two restarts."""
    assert Restarts().delay(having("on-failure", 2, restart_count=1), 1) is not None
    assert Restarts().delay(having("on-failure", 2, restart_count=2), 1) is None


def test_the_delay_doubles_up_to_a_minute() -> None:
    """A container that ends at once waits longer each time."""
    policy, failing = Restarts(), having("always")
    delays = [policy.delay(failing, 1) for _ in range(12)]
    assert delays[:3] == [0.1, 0.2, 0.4]
    assert delays[-1] == LONGEST_DELAY


def test_a_steady_run_begins_anew() -> None:
    """After a run of ten seconds the delay is the first one again."""
    policy, failing = Restarts(), having("always")
    for _ in range(5):
        policy.delay(failing, 1)
    steady = replace(failing, state=State(started_at="2020-01-01T00:00:00.000000001Z"))
    assert policy.delay(steady, 1) == 0.1
