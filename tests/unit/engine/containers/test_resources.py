"""Limits: Docker's checks in Docker's words, and the values that come out."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.engine.containers.resources import numbers, resources, updated
from corten.engine.records.config import HostConfig, Resources, ThrottleDevice, WeightDevice
from corten.errors import CortenError, InvalidInput, NotFound, Unsupported
from corten.oci.spec import BlockIo, Cpu, Memory, Pids
from corten.oci.spec import ThrottleDevice as Throttle
from corten.oci.spec import WeightDevice as Weight
from tests.unit.engine.containers.examples import HOST, find


@pytest.mark.parametrize(
    ("wish", "line"),
    [
        ({"memory": 6 * 2**20 - 1}, "Minimum memory limit allowed is 6MB"),
        ({"memory": -1}, "memory limits are bytes"),
        ({"memory": 2**30, "memory_swap": 2**29}, "Minimum memoryswap limit should be larger"),
        ({"memory_swap": 2**30}, "You should always set the Memory limit"),
        ({"memory_swappiness": 101}, "valid memory swappiness range is 0-100"),
        ({"memory_reservation": 5}, "Minimum memory reservation allowed is 6MB"),
        ({"memory": 2**23, "memory_reservation": 2**24}, "can not be less than memory reservation"),
        ({"nano_cpus": 1, "cpu_period": 1000}, "Nano CPUs and CPU Period"),
        ({"nano_cpus": 1, "cpu_quota": 1000}, "Nano CPUs and CPU Quota"),
        ({"nano_cpus": 2_000_000_001}, "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs"),
        ({"nano_cpus": 9_999_999}, "range of CPUs"),
        ({"cpu_shares": -1}, "invalid CPU shares"),
        ({"cpu_period": 999}, "CPU cfs period"),
        ({"cpu_period": 1_000_001}, "CPU cfs period"),
        ({"cpu_quota": 999}, "CPU cfs quota"),
        ({"cpuset_cpus": "0-"}, "Invalid value 0- for cpuset cpus"),
        ({"cpuset_cpus": "0,2"}, "Requested CPUs are not available - requested 0,2, available: 0-1"),
        ({"cpuset_mems": "1"}, "Requested memory nodes are not available"),
        ({"blkio_weight": 9}, "Range of blkio weight is from 10 to 1000"),
        ({"blkio_weight": 1001}, "Range of blkio weight"),
    ],
)
def test_out_of_range_is_refused(wish: dict[str, Any], line: str) -> None:
    """Each limit is checked as Docker checks it."""
    with pytest.raises(InvalidInput, match=line):
        resources(Resources(**wish), (), HOST, find)


@pytest.mark.parametrize(
    ("wish", "kind"),
    [
        ({"cpu_realtime_runtime": 1000}, Unsupported),
        ({"cpu_percent": 50}, Unsupported),
        ({"blkio_weight_device": (WeightDevice(path="/dev/none", weight=10),)}, NotFound),
        ({"blkio_device_read_bps": (ThrottleDevice(path="/dev/fuse", rate=10),)}, InvalidInput),
    ],
)
def test_what_cannot_be_limited_is_refused(wish: dict[str, Any], kind: type[CortenError]) -> None:
    """A limit that would have no effect is never accepted in silence."""
    with pytest.raises(kind):
        resources(Resources(**wish), (), HOST, find)


def test_no_limits_is_empty() -> None:
    """A container without limits has no member for them."""
    found = resources(Resources(), (), HOST, find)
    assert (found.memory, found.cpu, found.pids, found.block_io) == (None, None, None, None)


def test_every_limit_has_its_place() -> None:
    """All limits at once, in the units of the specification."""
    wish = Resources(
        memory=2**30,
        memory_swap=-1,
        memory_reservation=2**29,
        memory_swappiness=0,
        oom_kill_disable=True,
        cpu_shares=512,
        cpu_period=50_000,
        cpu_quota=25_000,
        cpuset_cpus="0-1",
        cpuset_mems="0",
        pids_limit=-5,
        blkio_weight=300,
        blkio_weight_device=(WeightDevice(path="/dev/sda", weight=400),),
        blkio_device_read_bps=(ThrottleDevice(path="/dev/sda", rate=1),),
        blkio_device_write_bps=(ThrottleDevice(path="/dev/sda", rate=2),),
        blkio_device_read_iops=(ThrottleDevice(path="/dev/sda", rate=3),),
        blkio_device_write_iops=(ThrottleDevice(path="/dev/sda", rate=4),),
    )
    found = resources(wish, (), HOST, find)
    assert found.memory == Memory(2**30, 2**29, -1, 0, True)
    assert found.cpu == Cpu(512, 25_000, 50_000, "0-1", "0")
    assert found.pids == Pids(-1)
    assert found.block_io == BlockIo(
        300,
        (Weight(8, 0, 400),),
        *((Throttle(8, 0, rate),) for rate in (1, 2, 3, 4)),
    )


@given(st.sets(st.integers(0, 300), min_size=1))
def test_lists_of_numbers_are_read(wanted: set[int]) -> None:
    """Any set that is written as the kernel writes it reads back as itself."""
    assert numbers(",".join(str(number) for number in wanted)) == wanted
    assert numbers(f"{min(wanted)}-{max(wanted)}") == set(range(min(wanted), max(wanted) + 1))


@pytest.mark.parametrize("text", ["a", "1-", "-1", "3-1", "1,,2", "0-99999999999", "\uff11"])
def test_malformed_lists_are_refused(text: str) -> None:
    """What the kernel would not read is not passed to it."""
    with pytest.raises(ValueError):  # noqa: PT011 - the caller words the error
        numbers(text)


def test_an_update_keeps_what_it_does_not_name() -> None:
    """Only the limits that an update sets change."""
    current = HostConfig(memory=2**30, cpu_shares=5, privileged=True)
    after = updated(current, Resources(memory=2**31))
    assert after == HostConfig(memory=2**31, cpu_shares=5, privileged=True)
