"""Creating, renaming and removing containers: the verbs that change which ones there are."""

import os
import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress

from msgspec.structs import replace

from corten.core.snapshots.snapshotter import Snapshotter
from corten.engine.containers import defaults
from corten.engine.containers.lifecycle import Lifecycle, signal_number
from corten.engine.containers.parts import Parts, files_of, is_up, timestamp
from corten.engine.containers.runs import Runs
from corten.engine.containers.spec import build_spec
from corten.engine.networks.wishes import shared_with
from corten.engine.records import names
from corten.engine.records.config import ContainerConfig, EndpointSettings, HostConfig
from corten.engine.records.config import Healthcheck as HealthConfig
from corten.engine.records.container import Container
from corten.engine.records.images import Image
from corten.errors import Conflict, InvalidInput, NotFound
from corten.oci.image import Defaults


class Registry:
    """Which containers there are."""

    def __init__(self, parts: Parts, lifecycle: Lifecycle, runs: Runs) -> None:
        self._parts, self._lifecycle, self._runs = parts, lifecycle, runs

    def get(self, ref: str) -> Container:
        """Return the record; NotFound where there is none."""
        return self._parts.records.find(ref)

    def list(self) -> list[Container]:
        """Return all records."""
        return self._parts.records.all()

    async def create(
        self,
        config: ContainerConfig,
        host_config: HostConfig,
        name: str | None,
        networks: dict[str, EndpointSettings | None],
    ) -> tuple[Container, Sequence[str]]:
        """Record a new container on a snapshot of its own; returns it with warnings.

        Everything that can be refused is refused before anything is made. The
        insert into the records is the moment from which it exists.

        Raises:
            NotFound: the image, a network or a device.
            Conflict: the name is taken.
            InvalidInput, Unsupported: a wish that cannot be.
        """
        parts = self._parts
        image = parts.images.resolve(config.image)
        identifier = secrets.token_hex(32)
        merged = defaults.merge(
            image_defaults(parts.images.config(image).fields.config or Defaults()), config
        )
        merged, completed = defaults.complete(identifier, merged, host_config, parts.host)
        merged = self._with_shared_name(merged, completed)
        signal_number(merged.stop_signal or "SIGTERM")
        container = Container(
            id=identifier,
            name=self._name(name),
            created=timestamp(),
            image_id=str(image.id),
            config=replace(merged, image=config.image),
            host_config=completed,
            path="",
            args=(),
            snapshotter=parts.snapshotter,
        )
        container = replace(container, endpoints=parts.attachments.plan(container, networks))
        container = self._with_program(container)
        await self._make(container, image)
        parts.tell("create", container)
        return container, _warnings(completed)

    def _with_shared_name(self, config: ContainerConfig, host_config: HostConfig) -> ContainerConfig:
        """Return *config* with the names of the container whose network it shares, if it does: they go together."""
        other = shared_with(host_config.network_mode)
        if not other:
            return config
        owner = self._parts.records.find(other).config
        return replace(config, hostname=owner.hostname, domainname=owner.domainname)

    def _with_program(self, container: Container) -> Container:
        """Return the record with the program it runs; refuses, with the Spec, what cannot be."""
        parts = self._parts
        spec = build_spec(
            container.id,
            container.config.hostname,
            container.config,
            container.host_config,
            "/",
            files_of(parts, container.id),
            parts.host,
            wanted=parts.mounting.plan(container.config, container.host_config),
        )
        return replace(container, path=spec.process.args[0], args=tuple(spec.process.args[1:]))

    async def _make(self, container: Container, image: Image) -> None:
        """Make the container's volumes, root and folder, and record it: all of it, or nothing."""
        parts = self._parts
        points = await parts.mounting.create(container.id, container.config, container.host_config)
        container = replace(container, mounts=points)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(parts.mounting.abandon, container.id)
            _make_root(parts.snapshots, container, image)
            undo.callback(parts.snapshots.remove, container.id)
            os.makedirs(parts.folder(container.id), 0o700)
            undo.callback(parts.discard, parts.folder(container.id))
            await parts.mounting.fill(container)
            parts.records.put(container)
            undo.pop_all()
        parts.mounting.keep(container.id)

    def _name(self, wanted: str | None) -> str:
        """Check a name, or find a free one."""
        if wanted:
            return names.valid(wanted.removeprefix("/"))
        return names.generate(self._parts.records.has_name)

    async def rename(self, ref: str, name: str) -> None:
        """Give a container another name.

        Raises:
            InvalidInput: the name is empty or malformed.
            Conflict: another container has it.
        """
        if not name:
            raise InvalidInput("Neither old nor new names may be empty")
        parts = self._parts
        identifier = parts.records.find(ref).id
        wanted = names.valid(name.removeprefix("/"))
        async with parts.lock(identifier):
            container = parts.records.get(identifier)
            if wanted == container.name:
                raise InvalidInput("Renaming a container with the same name as its current name")
            former = container.name
            container = parts.live.renamed(replace(container, name=wanted))
            parts.records.put(container)
            parts.live.announce(container)
        parts.tell("rename", container, oldName=f"/{former}")

    async def remove(self, ref: str, force: bool, volumes: bool) -> None:
        """Remove a container; with *force* it is killed first, with *volumes* its anonymous volumes go too.

        Raises:
            Conflict: it runs, and *force* is not given.
        """
        identifier, gone = self._parts.records.find(ref).id, False
        while not gone:  # somebody, or its policy, may start it before its turn comes
            with suppress(NotFound):  # somebody else removed it
                container = self._parts.records.get(identifier)
                if is_up(container) or container.state.status == "restarting":
                    if not force:
                        raise Conflict(
                            f'cannot remove container "{container.name}": container is {container.state.status}: '
                            "stop the container before removing or force remove"
                        )
                    await self._lifecycle.force_down(identifier)
            gone = await self._runs.delete(identifier, volumes=volumes)


def _make_root(snapshots: Snapshotter, container: Container, image: Image) -> None:
    try:
        snapshots.prepare(container.id, image.chain_id)
    except NotFound:  # removed since it was resolved
        raise NotFound("image", container.config.image) from None


def image_defaults(given: Defaults) -> defaults.ImageDefaults:
    """Return what an image says, in the words of a create request."""
    health = given.healthcheck
    return defaults.ImageDefaults(
        env=given.env,
        cmd=given.cmd,
        entrypoint=given.entrypoint,
        working_dir=given.working_dir or "",
        user=given.user or "",
        stop_signal=given.stop_signal or "",
        labels=given.labels,
        volumes=given.volumes,
        exposed_ports=given.exposed_ports,
        healthcheck=None
        if health is None
        else HealthConfig(
            test=health.test,
            interval=health.interval,
            timeout=health.timeout,
            start_period=health.start_period,
            retries=health.retries,
        ),
        shell=given.shell,
    )


def _warnings(host_config: HostConfig) -> list[str]:
    """Return what the user should know of wishes that were passed over."""
    if host_config.oom_kill_disable and not host_config.memory:
        return [
            "OOM killer is disabled for the container, but no memory limit is set; this may hang the host."
        ]
    return []
