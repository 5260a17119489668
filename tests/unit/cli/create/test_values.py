"""Single values of run and create."""

import pytest

from corten.cli.create.values import gpus, nano_cpus, size, swap_size, sysctl, uint16, ulimit


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("100", 100),
        ("64m", 64 << 20),
        ("1.5g", 3 << 29),
        ("2GiB", 2 << 30),
        ("1kb", 1024),
        ("5 M", 5 << 20),
        ("7b", 7),
    ],
)
def test_reads_sizes(text: str, count: int) -> None:
    """Powers of 1024, any case."""
    assert size(text) == count


@pytest.mark.parametrize("text", ["", "abc", "m", "1x", "1mib2", "-1", "1bb", "1.2.3m"])
def test_refuses_other_sizes(text: str) -> None:
    """Docker's words."""
    with pytest.raises(ValueError, match=f"^invalid size: '{text}'$"):
        size(text)


def test_swap_may_be_unlimited() -> None:
    """-1 lifts the limit."""
    assert (swap_size("-1"), swap_size("1g")) == (-1, 1 << 30)


@pytest.mark.parametrize(
    ("text", "nano"), [("1.5", 1_500_000_000), (".25", 250_000_000), ("2", 2_000_000_000)]
)
def test_reads_cpus(text: str, nano: int) -> None:
    """Billionths of a CPU."""
    assert nano_cpus(text) == nano


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("abc", "failed to parse abc as a rational number"),
        ("0.0000000001", "value is too precise"),
        ("-1", "rational"),
    ],
)
def test_refuses_other_cpus(text: str, words: str) -> None:
    """Docker's words."""
    with pytest.raises(ValueError, match=words):
        nano_cpus(text)


def test_reads_limits() -> None:
    """One number is both limits."""
    assert ulimit("nofile=10:20") == {"Name": "nofile", "Soft": 10, "Hard": 20}
    assert ulimit("core=-1") == {"Name": "core", "Soft": -1, "Hard": -1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x=1", "invalid ulimit type: x"),
        ("nofile", "invalid ulimit argument: nofile"),
        ("nofile=a", "invalid ulimit argument: nofile=a"),
        ("nofile=1:2:3", "too many limit value arguments"),
        ("nofile=3:2", "ulimit soft limit must be less than or equal to hard limit: 3 > 2"),
    ],
)
def test_refuses_other_limits(text: str, words: str) -> None:
    """Docker's words."""
    with pytest.raises(ValueError, match=words):
        ulimit(text)


def test_reads_device_requests() -> None:
    """All, some, or named ones."""
    assert gpus("all")["Count"] == -1
    assert gpus("2")["Count"] == 2
    assert gpus('"device=0,1",capabilities=compute,driver=nvidia') == {
        "Driver": "nvidia",
        "Count": 0,
        "DeviceIDs": ["0", "1"],
        "Capabilities": [["gpu", "compute"]],
        "Options": {},
    }
    with pytest.raises(ValueError, match=r"invalid count \(x\)"):
        gpus("x")


def test_reads_weights() -> None:
    """Sixteen bits."""
    assert uint16("500") == 500
    with pytest.raises(ValueError, match="out of range"):
        uint16("65536")
    with pytest.raises(ValueError, match="invalid syntax"):
        uint16("x")


def test_knows_which_parameters_have_a_namespace() -> None:
    """Others would change the host."""
    assert sysctl("net.core.somaxconn=5") == "net.core.somaxconn=5"
    assert sysctl("kernel.sem=1") == "kernel.sem=1"
    with pytest.raises(ValueError, match=r"sysctl 'vm.swappiness=1' is not allowed"):
        sysctl("vm.swappiness=1")
