"""Parts: what every verb on containers works with, and the small things they share."""

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from corten.core.logs.reader import Follow
from corten.core.runtime.groups import Groups
from corten.core.runtime.runtime import Runtime
from corten.core.snapshots.snapshotter import Snapshotter
from corten.engine.containers.host import Files, Host
from corten.engine.containers.mounting.service import Mounting
from corten.engine.events import Events
from corten.engine.images.derive import Step, Write
from corten.engine.networks.attachments import Attachments
from corten.engine.networks.live import Live
from corten.engine.records.container import Container
from corten.engine.records.containers import ContainerRepository
from corten.engine.records.images import Image
from corten.oci.image import ImageConfig


class ImageSource(Protocol):
    """What containers need of images."""

    def resolve(self, name: str) -> Image:
        """Return the image that *name* means; NotFound in Docker's words."""
        ...

    def config(self, image: Image) -> ImageConfig:
        """Return the image's configuration."""
        ...

    async def derive(self, parent: Image, step: Step, write: Write, name: str | None) -> Image:
        """Make an image of *parent* and the layer that *write* gives."""
        ...


@dataclass(frozen=True)
class Parts:
    """The services and facts behind the verbs; made once by the composition root.

    ``root`` and ``run`` are the engine's state and run directories, ``groups``
    its cgroups, ``attachments`` what ties containers to networks for a run and
    ``live`` what changes that while they live, ``mounting`` their volumes and
    other mounts.
    """

    root: str
    run: str
    host: Host
    groups: Groups
    records: ContainerRepository
    images: ImageSource
    snapshots: Snapshotter
    runtime: Runtime
    attachments: Attachments
    live: Live
    mounting: Mounting
    events: Events
    snapshotter: str = "overlay"
    locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    followers: dict[str, set[Follow]] = field(default_factory=dict)
    on_removed: list[Callable[[Container], None]] = field(default_factory=list)

    def lock(self, container: str) -> asyncio.Lock:
        """Return the lock that orders the moves of one container."""
        return self.locks.setdefault(container, asyncio.Lock())

    def folder(self, container: str) -> str:
        """Return the container's state directory."""
        return f"{self.root}/containers/{container}"

    def logs(self, container: str) -> str:
        """Return the container's log directory."""
        return f"{self.folder(container)}/logs"

    def run_folder(self, container: str) -> str:
        """Return the container's run directory."""
        return f"{self.run}/containers/{container}"

    def cgroup_path(self, container: Container) -> str:
        """Return the path of the container's cgroup below each hierarchy."""
        parent = (container.host_config.cgroup_parent or self.host.cgroup_parent).strip("/")
        return f"{parent}/{container.id}"

    def tell(self, action: str, container: Container, **attributes: str) -> None:
        """Publish an event about a container, with the attributes that Docker gives it."""
        facts = {**(container.config.labels or {}), "image": container.config.image, "name": container.name}
        self.events.publish("container", action, container.id, {**facts, **attributes})

    def wake_followers(self, container: str) -> None:
        """Have those who follow the container's log look whether it goes on."""
        for follow in self.followers.get(container, ()):
            follow.wake()

    def discard(self, folder: str) -> None:
        """Take a folder out of sight at once and unlink it in the background; idempotent."""
        trash = f"{self.root}/trash"
        os.makedirs(trash, 0o700, exist_ok=True)
        place = f"{trash}/{os.path.basename(folder)}-{time.time_ns()}"
        with suppress(FileNotFoundError):
            os.rename(folder, place)
            _unlink_later(place)

    def empty_trash(self) -> None:
        """Unlink, in the background, what a daemon that died did not get to."""
        with suppress(FileNotFoundError):
            for entry in os.scandir(f"{self.root}/trash"):
                _unlink_later(entry.path)


def _unlink_later(place: str) -> None:
    asyncio.get_running_loop().run_in_executor(None, lambda: shutil.rmtree(place, ignore_errors=True))


def timestamp(nanoseconds: int | None = None) -> str:
    """Return a time, the present one by default, as RFC 3339 with nanoseconds."""
    nanoseconds = time.time_ns() if nanoseconds is None else nanoseconds
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def is_up(container: Container) -> bool:
    """Tell whether the container has a process."""
    return container.state.status in ("running", "paused")


def files_of(parts: Parts, identifier: str) -> Files:
    """Return where the files are that the engine writes for a container."""
    folder = parts.folder(identifier)
    return Files(hosts=f"{folder}/hosts", hostname=f"{folder}/hostname", resolv_conf=f"{folder}/resolv.conf")
