"""Container: what is recorded of a container, whether it runs or not."""

import msgspec

from corten.engine.records.config import ContainerConfig, HostConfig

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
    """One mount that the user asked for, as ``inspect`` shows it."""

    type: str
    source: str
    destination: str
    mode: str = ""
    rw: bool = True
    propagation: str = "rprivate"


class Endpoint(msgspec.Struct, frozen=True):
    """The attachment of a container to one network; empty strings while it does not run."""

    network: str
    network_id: str = ""
    endpoint_id: str = ""
    address: str = ""
    prefix: int = 0
    gateway: str = ""
    mac: str = ""
    host_link: str = ""


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
    restart_count: int = 0
    stopped_by_user: bool = False
