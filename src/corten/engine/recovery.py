"""Recovery: at start, records are compared with what the parts find, and the rest is undone.

Every journey has one commit point, an insert into the records. So at start: a
task that a record claims is taken up again, an end that happened while no
daemon was there becomes a record, and snapshots, folders, cgroups and links that
no record claims are remains of something that did not get to its commit point.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress

import msgspec
from msgspec.structs import replace

from corten.core.logs.writer import recover as recover_log
from corten.core.runtime.runtime import Exit, Known
from corten.core.snapshots.snapshotter import recover as recover_snapshots
from corten.engine.containers.mounting.service import views
from corten.engine.containers.parts import Parts, is_up, timestamp
from corten.engine.containers.service import Containers
from corten.engine.networks.wishes import shared_with
from corten.engine.records.container import NEVER, Container, Endpoint, Published
from corten.engine.records.network import Network
from corten.errors import CortenError, NotFound

log = logging.getLogger("corten")

LIVE = ("running", "paused", "restarting", "removing")


def adopt_networks(parts: Parts, networks: Iterable[Network], found: list[Known]) -> None:
    """Make the kernel's networks, firewall and ports what the records say, and drop what nobody has.

    The addresses and ports of running containers count as taken; before
    sandboxes are stocked. Blocks.

    Args:
        parts: The services.
        networks: All that are recorded.
        found: The tasks that the supervisor has: of one whose start was not recorded
            before the daemon died, its note says what it was given.
    """
    for known in found:
        _take_note(parts, known)
    fabric, attachments = parts.attachments.fabric, parts.attachments
    running = {known.facts.id for known in found if known.ended is None}
    fabric.know(networks)
    live = [attachments.settle(c) for c in parts.records.all() if c.id in running]
    for container in live:
        for failure in attachments.adopt(container):
            log.warning("%s", failure)
    fabric.restore({c.id: attachments.publishing.openings(c) for c in live if c.published})
    fabric.reconcile({e.host_link for c in live for e in c.endpoints if e.host_link})


def _take_note(parts: Parts, known: Known) -> None:
    """Record what a task was given whose start the daemon did not live to record."""
    note = known.facts.note
    if known.facts.container or known.ended is not None or not note:
        return
    with suppress(NotFound, msgspec.ValidationError):
        container = parts.records.get(known.facts.id)
        if is_up(container) and container.state.pid == known.pid:
            return
        given = msgspec.convert(note, _Note)
        state = replace(container.state, status="running", pid=known.pid, started_at=timestamp(), error="")
        parts.records.put(
            replace(
                container,
                state=state,
                endpoints=given.endpoints,
                published=given.published,
                stopped_by_user=False,
            )
        )


class _Note(msgspec.Struct, frozen=True):
    """What a start notes with its task."""

    endpoints: tuple[Endpoint, ...] = ()
    published: tuple[Published, ...] = ()


def announce_names(parts: Parts, found: list[Known]) -> None:
    """Have the containers found running known by their names, before anybody is answered."""
    for known in found:
        if known.ended is None and not known.facts.container:
            with suppress(NotFound):
                container = parts.records.get(known.facts.id)
                parts.attachments.naming.announce(container, container.endpoints, None)


async def resume_names(parts: Parts, found: list[Known]) -> None:
    """Answer the questions of containers found running again; a millisecond each.

    Only of those that had a process: the number of one that is long gone may be somebody else's.
    """
    for known in found:
        if known.ended is None and not known.facts.container:
            async with parts.lock(known.facts.id):
                with suppress(CortenError, OSError):
                    container = parts.records.get(known.facts.id)
                    if is_up(container) and container.state.pid == known.pid:
                        await parts.attachments.resume(container)


class Ends:
    """Ends of tasks, kept back until records and tasks agree: none may be missed, none told in between.

    Args:
        tell: Takes note of an end.
    """

    def __init__(self, tell: Callable[[Exit], None]) -> None:
        self._tell = tell
        self._kept: list[Exit] | None = []

    def __call__(self, end: Exit) -> None:
        """Hear of an end."""
        if self._kept is None:
            self._tell(end)
        else:
            self._kept.append(end)

    def release(self, found: list[Known]) -> None:
        """Tell what was kept, but for ends that *found* tells of already, and from now on everything at once."""
        kept, self._kept = self._kept or [], None
        told = {known.facts.id for known in found if known.ended is not None}
        for end in kept:
            if end.id not in told:
                self._tell(end)


async def recover(parts: Parts, containers: Containers, found: list[Known], *, complete: bool) -> None:
    """Make records and tasks agree, and undo what neither claims; idempotent.

    Args:
        parts: The services.
        containers: Told of ends that nobody was there to see.
        found: The tasks that the supervisor has.
        complete: Whether the records are all there. When a damaged file of records
            had to be set aside, what no record claims may be somebody's data: then
            nothing is undone.
    """
    tasks = {known.facts.id: known for known in found if not known.facts.container}
    for container in parts.records.all():
        if container.state.status in LIVE:
            await _settle(parts, containers, container, tasks.pop(container.id, None))
        else:
            known = tasks.pop(container.id, None)
            if known is not None:
                await _take_up(parts, containers, container, known)
            elif container.state.status == "exited" and container.host_config.auto_remove:
                await containers.runs.delete(container.id)  # its end was recorded, its removal not
    if not complete:
        return
    # recorded nowhere: the end of one that runs will be told, and forgotten then
    for identifier, known in tasks.items():
        with suppress(CortenError):
            await (parts.runtime.forget(identifier) if known.ended else parts.runtime.kill(identifier, 9))
    _sweep(parts, {known.facts.id for known in found})


async def _settle(parts: Parts, containers: Containers, container: Container, known: Known | None) -> None:
    """Bring a record that says the container lives in line with its task."""
    if known is not None and known.ended is None:
        _finish_pause(parts, container)
        return
    if container.state.status == "restarting":
        parts.records.put(replace(container, state=replace(container.state, status="exited")))
        if known is not None:  # its end was recorded, and no more
            await parts.runtime.forget(container.id)
        return
    if known is None:
        recover_log(parts.logs(container.id))
    ended = known.ended if known is not None else None
    containers.task_ended(ended or _exit_on_disk(parts, container) or Exit(container.id, None))


def _finish_pause(parts: Parts, container: Container) -> None:
    """Freeze or thaw as recorded: a daemon that died between the two left the processes otherwise."""
    path = parts.cgroup_path(container)
    with suppress(OSError):
        parts.groups.freeze(path) if container.state.status == "paused" else parts.groups.thaw(path)


async def _take_up(parts: Parts, containers: Containers, container: Container, known: Known) -> None:
    """A task whose start was not recorded before the daemon died: it runs, so it is running."""
    if known.ended is not None:
        containers.task_ended(known.ended)
        return
    state = replace(container.state, status="running", pid=known.pid, error="")
    parts.records.put(replace(container, state=state))


def _exit_on_disk(parts: Parts, container: Container) -> Exit | None:
    """Return the exit that a former supervisor wrote down before it died."""
    try:
        with open(f"{parts.run_folder(container.id)}/exit.json", "rb") as file:
            return msgspec.convert({"id": container.id, **json.load(file)}, Exit)
    except (OSError, ValueError, TypeError, msgspec.ValidationError):
        return None


def _sweep(parts: Parts, tasks: set[str]) -> None:
    """Remove snapshots, folders and cgroups that neither a record nor a task claims."""
    recorded = {container.id for container in parts.records.all()}
    committed = {s.key for s in parts.snapshots.walk() if s.kind == "committed"}
    viewed = {key for container in parts.records.all() for key in views(container)}
    recover_snapshots(parts.snapshots, recorded | committed | viewed)
    for folder, claimed in (
        (f"{parts.root}/containers", recorded),
        (f"{parts.run}/containers", tasks),
    ):
        with suppress(FileNotFoundError):
            for name in os.listdir(folder):
                if name not in claimed:
                    _drop(parts, f"{folder}/{name}")
    parts.groups.sweep(tasks)
    parts.empty_trash()


def _drop(parts: Parts, folder: str) -> None:
    """Remove a state or run directory that nobody claims; the supervisor may be about to do the same."""
    if folder.startswith(f"{parts.root}/"):
        parts.discard(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)


async def start_wanted(parts: Parts, containers: Containers) -> None:
    """Start the containers whose restart policy asks for it after the engine has started.

    Those that live in another one's network come last: it has to run before. What
    keeps one down is on its record, and keeps no other one down.
    """
    recorded = parts.records.all()
    for container in sorted(recorded, key=lambda c: bool(shared_with(c.host_config.network_mode))):
        if _is_wanted(container):
            with suppress(CortenError, OSError):
                await containers.start(container.id)


def _is_wanted(container: Container) -> bool:
    policy, state = container.host_config.restart_policy, container.state
    if state.status != "exited" or state.started_at == NEVER:
        return False
    if policy.name == "on-failure":
        exhausted = 0 < policy.maximum_retry_count <= container.restart_count
        return state.exit_code != 0 and not exhausted and not container.stopped_by_user
    return policy.name == "always" or (policy.name == "unless-stopped" and not container.stopped_by_user)
