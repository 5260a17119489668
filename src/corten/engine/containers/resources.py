"""Limits: what the user asks for, checked as Docker does, as resources of the Spec. Pure.

Source: Docker Engine API "Resources" and its messages; runtime-spec
config-linux.md "Control groups".
"""

from typing import TypeVar

import msgspec

from corten.engine.containers.host import DevicesAt, Host
from corten.engine.records.config import Resources as Wanted
from corten.engine.records.config import ThrottleDevice as WantedRate
from corten.errors import InvalidInput, Unsupported
from corten.oci.spec import (
    BlockIo,
    Cpu,
    DeviceRule,
    Memory,
    Pids,
    Resources,
    ThrottleDevice,
    WeightDevice,
)

LEAST_MEMORY = 6 << 20  # bytes
PERIOD = 100_000  # microseconds over which --cpus is counted
NANO = 1_000_000_000  # nano_cpus per processor

_Limits = TypeVar("_Limits", bound=Wanted)


def resources(wanted: Wanted, rules: tuple[DeviceRule, ...], host: Host, devices_at: DevicesAt) -> Resources:
    """Return the limits of a container's cgroup.

    Args:
        wanted: The user's wishes.
        rules: Its device rules, in order.
        host: Facts of the machine.
        devices_at: Finds block devices by their path on the host.

    Raises:
        InvalidInput: a value out of range, or two that contradict each other.
        NotFound: a block device does not exist.
        Unsupported: real-time scheduling, or limits that only Windows has.
    """
    return Resources(
        devices=rules,
        memory=_memory(wanted),
        cpu=_cpu(wanted, host),
        pids=Pids(max(wanted.pids_limit, -1)) if wanted.pids_limit else None,
        block_io=_block_io(wanted, devices_at),
    )


def _memory(wanted: Wanted) -> Memory | None:
    """Return the memory limits, None when there are none."""
    _check_memory(wanted)
    swap = wanted.memory_swap
    if wanted.memory > 0 and swap == 0:
        swap = wanted.memory * 2
    memory = Memory(
        limit=wanted.memory or None,
        reservation=wanted.memory_reservation or None,
        swap=swap or None,
        swappiness=None if wanted.memory_swappiness == -1 else wanted.memory_swappiness,
        disable_oom_killer=wanted.oom_kill_disable or None,
    )
    return None if memory == Memory() else memory


def _check_memory(wanted: Wanted) -> None:
    """Refuse memory limits that Docker refuses."""
    limit, swap, reservation = wanted.memory, wanted.memory_swap, wanted.memory_reservation
    swappiness = wanted.memory_swappiness
    if 0 < limit < LEAST_MEMORY:
        raise InvalidInput("Minimum memory limit allowed is 6MB")
    if limit < 0 or reservation < 0 or swap < -1:
        raise InvalidInput("memory limits are bytes: use 0 for none, and -1 for unlimited swap only")
    if limit > 0 and 0 < swap < limit:
        raise InvalidInput("Minimum memoryswap limit should be larger than memory limit, see usage")
    if limit == 0 and swap > 0:
        raise InvalidInput("You should always set the Memory limit when using Memoryswap limit, see usage")
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise InvalidInput(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    if 0 < reservation < LEAST_MEMORY:
        raise InvalidInput("Minimum memory reservation allowed is 6MB")
    if 0 < limit < reservation:
        raise InvalidInput("Minimum memory limit can not be less than memory reservation limit, see usage")


def _cpu(wanted: Wanted, host: Host) -> Cpu | None:
    """Return the processor limits, None when there are none."""
    _check_cpu(wanted, host)
    _check_set("cpus", "CPUs", wanted.cpuset_cpus, host.cpu_list)
    _check_set("mems", "memory nodes", wanted.cpuset_mems, host.memory_nodes)
    quota, period = wanted.cpu_quota, wanted.cpu_period
    if wanted.nano_cpus:
        quota, period = wanted.nano_cpus * PERIOD // NANO, PERIOD
    cpu = Cpu(
        shares=wanted.cpu_shares or None,
        quota=quota or None,
        period=period or None,
        cpus=wanted.cpuset_cpus,
        mems=wanted.cpuset_mems,
    )
    return None if cpu == Cpu() else cpu


def _check_cpu(wanted: Wanted, host: Host) -> None:
    """Refuse processor limits that Docker refuses."""
    if wanted.nano_cpus and wanted.cpu_period:
        raise InvalidInput("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if wanted.nano_cpus and wanted.cpu_quota:
        raise InvalidInput("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if wanted.nano_cpus and not NANO // 100 <= wanted.nano_cpus <= host.cpus * NANO:
        raise InvalidInput(
            f"range of CPUs is from 0.01 to {host.cpus}.00, as there are only {host.cpus} CPUs available"
        )
    if wanted.cpu_shares < 0:
        raise InvalidInput(f"invalid CPU shares ({wanted.cpu_shares}): value must be a positive integer")
    if wanted.cpu_period and not 1000 <= wanted.cpu_period <= 1_000_000:
        raise InvalidInput(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < wanted.cpu_quota < 1000:
        raise InvalidInput("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if wanted.cpu_realtime_period or wanted.cpu_realtime_runtime:
        raise Unsupported("real-time scheduling limits are not available: leave the --cpu-rt options out")
    if wanted.cpu_count or wanted.cpu_percent or wanted.io_maximum_iops or wanted.io_maximum_bandwidth:
        raise Unsupported(
            "CpuCount, CpuPercent and the IOMaximum limits exist on Windows only: leave them out"
        )


def _check_set(option: str, what: str, wanted: str, available: str) -> None:
    """Refuse a list such as ``0-3,5`` that is malformed or names what the host does not have."""
    try:
        missing = numbers(wanted) - numbers(available)
    except ValueError:
        raise InvalidInput(f"Invalid value {wanted} for cpuset {option}") from None
    if missing:
        raise InvalidInput(f"Requested {what} are not available - requested {wanted}, available: {available}")


def numbers(text: str) -> set[int]:
    """Return the numbers of a list such as ``0-3,5``; see cpuset(7), "List format".

    Raises:
        ValueError: malformed, or far more numbers than any machine has processors.
    """
    found: set[int] = set()
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        if not (first.isascii() and first.isdigit()) or (dash and not (last.isascii() and last.isdigit())):
            raise ValueError(part)
        low, high = int(first), int(last or first)
        if high < low or high > 1 << 16:
            raise ValueError(part)
        found.update(range(low, high + 1))
    return found


def _block_io(wanted: Wanted, devices_at: DevicesAt) -> BlockIo | None:
    """Return the block I/O limits, None when there are none."""
    weights = [wanted.blkio_weight, *(device.weight for device in wanted.blkio_weight_device or ())]
    if any(weight and not 10 <= weight <= 1000 for weight in weights):
        raise InvalidInput("Range of blkio weight is from 10 to 1000")
    block_io = BlockIo(
        weight=wanted.blkio_weight or None,
        weight_device=tuple(
            WeightDevice(*_block_device(device.path, devices_at), device.weight)
            for device in wanted.blkio_weight_device or ()
        ),
        throttle_read_bps_device=_rates(wanted.blkio_device_read_bps, devices_at),
        throttle_write_bps_device=_rates(wanted.blkio_device_write_bps, devices_at),
        throttle_read_i_o_p_s_device=_rates(wanted.blkio_device_read_iops, devices_at),
        throttle_write_i_o_p_s_device=_rates(wanted.blkio_device_write_iops, devices_at),
    )
    return None if block_io == BlockIo() else block_io


def _rates(wanted: tuple[WantedRate, ...] | None, devices_at: DevicesAt) -> tuple[ThrottleDevice, ...]:
    """Return the limits with their devices' numbers."""
    if any(limit.rate < 0 for limit in wanted or ()):
        raise InvalidInput("the rate of a block device is a positive number of bytes or operations a second")
    return tuple(ThrottleDevice(*_block_device(limit.path, devices_at), limit.rate) for limit in wanted or ())


def _block_device(path: str, devices_at: DevicesAt) -> tuple[int, int]:
    """Return major and minor number of the block device at *path*."""
    found = devices_at(path)
    if len(found) != 1 or found[0].type != "b":
        raise InvalidInput(f"{path} is not a block device: name one such as /dev/sda")
    return found[0].major, found[0].minor


_NOTHING = Wanted()


def updated(current: _Limits, wanted: Wanted) -> _Limits:
    """Return *current* with every limit that *wanted* sets; what *wanted* leaves at its default stays."""
    given = {
        name: getattr(wanted, name)
        for name in Wanted.__struct_fields__
        if getattr(wanted, name) != getattr(_NOTHING, name)
    }
    return msgspec.structs.replace(current, **given)
