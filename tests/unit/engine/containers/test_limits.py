"""Limits of containers that exist: what may change, and what the cgroup is told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.engine.containers.limits import (
    CHANGEABLE,
    NO_SWAP,
    NO_WEIGHT,
    Kernel,
    difference,
    relimited,
    warnings,
)
from corten.engine.records.config import DeviceMapping, HostConfig, Resources, ThrottleDevice
from corten.errors import Conflict, CortenError, InvalidInput, Unsupported
from tests.unit.engine.containers.examples import HOST

MB = 1 << 20
LIMITED = HostConfig(memory=300 * MB, memory_swap=600 * MB)


@pytest.mark.parametrize(
    ("current", "wish", "changes"),
    [
        ({}, {"memory": 100 * MB}, {"memory": 100 * MB, "memory_swap": 200 * MB}),
        ({"memory_swap": -1}, {"memory": 100 * MB}, {"memory": 100 * MB, "memory_swap": -1}),
        (
            {"memory": 300 * MB, "memory_swap": 600 * MB},
            {"memory": 500 * MB},
            {"memory": 500 * MB, "memory_swap": 600 * MB},
        ),
        (
            {"memory": 300 * MB, "memory_swap": 600 * MB},
            {"memory_swap": -1},
            {"memory": 300 * MB, "memory_swap": -1},
        ),
        ({"nano_cpus": 10**9}, {"nano_cpus": 5 * 10**8}, {"nano_cpus": 5 * 10**8}),
        (
            {"cpu_quota": 20_000, "cpu_period": 50_000},
            {"cpu_quota": -1},
            {"cpu_quota": -1, "cpu_period": 50_000},
        ),
        ({"pids_limit": 10}, {"pids_limit": -1}, {"pids_limit": None}),
        ({"pids_limit": 10}, {"pids_limit": 0}, {"pids_limit": None}),
        ({}, {"pids_limit": 20}, {"pids_limit": 20}),
        ({"cpu_shares": 5}, {"cpuset_cpus": "1"}, {"cpu_shares": 5, "cpuset_cpus": "1"}),
        ({"pids_limit": 10}, {}, {"pids_limit": 10}),
    ],
)
def test_what_is_given_changes_and_the_rest_stays(
    current: dict[str, Any], wish: dict[str, Any], changes: dict[str, Any]
) -> None:
    """A limit left at its default stays; memory and swap follow Docker's rules."""
    assert relimited(HostConfig(**current), Resources(**wish), HOST) == HostConfig(**changes)


@pytest.mark.parametrize(
    ("current", "wish", "kind", "line"),
    [
        (LIMITED, {"memory": 700 * MB}, Conflict, "update the memoryswap at the same time"),
        (LIMITED, {"memory_swap": 200 * MB}, InvalidInput, "Minimum memoryswap limit should be larger"),
        (HostConfig(), {"memory_swap": 200 * MB}, InvalidInput, "always set the Memory limit"),
        (LIMITED, {"memory": MB}, InvalidInput, "Minimum memory limit allowed is 6MB"),
        (LIMITED, {"memory_reservation": 400 * MB}, InvalidInput, "memory reservation limit"),
        (
            HostConfig(cpu_quota=10_000),
            {"nano_cpus": 10**9},
            Conflict,
            "Nano CPUs cannot be updated as CPU Quota has already been set",
        ),
        (
            HostConfig(cpu_period=10_000),
            {"nano_cpus": 10**9},
            Conflict,
            "Nano CPUs cannot be updated as CPU Period has already been set",
        ),
        (
            HostConfig(nano_cpus=10**9),
            {"cpu_period": 10_000},
            Conflict,
            "CPU Period cannot be updated as NanoCPUs has already been set",
        ),
        (
            HostConfig(nano_cpus=10**9),
            {"cpu_quota": 10_000},
            Conflict,
            "CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
        (HostConfig(), {"nano_cpus": 10**10}, InvalidInput, "range of CPUs is from 0.01 to 2.00"),
        (HostConfig(), {"cpuset_cpus": "7"}, InvalidInput, "Requested CPUs are not available"),
        (HostConfig(), {"blkio_weight": 9}, InvalidInput, "Range of blkio weight is from 10 to 1000"),
        (HostConfig(), {"cpu_realtime_runtime": 1000}, Unsupported, "real-time"),
        (HostConfig(), {"cgroup_parent": "/else"}, InvalidInput, "cgroup parent cannot be changed"),
        (
            HostConfig(),
            {"devices": (DeviceMapping(path_on_host="/dev/fuse"),)},
            InvalidInput,
            "devices cannot",
        ),
        (HostConfig(), {"oom_kill_disable": True}, InvalidInput, "oom kill disable cannot be changed"),
    ],
)
def test_what_cannot_be_is_refused(
    current: HostConfig, wish: dict[str, Any], kind: type[CortenError], line: str
) -> None:
    """Docker's words, also for what contradicts an earlier limit; nothing is dropped in silence."""
    with pytest.raises(kind, match=line):
        relimited(current, Resources(**wish), HOST)


def test_limits_of_devices_stay() -> None:
    """What cannot change is kept as it is, also of a device that is gone by now."""
    gone = ThrottleDevice(path="/dev/gone", rate=5)
    current = HostConfig(blkio_device_read_bps=(gone,))
    assert relimited(current, Resources(cpu_shares=7), HOST).blkio_device_read_bps == (gone,)


@pytest.mark.parametrize(
    ("now", "then", "told"),
    [
        ({}, {}, {}),
        (
            {},
            {"memory": 100, "memory_swap": 200},
            {"memory": {"limit": 100, "swap": 200, "checkBeforeUpdate": True}},
        ),
        (
            {"memory": 100, "memory_swap": 200},
            {},
            {"memory": {"limit": -1, "swap": -1, "checkBeforeUpdate": True}},
        ),
        ({"memory_reservation": 5}, {}, {"memory": {"reservation": -1}}),
        ({}, {"nano_cpus": 5 * 10**8}, {"cpu": {"quota": 50_000, "period": 100_000}}),
        (
            {"cpu_quota": 1000, "cpu_period": 2000},
            {"cpu_quota": 1000},
            {"cpu": {"quota": 1000, "period": 100_000}},
        ),
        ({"cpu_shares": 2}, {"cpu_shares": 3, "cpuset_cpus": "1"}, {"cpu": {"shares": 3, "cpus": "1"}}),
        ({"cpuset_cpus": "1", "cpuset_mems": "0"}, {}, {"cpu": {"cpus": "0-1"}}),
        ({"pids_limit": 7}, {}, {"pids": {"limit": -1}}),
        ({}, {"pids_limit": 7, "blkio_weight": 300}, {"pids": {"limit": 7}, "blockIO": {"weight": 300}}),
    ],
)
def test_the_cgroup_is_told_what_differs(
    now: dict[str, Any], then: dict[str, Any], told: dict[str, Any]
) -> None:
    """Only what differs is written; a limit that is there no more is lifted."""
    assert difference(HostConfig(**now), HostConfig(**then), HOST) == told


WISHES = st.fixed_dictionaries(
    {},
    optional={
        "memory": st.integers(6 * MB, 1 << 40),
        "cpu_shares": st.integers(2, 1 << 18),
        "cpu_quota": st.integers(1000, 10**6),
        "pids_limit": st.integers(1, 1000),
        "blkio_weight": st.integers(10, 1000),
    },
)


@given(WISHES, WISHES)
def test_the_way_back_undoes_the_way_there(now: dict[str, int], then: dict[str, int]) -> None:
    """What one way writes is written by the way back too, so that nothing of a change is left."""
    one, other = HostConfig(**now), HostConfig(**then)  # type: ignore[arg-type]
    there, back = difference(one, other, HOST), difference(other, one, HOST)
    assert {key: set(value) for key, value in there.items()} == {key: set(v) for key, v in back.items()}


def test_only_limits_can_change() -> None:
    """The list holds names of limits, nothing else."""
    assert set(Resources.__struct_fields__) > CHANGEABLE


def test_warnings() -> None:
    """What the kernel cannot limit is said, in Docker's words, and only when it was asked for."""
    nothing = Kernel(swap=False, weight=False)
    asked = Resources(memory=100 * MB, blkio_weight=20)
    assert warnings(asked, nothing) == [NO_SWAP, NO_WEIGHT]
    assert warnings(asked, Kernel()) == []
    assert warnings(Resources(pids_limit=3), nothing) == []
