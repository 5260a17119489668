"""From the flags of run and create to the body of the request."""

import os
from pathlib import Path
from typing import Any

import pytest

from corten.cli.create.body import attached, build
from corten.cli.create.flags import declare
from corten.cli.failure import Failure
from corten.cli.flags import Parser, UsageError, Values


def parse(*words: str) -> Values:
    """The flags of create."""
    parser = Parser("corten create", "")
    declare(parser)
    return parser.parse(words)


def body(*words: str) -> dict[str, Any]:
    """The request for *words*."""
    args = parse(*words)
    return build(args, attached(args))


def host(*words: str) -> Any:
    """The HostConfig for flags alone."""
    return body(*words, "image")["HostConfig"]


def test_says_only_what_was_said() -> None:
    """Without flags there is the image and what to attach."""
    assert body("debian") == {
        "Image": "debian",
        "HostConfig": {},
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
    }


def test_the_command_keeps_its_flags() -> None:
    """What follows the image is the command."""
    assert body("debian", "ls", "-a", "--", "x")["Cmd"] == ["ls", "-a", "--", "x"]


def test_a_terminal_that_reads() -> None:
    """-it attaches stdin, once."""
    made = body(
        "-it", "--hostname", "h", "-u", "1:2", "-w", "/w", "--entrypoint", "/e", "--stop-timeout", "5", "x"
    )

    wanted = {
        "Tty": True,
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "Hostname": "h",
        "User": "1:2",
    }
    wanted |= {"WorkingDir": "/w", "Entrypoint": ["/e"], "StopTimeout": 5}
    assert made | wanted == made


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["-m", "64m"], "Memory", 64 << 20),
        (["--memory-swap", "-1"], "MemorySwap", -1),
        (["--cpus", "1.5"], "NanoCpus", 1_500_000_000),
        (["-c", "512"], "CpuShares", 512),
        (["--rm"], "AutoRemove", True),
        (["--privileged"], "Privileged", True),
        (["--read-only"], "ReadonlyRootfs", True),
        (["--init=false"], "Init", False),
        (["--pids-limit", "-1"], "PidsLimit", -1),
        (["--network", "host"], "NetworkMode", "host"),
        (["--net=none"], "NetworkMode", "none"),
        (["--restart", "on-failure:3"], "RestartPolicy", {"Name": "on-failure", "MaximumRetryCount": 3}),
        (["--cap-add", "net_admin", "--cap-add", "CAP_KILL"], "CapAdd", ["CAP_NET_ADMIN", "CAP_KILL"]),
        (["--cap-drop", "all"], "CapDrop", ["ALL"]),
        (["--device", "/dev/fuse"], "Devices", [dict(PathOnHost="/dev/fuse", PathInContainer="/dev/fuse", CgroupPermissions="rwm")]),
        (["--device", "/dev/a:r"], "Devices", [dict(PathOnHost="/dev/a", PathInContainer="/dev/a", CgroupPermissions="r")]),
        (["--device", "/dev/a:/dev/b:rw"], "Devices", [dict(PathOnHost="/dev/a", PathInContainer="/dev/b", CgroupPermissions="rw")]),
        (["--device", "vendor.com/x=all"], "DeviceRequests", [{"Driver": "cdi", "DeviceIDs": ["vendor.com/x=all"]}]),
        (["--device-read-bps", "/dev/a:1m"], "BlkioDeviceReadBps", [{"Path": "/dev/a", "Rate": 1 << 20}]),
        (["--tmpfs", "/run:size=1m", "--tmpfs", "/x"], "Tmpfs", {"/run": "size=1m", "/x": ""}),
        (["--sysctl", "net.a=b"], "Sysctls", {"net.a": "b"}),
        (["--log-driver", "local", "--log-opt", "max-size=1m"], "LogConfig", {"Type": "local", "Config": {"max-size": "1m"}}),
        (["--add-host", "a:1.2.3.4", "--add-host", "b=[::1]"], "ExtraHosts", ["a:1.2.3.4", "b:::1"]),
        (["--security-opt", "no-new-privileges"], "SecurityOpt", ["no-new-privileges"]),
        (["--security-opt", "label:disable"], "SecurityOpt", ["label=disable"]),
        (["--memory-swappiness", "0"], "MemorySwappiness", 0),
        (["--ulimit", "nofile=1:2"], "Ulimits", [{"Name": "nofile", "Soft": 1, "Hard": 2}]),
        (["-v", "/a:/b:ro", "-v", "name:/c"], "Binds", ["/a:/b:ro", "name:/c"]),
        (["--annotation", "k=v"], "Annotations", {"k": "v"}),
    ],
)  # fmt: skip
def test_fields_of_the_host(words: list[str], field: str, value: object) -> None:
    """Each flag is one field of HostConfig."""
    assert host(*words)[field] == value


def test_paths_of_the_client_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A source that begins with a dot is seen from the folder of the client."""
    monkeypatch.chdir(tmp_path)
    made = host("-v", "./a/../b:/x", "--mount", "type=bind,src=..,dst=/y")

    assert made["Binds"] == [f"{tmp_path}/b:/x"]
    assert made["Mounts"] == [{"Type": "bind", "Source": str(tmp_path.parent), "Target": "/y"}]


def test_a_volume_without_a_source_has_no_name() -> None:
    """A path alone is an anonymous volume."""
    assert body("-v", "/data", "x")["Volumes"] == {"/data": {}}


def test_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files first, then flags; a name alone is copied from the client."""
    monkeypatch.setitem(os.environb, b"HERE", b"1")
    monkeypatch.setitem(__import__("posix").environ, b"HERE", b"1")
    file = tmp_path / "env"
    file.write_text("\ufeff# comment\n\n  A=1 2\nHERE\nGONE\n")

    assert body("-e", "HERE", "-e", "GONE", "-e", "B=", "--env-file", str(file), "x")["Env"] == [
        "A=1 2",
        "HERE=1",
        "HERE=1",
        "GONE",
        "B=",
    ]


def test_labels(tmp_path: Path) -> None:
    """Files first, then flags; a flag without a value is an empty label."""
    file = tmp_path / "labels"
    file.write_text("a=1\nb\nc=x=y\n")

    assert body("-l", "a=2", "-l", "d", "--label-file", str(file), "x")["Labels"] == {
        "a": "2",
        "c": "x=y",
        "d": "",
    }


def test_health() -> None:
    """Durations are nanoseconds."""
    words = ["--health-cmd", "true x", "--health-interval", "1m30s", "--health-retries", "3"]

    assert body(*words, "x")["Healthcheck"] == {
        "Interval": 90 * 10**9,
        "Retries": 3,
        "Test": ["CMD-SHELL", "true x"],
    }
    assert body("--no-healthcheck", "x")["Healthcheck"] == {"Test": ["NONE"]}


def test_networks() -> None:
    """Addresses and aliases belong to the first network; more networks are endpoints."""
    made = body(
        "--network",
        "name=n1,ip=1.2.3.4,driver-opt=k=v",
        "--network",
        "n2",
        "--network-alias",
        "b",
        "x",
    )

    assert made["HostConfig"]["NetworkMode"] == "n1"
    assert made["NetworkingConfig"]["EndpointsConfig"] == {
        "n1": {"Aliases": ["b"], "IPAMConfig": {"IPv4Address": "1.2.3.4"}, "DriverOpts": {"k": "v"}},
        "n2": {},
    }


def test_a_seccomp_profile_is_read_by_the_client(tmp_path: Path) -> None:
    """The daemon gets the profile, not its name; system paths become empty lists."""
    file = tmp_path / "p.json"
    file.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}\n')
    made = host("--security-opt", f"seccomp={file}", "--security-opt", "systempaths=unconfined")

    assert made["SecurityOpt"] == ['seccomp={"defaultAction":"SCMP_ACT_ALLOW"}']
    assert made["MaskedPaths"] == made["ReadonlyPaths"] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rm", "--restart", "always"], "cannot specify both --restart and --rm"),
        (["--restart", ":3"], "no policy provided before colon"),
        (["--restart", "always:x"], "maximum retry count must be an integer"),
        (["--env-file", "/nonexistent"], "^open /nonexistent: no such file or directory$"),
        (["--security-opt", "foo"], 'invalid --security-opt: "foo"'),
        (["--security-opt", "seccomp=/nonexistent"], "opening seccomp profile"),
        (["-a", "foo"], "valid streams are STDIN, STDOUT and STDERR"),
        (["--device", "a:b:c:d"], "invalid device specification: a:b:c:d"),
        (["--device", "/dev/a:/dev/b:x"], "invalid device mode: x"),
        (["--no-healthcheck", "--health-cmd", "x"], "--no-healthcheck conflicts with --health-"),
        (["--add-host", "x"], "bad format for add-host"),
        (["-e", "=x"], "invalid environment variable: =x"),
        (["--device-read-bps", "x:1"], "bad format for device path: x:1"),
        (
            ["--network", "name=n,alias=a", "--network-alias", "b"],
            "cannot specify both --network-alias and per-network alias",
        ),
        (
            ["--network", "name=n,ip=1.2.3.4", "--ip", "1.2.3.5"],
            "cannot specify both --ip and per-network IPv4 address",
        ),
        (["--network", "n", "--network", "n"], 'network "n" is specified multiple times'),
    ],
)
def test_refuses_contradictions(words: list[str], message: str) -> None:
    """One line says what does not go."""
    with pytest.raises(Failure, match=message):
        body(*words, "image")


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--memory", "abc", 'invalid argument "abc" for "-m, --memory" flag: invalid size: \'abc\''),
        ("--network", "a=b", 'invalid argument "a=b" for "--network" flag: invalid field key a'),
        (
            "--mount",
            "a",
            'invalid argument "a" for "--mount" flag: invalid field \'a\' must be a key=value pair',
        ),
        (
            "--health-interval",
            "x",
            'invalid argument "x" for "--health-interval" flag: time: invalid duration "x"',
        ),
    ],
)
def test_refuses_values_as_docker_does(flag: str, value: str, message: str) -> None:
    """The flag is named with the reason."""
    with pytest.raises(UsageError) as caught:
        parse(flag, value, "x")

    assert str(caught.value) == message
