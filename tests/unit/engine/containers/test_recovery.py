"""Recovery at start: records and tasks are brought in line, and what neither claims is undone."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from corten.core.runtime.runtime import Exit, Known, TaskFacts
from corten.engine.containers.parts import Parts
from corten.engine.containers.service import Containers
from corten.engine.containers.status import Status
from corten.engine.records.config import HostConfig, RestartPolicy
from corten.engine.records.container import Container, State
from corten.engine.records.containers import ContainerRepository
from corten.engine.records.database import Database
from corten.engine.recovery import Ends, recover, resume_names, start_wanted
from tests.unit.engine.containers.test_status import container


class Services:
    """What recovery works with: real records and folders, and a note of what it asked the other parts for."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.root, self.run = folder / "root", folder / "run"
        for path in (self.root / "containers", self.run / "containers"):
            path.mkdir(parents=True)
        self.records = ContainerRepository(database)
        self.killed: list[tuple[str, int]] = []
        self.forgotten: list[str] = []
        self.ended: list[Exit] = []
        self.swept: list[set[str]] = []
        self.frozen: dict[str, bool] = {}
        self.cgroup_parent = "tests"
        self.deleted: list[str] = []
        self.resumed: list[str] = []
        self.started: list[str] = []
        self.broken: set[str] = set()  # cannot be started
        self.runs = self

    async def kill(self, task: str, signal: int) -> None:
        """Be the runtime."""
        self.killed.append((task, signal))

    async def forget(self, task: str) -> None:
        """Be the runtime."""
        self.forgotten.append(task)

    def task_ended(self, end: Exit) -> None:
        """Be the service of containers."""
        self.ended.append(end)

    async def delete(self, identifier: str) -> bool:
        """Be the runs."""
        self.deleted.append(identifier)
        return True

    async def resume(self, container: Container) -> None:
        """Be the attachments."""
        self.resumed.append(container.id)

    async def start(self, identifier: str) -> None:
        """Be the service of containers."""
        self.started.append(identifier)
        if identifier in self.broken:
            raise OSError("the kernel refused")

    def freeze(self, path: str) -> None:
        """Be the cgroups."""
        self.frozen[path] = True

    def thaw(self, path: str) -> None:
        """Be the cgroups."""
        self.frozen[path] = False

    def sweep(self, claimed: set[str]) -> None:
        """Be the cgroups."""
        self.swept.append(claimed)

    def walk(self) -> Iterator[Any]:
        """Be a snapshotter without snapshots."""
        return iter(())

    def recover(self, *found: Known, complete: bool = True) -> None:
        """Recover with these tasks."""
        asyncio.run(recover(self.parts, cast("Containers", self), list(found), complete=complete))

    @property
    def parts(self) -> Parts:
        """All of them are this object."""
        me = cast("Any", self)
        return Parts(
            root=str(self.root),
            run=str(self.run),
            host=me,
            groups=me,
            records=self.records,
            images=me,
            snapshots=me,
            runtime=me,
            attachments=me,
            live=me,
            mounting=me,
            events=me,
        )

    def put(self, identifier: str, status: Status) -> Container:
        """Record a container."""
        made = replace(container(status), id=identifier, name=identifier, state=State(status=status, pid=5))
        self.records.put(made)
        return made


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """Lend services."""
    database = Database(str(tmp_path / "engine.db"))
    yield Services(tmp_path, database)
    database.close()


def task(identifier: str, ended: int | None = None, of: str = "") -> Known:
    """A task that the supervisor has; an exec *of* a container."""
    facts = TaskFacts(id=identifier, directory="/nowhere", container=of)
    return Known(facts, 5, 6, None if ended is None else Exit(identifier, ended))


def test_what_runs_goes_on(services: Services) -> None:
    """A record and a task that agree are left alone."""
    services.put("a", Status.RUNNING)
    services.recover(task("a"), task("e", of="a"))
    assert services.records.get("a").state.status == Status.RUNNING
    assert (services.ended, services.killed) == ([], [])


def test_a_pause_that_was_under_way(services: Services) -> None:
    """What is recorded counts: the processes of a paused container are frozen, those of another one run."""
    services.put("a", Status.RUNNING)
    services.put("b", Status.PAUSED)
    services.recover(task("a"), task("b"))
    assert services.frozen == {"tests/a": False, "tests/b": True}


def test_an_end_while_nobody_looked_is_told(services: Services) -> None:
    """What the supervisor saw becomes a record."""
    services.put("a", Status.RUNNING)
    services.recover(task("a", ended=3))
    assert services.ended == [Exit("a", 3)]


def test_an_end_on_disk_is_told(services: Services) -> None:
    """What a former supervisor wrote down before it died counts as well."""
    services.put("a", Status.RUNNING)
    folder = services.run / "containers/a"
    folder.mkdir()
    (folder / "exit.json").write_text(json.dumps({"code": 7, "at": 99}), encoding="utf-8")
    services.recover()
    assert services.ended == [Exit("a", 7, 99)]


@pytest.mark.parametrize("text", ["", "{", '{"code": "x"}', "[]"])
def test_an_end_that_nobody_saw_is_unknown(services: Services, text: str) -> None:
    """Without a task and without a proper note the end is told without a code."""
    services.put("a", Status.RUNNING)
    folder = services.run / "containers/a"
    folder.mkdir()
    (folder / "exit.json").write_text(text, encoding="utf-8")
    services.recover()
    assert services.ended == [Exit("a", None)]


def test_a_start_that_was_not_recorded(services: Services) -> None:
    """A task of a container that is recorded as created runs, so it is running."""
    services.put("a", Status.CREATED)
    services.recover(task("a"))
    state = services.records.get("a").state
    assert (state.status, state.pid) == (Status.RUNNING, 5)


def test_a_task_without_a_record_is_killed(services: Services) -> None:
    """What no record claims is undone, cgroup and run directory included."""
    services.put("a", Status.RUNNING)
    (services.run / "containers/old").mkdir()
    (services.run / "containers/old/out").touch()
    services.recover(task("a"), task("stray"))
    assert services.killed == [("stray", 9)]
    assert services.swept == [{"a", "stray"}]
    assert not (services.run / "containers/old").exists()


def test_a_task_without_a_record_that_has_ended_is_forgotten(services: Services) -> None:
    """Its end was told to a daemon that did not live to clear it away."""
    services.recover(task("stray", ended=0))
    assert (services.killed, services.forgotten) == ([], ["stray"])


def test_what_a_run_left_is_removed_though_its_container_is_recorded(services: Services) -> None:
    """A run directory and a cgroup belong to a task: a container without one has neither."""
    services.put("a", Status.EXITED)
    (services.run / "containers/a").mkdir()
    services.recover()
    assert services.swept == [set()]
    assert not (services.run / "containers/a").exists()


def test_nothing_is_undone_when_records_were_lost(services: Services) -> None:
    """After damage to the records what nobody claims may be somebody's data."""
    (services.run / "containers/old").mkdir()
    services.recover(task("stray"), complete=False)
    assert (services.killed, services.swept) == ([], [])
    assert (services.run / "containers/old").exists()


def test_a_restart_that_was_due_is_forgotten(services: Services) -> None:
    """The policy decides anew after the start of the engine."""
    services.put("a", Status.RESTARTING)
    services.recover()
    assert services.records.get("a").state.status == Status.EXITED


def test_what_has_ended_stays_as_it_is(services: Services) -> None:
    """A record without a task that does not claim to live needs nothing."""
    services.put("a", Status.EXITED)
    services.recover()
    assert services.ended == []
    assert services.records.get("a").state.status == Status.EXITED


def test_a_restart_whose_end_is_still_with_the_supervisor(services: Services) -> None:
    """An end that was recorded, but not cleared away, would keep the task from being started again."""
    services.put("a", Status.RESTARTING)
    services.recover(task("a", ended=1))
    assert services.records.get("a").state.status == Status.EXITED
    assert services.forgotten == ["a"]


def test_a_removal_that_was_due(services: Services) -> None:
    """One that removes itself, and whose end was the last thing recorded, is removed; others stay."""
    made = services.put("a", Status.EXITED)
    services.records.put(replace(made, host_config=replace(made.host_config, auto_remove=True)))
    services.put("b", Status.EXITED)
    services.recover()
    assert services.deleted == ["a"]


def test_names_of_those_that_live(services: Services) -> None:
    """Only who has a process is asked for its namespace: a number on record may be another process by now."""
    for name in ("living", "ended", "gone", "other"):
        services.put(name, Status.RUNNING)
    made = services.records.get("other")
    services.records.put(replace(made, state=replace(made.state, pid=77)))
    found = [
        task("living"),
        task("ended", ended=0),
        task("other"),
        task("exec", of="living"),
        task("unknown"),
    ]
    asyncio.run(resume_names(services.parts, found))
    assert services.resumed == ["living"]


def test_ends_are_told_once_and_not_too_early() -> None:
    """What ends during the recovery is told after it, unless the list of tasks said so already."""
    told: list[str] = []
    ends = Ends(lambda end: told.append(end.id))
    ends(Exit("early", 0))
    ends(Exit("listed", 0))
    assert told == []
    ends.release([task("listed", ended=0), task("early")])
    assert told == ["early"]
    ends(Exit("late", 0))
    assert told == ["early", "late"]


@pytest.mark.parametrize(
    ("policy", "code", "count", "by_user", "wanted"),
    [
        ("always", 0, 0, True, True),
        ("unless-stopped", 0, 0, False, True),
        ("unless-stopped", 0, 0, True, False),
        ("on-failure", 3, 0, False, True),
        ("on-failure", 0, 0, False, False),
        ("on-failure", 3, 2, False, False),
        ("on-failure", 3, 0, True, False),
        ("no", 3, 0, False, False),
    ],
)
def test_who_is_started_with_the_engine(
    services: Services, policy: str, code: int, count: int, by_user: bool, wanted: bool
) -> None:
    """By the policy, as Docker does it."""
    made = services.put("a", Status.EXITED)
    services.records.put(
        replace(
            made,
            host_config=HostConfig(restart_policy=RestartPolicy(name=policy, maximum_retry_count=2)),
            state=replace(made.state, exit_code=code, started_at="2026-01-01T00:00:00Z"),
            restart_count=count,
            stopped_by_user=by_user,
        )
    )
    asyncio.run(start_wanted(services.parts, cast("Containers", services)))
    assert services.started == (["a"] if wanted else [])


def test_one_that_cannot_start_keeps_no_other_one_down(services: Services) -> None:
    """All are tried, and who lives in another one's network after the others."""
    services.broken = {"b"}
    for name, mode in (("a", "container:c"), ("b", "bridge"), ("c", "bridge")):
        made = services.put(name, Status.EXITED)
        wishes = HostConfig(restart_policy=RestartPolicy(name="always"), network_mode=mode)
        state = replace(made.state, started_at="2026-01-01T00:00:00Z")
        services.records.put(replace(made, host_config=wishes, state=state))
    asyncio.run(start_wanted(services.parts, cast("Containers", services)))
    assert services.started == ["b", "c", "a"]
