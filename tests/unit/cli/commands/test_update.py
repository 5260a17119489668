"""corten update: one body for all that flags can say."""

from typing import Any

import pytest

from corten.cli.main import command_line
from tests.unit.cli.server import Daemon, Reply


def run(daemon: Daemon, *words: str) -> int:
    """Run the client in this process."""
    return command_line(["-H", f"unix://{daemon.path}", "update", *words])


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (
            ["--cpus", "1.5", "-c", "7", "-m", "1g", "--memory-swap", "-1", "--memory-reservation", "512m"],
            {
                "NanoCpus": 1_500_000_000,
                "CpuShares": 7,
                "Memory": 1 << 30,
                "MemorySwap": -1,
                "MemoryReservation": 1 << 29,
            },
        ),
        (
            ["--cpu-period", "1000", "--cpu-quota", "-1", "--cpuset-cpus", "0-1", "--cpuset-mems", "0"],
            {"CpuPeriod": 1000, "CpuQuota": -1, "CpusetCpus": "0-1", "CpusetMems": "0"},
        ),
        (
            ["--cpu-rt-period", "5", "--cpu-rt-runtime", "6", "--blkio-weight", "300", "--pids-limit", "-1"],
            {"CpuRealtimePeriod": 5, "CpuRealtimeRuntime": 6, "BlkioWeight": 300, "PidsLimit": -1},
        ),
        (
            ["--restart", "on-failure:3"],
            {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}},
        ),
        (["--kernel-memory", "1g"], {}),
        (
            ["--label-add", "a=b", "--label-add", "c", "--label-rm", "d"],
            {"LabelAdd": {"a": "b", "c": ""}, "LabelRemove": ["d"]},
        ),
        (
            ["--publish-add", "127.0.0.1:8080:80", "--publish-rm", "53/udp", "--publish-rm", "81:81"],
            {
                "PublishAdd": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]},
                "PublishRemove": {
                    "53/udp": [{"HostIp": "", "HostPort": ""}],
                    "81/tcp": [{"HostIp": "", "HostPort": "81"}],
                },
            },
        ),
        (
            ["--mount-add", "type=tmpfs,dst=/t", "--volume-add", "/a:/b:ro", "--volume-add", "/anonymous"],
            {
                "BindAdd": ["/a:/b:ro"],
                "MountAdd": [
                    {"Type": "tmpfs", "Target": "/t"},
                    {"Type": "volume", "Target": "/anonymous"},
                ],
            },
        ),
        (["--mount-rm", "/a", "--mount-rm", "/b"], {"MountRemove": ["/a", "/b"]}),
        (
            ["--network-add", "front", "--network-add", "name=back,alias=db", "--network-rm", "bridge"],
            {"NetworkAdd": {"front": {}, "back": {"Aliases": ["db"]}}, "NetworkRemove": ["bridge"]},
        ),
    ],
)
def test_what_is_sent(daemon: Daemon, words: list[str], body: dict[str, Any]) -> None:
    """Only what was said is in the body; the daemon knows what stays."""
    daemon.on("POST", "/containers/web/update", Reply(200, {"Warnings": []}))
    assert run(daemon, *words, "web") == 0
    assert daemon.requests[0].json() == body


def test_several_containers(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Names of what was updated go to stdout; warnings and failures to stderr."""
    daemon.on("POST", "/containers/a/update", Reply(200, {"Warnings": ["careful"]}))
    daemon.on("POST", "/containers/b/update", Reply(409, {"message": "it cannot be"}))
    daemon.on("POST", "/containers/c/update", Reply(200, {"Warnings": None}))
    assert run(daemon, "--cpu-shares", "5", "a", "b", "c") == 1
    shown = capsys.readouterr()
    assert shown.out == "a\nc\n"
    assert "careful\n" in shown.err
    assert "it cannot be" in shown.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["web"], "you must provide one or more flags when using this command."),
        (["--restart", ":3", "web"], "no policy provided before colon"),
        (["--restart", "on-failure:x", "web"], "maximum retry count must be an integer"),
        (["--publish-add", "x:80", "web"], "invalid"),
        (["--mount-add", "type=nonsense,dst=/x", "web"], "invalid mount type"),
        (["--memory", "much", "web"], "invalid"),
        (["--cpu-shares", "5"], "requires at least 1 argument"),
        (["--mac-address", "x", "web"], "unknown flag: --mac-address"),
    ],
)
def test_what_makes_no_sense(
    daemon: Daemon, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    """The client says so itself; nothing is sent."""
    assert run(daemon, *words) != 0
    assert line in capsys.readouterr().err
    assert daemon.requests == []
