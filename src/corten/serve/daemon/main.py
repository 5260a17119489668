"""The daemon: build the parts, build the engine, open the doors, in that order.

This is the composition root: the only place that knows every part. It may
die or be replaced at any time; containers are the supervisor's.
"""

import asyncio
import fcntl
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

import corten
from corten.core.content.local import LocalContentStore
from corten.core.distribution.registries import Registries
from corten.core.layers.index import index
from corten.core.runtime.groups import Groups
from corten.core.runtime.runtime import Known, Runtime
from corten.core.snapshots import erofs, overlay
from corten.core.snapshots.copy import CopySnapshotter
from corten.core.snapshots.erofs import ErofsSnapshotter
from corten.core.snapshots.overlay import OverlaySnapshotter
from corten.core.snapshots.snapshotter import Snapshotter
from corten.engine import recovery
from corten.engine.containers.mounting.service import Mounting, volumes_of
from corten.engine.containers.parts import Parts, is_up
from corten.engine.containers.service import Containers
from corten.engine.engine import Engine
from corten.engine.events import Events
from corten.engine.images import bootstrap
from corten.engine.images.remove import User
from corten.engine.images.service import Images
from corten.engine.images.stores import Stores
from corten.engine.networks.fabric import Fabric
from corten.engine.records.container import Container
from corten.engine.records.containers import ContainerRepository
from corten.engine.records.database import Database
from corten.engine.records.images import ImageRepository
from corten.engine.records.networks import NetworkRepository
from corten.engine.records.volumes import VolumeRepository
from corten.engine.system import System
from corten.engine.volumes.service import Volumes
from corten.engine.volumes.shared import User as VolumeUser
from corten.errors import Conflict, CortenError, Forbidden, Unavailable
from corten.serve.api.app import Door
from corten.serve.api.app import serve as open_api
from corten.serve.daemon import facts, networks, supervisor
from corten.serve.daemon.registries import read as read_registries
from corten.serve.daemon.settings import Settings, parse

SOCKET = "corten.sock"
LOCK = "daemon.lock"
IDLE_STEP = 1.0  # seconds between two looks at whether anybody needs the engine

log = logging.getLogger("corten")


def main(argv: list[str]) -> int:
    """Run the daemon; returns the exit status."""
    settings = parse(argv)
    level = logging.DEBUG if settings.debug else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        asyncio.run(serve(settings))
    except (CortenError, OSError) as failure:
        sys.stderr.write(f"corten daemon: {failure}\n")
        return 1
    return 0


async def serve(settings: Settings) -> None:
    """Be the engine until told to stop, or until nobody needs it any more."""
    async with AsyncExitStack() as stack:
        prepare(settings, stack)
        built = await build(settings, stack)
        found = await settle(built, stack)
        door = await open_api(built.engine, f"{settings.run}/{SOCKET}")
        stack.push_async_callback(door.close)
        await recovery.resume_names(built.parts, found)
        await recovery.start_wanted(built.parts, built.engine.containers)
        log.info("ready at %s/%s", settings.run, SOCKET)
        await until_stopped(settings, built.parts, door)


def prepare(settings: Settings, stack: AsyncExitStack) -> None:
    """Make the directories and be the only daemon on them.

    Raises:
        Forbidden: not root.
        Conflict: another daemon has them.
        Unavailable: one cannot be made or written to.
    """
    if os.geteuid() != 0:
        raise Forbidden("the engine needs root: run it with sudo")
    for folder in (settings.root, settings.run):
        try:
            os.makedirs(folder, 0o711, exist_ok=True)
            take_lock(folder, stack)
        except OSError as failure:
            reason = (
                "it is not a folder"
                if os.path.exists(folder) and not os.path.isdir(folder)
                else failure.strerror
            )
            raise Unavailable(
                f"cannot use {folder}: {reason}: move it away, or choose another --root and --run"
            ) from None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    log.debug("descriptors: %d, now %d", soft, hard)


def take_lock(folder: str, stack: AsyncExitStack) -> None:
    """Lock *folder* for this process; the file names it."""
    lock = os.open(f"{folder}/{LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(lock, 32).decode().strip()
        raise Conflict(
            f"another corten daemon (process {owner}) uses {folder}: stop it first, or choose another --root and --run"
        ) from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())


@dataclass(frozen=True)
class Records:
    """The one database, and a repository for each noun in it."""

    database: Database
    containers: ContainerRepository
    images: ImageRepository
    networks: NetworkRepository
    volumes: VolumeRepository

    @property
    def notes(self) -> list[str]:
        """What had to be set aside to read them, in full sentences; empty when all is well."""
        nouns = (self.database, self.containers, self.networks, self.volumes)
        return [note for noun in nouns for note in noun.notes]


def open_records(root: str, stack: AsyncExitStack) -> Records:
    """Open the database below *root*."""
    database = Database(f"{root}/engine.db")
    stack.callback(database.close)
    return Records(
        database,
        ContainerRepository(database),
        ImageRepository(database),
        NetworkRepository(database),
        VolumeRepository(database),
    )


@dataclass(frozen=True)
class Built:
    """What recovery needs of what was built."""

    records: Records
    parts: Parts
    runtime: Runtime
    fabric: Fabric
    groups: Groups
    volumes: Volumes
    engine: Engine


async def build(settings: Settings, stack: AsyncExitStack) -> Built:
    """Build the parts, then the engine; nothing is touched of what runs already."""
    root = settings.root
    records, events = open_records(root, stack), Events()
    groups = Groups(settings.tag)
    host = facts.find_host(settings, groups)
    janitor = ThreadPoolExecutor(1, "janitor")
    stack.callback(janitor.shutdown, wait=False, cancel_futures=True)
    driver, snapshots = snapshotter(root, janitor)
    content = LocalContentStore(f"{root}/content", janitor)
    images = build_images(settings, Stores(content, snapshots, records.images), records, events, stack)
    volumes = build_volumes(root, records, events, janitor)
    stack.push_async_callback(volumes.close)
    locks: dict[str, asyncio.Lock] = {}
    net = networks.build(
        settings,
        records.networks,
        records.containers,
        events,
        lambda key: locks.setdefault(key, asyncio.Lock()),
        stack,
    )
    await asyncio.to_thread(net.networks.establish, settings.bridge)
    runtime = Runtime(settings.run, supervisor_command(settings))
    stack.callback(runtime.close)
    parts = Parts(
        root=root,
        run=settings.run,
        host=host,
        groups=groups,
        records=records.containers,
        images=images,
        snapshots=snapshots,
        runtime=runtime,
        attachments=net.attachments,
        live=net.live,
        mounting=Mounting(snapshots, images, volumes, records.containers, host),
        events=events,
        snapshotter=driver,
        locks=locks,
    )
    parts.on_removed.append(_collector(images, records.images))
    containers = Containers(parts)
    stack.push_async_callback(containers.runs.close)
    engine = Engine(
        containers=containers,
        execs=containers.execs,
        images=images,
        networks=net.networks,
        volumes=volumes,
        events=events,
        system=System(
            facts.find_facts(settings, groups, driver),
            host,
            records.containers,
            records.images,
            records.volumes,
            snapshots,
        ),
    )
    return Built(records, parts, runtime, net.fabric, groups, volumes, engine)


def build_images(
    settings: Settings, stores: Stores, records: Records, events: Events, stack: AsyncExitStack
) -> Images:
    """Build images, and what fetches them."""
    registries = Registries(read_registries(settings, _proxies()))
    stack.push_async_callback(registries.close)
    images = Images(
        stores,
        f"{settings.root}/images",
        lambda image: [User(c.id, is_up(c)) for c in records.containers.all() if c.image_id == image],
        events.publish,
        bootstrap.Machine(environment=_proxies()),
        registries,
    )
    stack.callback(images.remote.close)
    return images


def build_volumes(root: str, records: Records, events: Events, janitor: ThreadPoolExecutor) -> Volumes:
    """Build volumes; a container uses those that its record names."""

    def users(name: str) -> list[VolumeUser]:
        found = [c for c in records.containers.all() if name in volumes_of(c)]
        return [VolumeUser(c.id, c.name, is_up(c)) for c in found]

    return Volumes(records.volumes, f"{root}/volumes", users, events.publish, janitor)


async def settle(built: Built, stack: AsyncExitStack) -> list[Known]:
    """Bring records, kernel and what runs in line; returns the tasks that were there."""
    records, parts, containers = built.records, built.parts, built.engine.containers
    notes = records.notes
    for note in notes:
        log.warning("%s", note)
    ends = recovery.Ends(containers.task_ended)
    found = await built.runtime.open(ends)
    stack.push_async_callback(dismiss, built.runtime, built.fabric, built.groups)
    for line in built.volumes.recover(complete=not notes):
        log.warning("%s", line)
    tasks = {known.facts.id for known in found}  # also of one whose start was not recorded
    users = [c for c in records.containers.all() if c.state.status in recovery.LIVE or c.id in tasks]
    await built.volumes.reconcile({c.id: volumes_of(c) for c in users})
    await asyncio.to_thread(recovery.adopt_networks, parts, records.networks.all(), found)
    built.fabric.fill()
    recovery.announce_names(parts, found)
    await recovery.recover(parts, containers, found, complete=not notes)
    ends.release(found)
    if not notes:
        built.engine.images.recover()  # now that no tree of an unrecorded container holds a layer
    return found


def snapshotter(root: str, janitor: ThreadPoolExecutor) -> tuple[str, Snapshotter]:
    """Return the snapshotter that works here, and its name."""
    folder = f"{root}/snapshots"
    os.makedirs(folder, 0o700, exist_ok=True)
    if erofs.probe(folder, index):
        return "erofs", ErofsSnapshotter(f"{folder}/overlay", janitor)
    if any(os.path.exists(f"{entry.path}/layer") for entry in _entries(f"{folder}/overlay")):
        raise Unavailable(
            f"{folder} holds layers that this kernel cannot mount (erofs, Linux 6.15): boot the newer kernel, "
            f"or run 'corten system reset' and fetch the images again"
        )
    if overlay.probe(folder):
        return "overlay", OverlaySnapshotter(f"{folder}/overlay", janitor)
    log.warning("overlay does not work on %s: copying instead, which is slow", folder)
    return "copy", CopySnapshotter(f"{folder}/copy", janitor)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """Return what is in *folder*, nothing where there is none."""
    with suppress(FileNotFoundError):
        return list(os.scandir(folder))
    return []


def supervisor_command(settings: Settings) -> list[str]:
    """Return how to start the supervisor of this engine."""
    library = os.path.dirname(os.path.dirname(os.path.abspath(corten.__file__)))
    return supervisor.command(sys.executable, library, settings.run, settings.tag)


def _collector(images: Images, records: ImageRepository) -> Callable[[Container], None]:
    """Return what frees the image of a removed container, when the image was removed before it."""
    under_way: set[asyncio.Task[None]] = set()

    def collect(container: Container) -> None:
        if all(image.id != container.image_id for image in records.all()):
            task = asyncio.get_running_loop().create_task(images.collect())
            under_way.add(task)
            task.add_done_callback(under_way.discard)

    return collect


def _proxies() -> dict[str, str]:
    """Return the proxy settings of the environment, which programs that download need."""
    return {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}


async def dismiss(runtime: Runtime, fabric: Fabric, groups: Groups) -> None:
    """End the supervisor and give the kernel back what was made for containers, unless some are left."""
    with suppress(CortenError, OSError):
        await runtime.quit()
        await asyncio.to_thread(fabric.vanish)
        groups.remove()


async def until_stopped(settings: Settings, parts: Parts, door: Door) -> None:
    """Wait for SIGTERM or SIGINT, or until the engine has been of no use for the time set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    idle_since = loop.time()
    while not stop.is_set():
        if door.busy or any(is_up(c) or c.state.status == "restarting" for c in parts.records.all()):
            idle_since = loop.time()
        elif settings.idle_exit and loop.time() - idle_since > settings.idle_exit:
            log.info("nobody has needed the engine for %g seconds: leaving", settings.idle_exit)
            break
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), IDLE_STEP if settings.idle_exit else None)
