"""A cgroup's figures in Docker's words."""

from typing import Any

from corten.engine.containers.figures import docker_stats
from corten.engine.containers.status import Status
from corten.engine.records.container import NEVER
from tests.unit.engine.containers.test_status import container

SAMPLE: dict[str, Any] = {
    "cpu": {"total": 900, "user": 500, "system": 400, "per_cpu": [600, 300], "throttled_time": 7},
    "memory": {"usage": 4096, "max": 8192, "limit": 1 << 20, "failures": 2, "stat": {"cache": 5}},
    "pids": {"current": 3, "limit": 10},
    "blkio": {"bytes": [(8, 0, "Read", 512)], "operations": [(8, 0, "Read", 1)]},
}


def figures(sample: dict[str, Any]) -> dict[str, Any]:
    """Return *sample* in Docker's form."""
    return docker_stats(container(Status.RUNNING), sample, 2)


def test_a_running_container() -> None:
    """Every figure of the sample is where Docker has it."""
    shown = figures(SAMPLE)
    assert shown["cpu_stats"]["cpu_usage"] == {
        "total_usage": 900,
        "percpu_usage": [600, 300],
        "usage_in_usermode": 500,
        "usage_in_kernelmode": 400,
    }
    assert shown["cpu_stats"]["throttling_data"] == {
        "periods": 0,
        "throttled_periods": 0,
        "throttled_time": 7,
    }
    assert shown["cpu_stats"]["online_cpus"] == 2
    assert shown["memory_stats"] == {
        "usage": 4096,
        "max_usage": 8192,
        "limit": 1 << 20,
        "failcnt": 2,
        "stats": {"cache": 5},
    }
    assert shown["pids_stats"] == {"current": 3, "limit": 10}
    entry = {"major": 8, "minor": 0, "op": "Read"}
    assert shown["blkio_stats"] == {
        "io_service_bytes_recursive": [{**entry, "value": 512}],
        "io_serviced_recursive": [{**entry, "value": 1}],
    }
    assert shown["name"].startswith("/")


def test_the_machine_is_the_measure() -> None:
    """The share of a processor is told against the whole machine's time, which grows; in nanoseconds."""
    first, second = (figures(SAMPLE)["cpu_stats"]["system_cpu_usage"] for _ in range(2))
    assert second >= first > 10**9


def test_without_a_limit_it_is_the_machines_memory() -> None:
    """Memory is always shown against something."""
    shown = figures({**SAMPLE, "memory": {"usage": 1}})
    assert shown["memory_stats"]["limit"] > 64 << 20


def test_one_that_does_not_run_has_no_figures() -> None:
    """A container without a cgroup is answered with Docker's empty form."""
    shown = figures({})
    assert shown["read"] == NEVER
    assert shown["memory_stats"] == {}
    assert shown["pids_stats"] == {}
    assert shown["cpu_stats"]["system_cpu_usage"] == 0
    assert shown["cpu_stats"]["cpu_usage"]["total_usage"] == 0
