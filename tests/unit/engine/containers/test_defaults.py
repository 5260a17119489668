"""How an image's configuration and the user's become one."""

import pytest

from corten.engine.containers.defaults import ImageDefaults, complete, merge
from corten.engine.records.config import (
    ContainerConfig,
    Healthcheck,
    HostConfig,
    LogConfig,
    RestartPolicy,
)
from corten.errors import CortenError, InvalidInput, Unsupported
from tests.unit.engine.containers.examples import HOST, ID

IMAGE = ImageDefaults(entrypoint=("/entry",), cmd=("serve",))


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "runs"),
    [
        (None, None, ("/entry", "serve")),
        (None, ("x",), ("/entry", "x")),
        (("/mine",), None, ("/mine",)),
        (("/mine",), ("x",), ("/mine", "x")),
        (("",), ("x",), ("x",)),
        ((), ("x",), ("x",)),
        ((), None, ("serve",)),
    ],
)
def test_entrypoint_and_command(
    entrypoint: tuple[str, ...] | None, cmd: tuple[str, ...] | None, runs: tuple[str, ...]
) -> None:
    """A given entrypoint sets the image's command aside; an empty one resets the image's."""
    merged = merge(IMAGE, ContainerConfig(entrypoint=entrypoint, cmd=cmd))
    assert (*(merged.entrypoint or ()), *(merged.cmd or ())) == runs


def test_nothing_to_run_is_refused() -> None:
    """Without any program the request is refused in Docker's words."""
    with pytest.raises(InvalidInput, match="no command specified"):
        merge(ImageDefaults(), ContainerConfig())


def test_the_users_values_win_by_name() -> None:
    """Environment, labels and ports are united; the user's come first and win."""
    image = ImageDefaults(
        cmd=("x",),
        env=("A=image", "B=image"),
        labels={"a": "image", "b": "image"},
        exposed_ports={"80/tcp": {}},
    )
    ours = ContainerConfig(env=("C=user", "A=user"), labels={"a": "user"}, exposed_ports={"81/tcp": {}})
    merged = merge(image, ours)
    assert merged.env == ("C=user", "A=user", "B=image")
    assert merged.labels == {"a": "user", "b": "image"}
    assert list(merged.exposed_ports or ()) == ["80/tcp", "81/tcp"]


def test_what_is_left_open_comes_from_the_image() -> None:
    """User, working folder, stop signal, volumes and health check are inherited."""
    image = ImageDefaults(
        cmd=("x",),
        user="www",
        working_dir="/srv",
        stop_signal="SIGQUIT",
        volumes={"/data": {}},
        healthcheck=Healthcheck(test=("CMD", "true"), interval=5, retries=2),
    )
    merged = merge(image, ContainerConfig(healthcheck=Healthcheck(interval=7)))
    assert (merged.user, merged.working_dir, merged.stop_signal) == ("www", "/srv", "SIGQUIT")
    assert merged.volumes == {"/data": {}}
    assert merged.healthcheck == Healthcheck(test=("CMD", "true"), interval=7, retries=2)


def test_defaults_are_filled_in_as_inspect_shows_them() -> None:
    """A request that says nothing is recorded with the engine's defaults."""
    config, host_config = complete(ID, ContainerConfig(cmd=("x",)), HostConfig(memory_swappiness=-1), HOST)
    assert config.hostname == ID[:12]
    assert host_config.network_mode == "bridge"
    assert host_config.ipc_mode == "private"
    assert host_config.cgroupns_mode == "host"
    assert host_config.log_config == LogConfig(type="json-file", config={})
    assert host_config.restart_policy == RestartPolicy(name="no")
    assert host_config.shm_size == 64 << 20
    assert host_config.memory_swappiness is None
    assert host_config.port_bindings == {}


def test_memory_alone_brings_as_much_swap() -> None:
    """``--memory`` alone limits memory and swap together to twice its value."""
    _, host_config = complete(ID, ContainerConfig(cmd=("x",)), HostConfig(memory=1 << 30), HOST)
    assert host_config.memory_swap == 2 << 30


def test_a_disabled_network_is_none() -> None:
    """NetworkDisabled leaves the loopback device alone."""
    _, host_config = complete(ID, ContainerConfig(cmd=("x",), network_disabled=True), HostConfig(), HOST)
    assert host_config.network_mode == "none"


@pytest.mark.parametrize(
    ("wish", "kind", "line"),
    [
        (HostConfig(log_config=LogConfig(type="syslog")), Unsupported, "log driver syslog"),
        (HostConfig(restart_policy=RestartPolicy(name="odd")), InvalidInput, "unknown policy 'odd'"),
        (
            HostConfig(restart_policy=RestartPolicy(name="always", maximum_retry_count=1)),
            InvalidInput,
            "maximum retry count can only be used with 'on-failure'",
        ),
        (
            HostConfig(restart_policy=RestartPolicy(name="on-failure", maximum_retry_count=-1)),
            InvalidInput,
            "cannot be negative",
        ),
        (
            HostConfig(auto_remove=True, restart_policy=RestartPolicy(name="always")),
            InvalidInput,
            "can't create 'AutoRemove' container with restart policy",
        ),
        (HostConfig(cgroupns_mode="odd"), InvalidInput, "cgroup namespace mode"),
    ],
)
def test_contradictions_are_refused(wish: HostConfig, kind: type[CortenError], line: str) -> None:
    """Each contradiction is refused in Docker's words."""
    with pytest.raises(kind, match=line):
        complete(ID, ContainerConfig(), wish, HOST)
