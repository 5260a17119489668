"""Container: what is recorded of a container, whether it runs or not."""

import msgspec

from corten.engine.records.config import ContainerConfig, EndpointSettings, HostConfig

NEVER = "0001-01-01T00:00:00Z"  # Docker's way to say that something has not happened


class State(msgspec.Struct, frozen=True):
    """Where a container stands in its life.

    ``status`` is one of created, running, paused, restarting, exited, dead,
    removing; times are RFC 3339 with nanoseconds, or ``NEVER``. ``unknown``
    means that the exit happened while nobody could see its code.
    """

    status: str = "created"
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: str = NEVER
    finished_at: str = NEVER
    unknown: bool = False


class MountPoint(msgspec.Struct, frozen=True):
    """One mount of a container: what ``inspect`` shows, and what a start needs to make it again.

    ``source`` is a path on the host for binds, the mountpoint for volumes and
    the id for images; ``name`` and ``driver`` are those of a volume.
    ``subpath`` leads into a volume or image; ``options`` are those of mount(8).
    """

    type: str
    source: str
    destination: str
    mode: str = ""
    rw: bool = True
    propagation: str = "rprivate"
    name: str = ""
    driver: str = ""
    subpath: str = ""
    options: tuple[str, ...] = ()
    no_copy: bool = False
    create_source: bool = False
    listed: bool = True


class Published(msgspec.Struct, frozen=True, order=True):
    """One port of a container as it is published now; *host_ip* is never empty."""

    protocol: str
    container_port: int
    host_ip: str
    host_port: int


class Endpoint(msgspec.Struct, frozen=True):
    """The attachment of a container to one network; the facts are empty while it does not run.

    ``wishes`` is what the user asked for; ``names`` are those by which others
    on the network find it.
    """

    network: str
    network_id: str = ""
    endpoint_id: str = ""
    address: str = ""
    prefix: int = 0
    gateway: str = ""
    mac: str = ""
    host_link: str = ""
    interface: str = "eth0"
    address6: str = ""
    prefix6: int = 0
    gateway6: str = ""
    names: tuple[str, ...] = ()
    wishes: EndpointSettings | None = None


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded container. Change it by ``msgspec.structs.replace`` and ``put``."""

    id: str
    name: str
    created: str
    image_id: str
    config: ContainerConfig
    host_config: HostConfig
    path: str
    args: tuple[str, ...]
    snapshotter: str
    state: State = State()
    mounts: tuple[MountPoint, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    published: tuple[Published, ...] = ()
    restart_count: int = 0
    stopped_by_user: bool = False
