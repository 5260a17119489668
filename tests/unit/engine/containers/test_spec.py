"""A Spec is what Docker gives a container: golden values for whole runs, one line per wish."""

from typing import Any

import msgspec
import pytest

from corten.engine.containers.defaults import complete, merge
from corten.engine.containers.spec import GROUPS, environment, exec_process, working_folder
from corten.engine.records.config import ContainerConfig, DeviceMapping, ExecConfig, HostConfig, Ulimit
from corten.errors import CortenError, InvalidInput, Unavailable, Unsupported
from corten.oci.spec import Box, Rlimit, Spec
from tests.unit.engine.containers.examples import DEBIAN, HOST, ID, PROFILE, make

DEFAULT_CAPABILITIES = [
    *(
        "CAP_AUDIT_WRITE",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_MKNOD",
    ),
    *("CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID"),
    "CAP_SYS_CHROOT",
]
SAFE = ["nosuid", "noexec", "nodev"]
BIND = ["rbind", "rprivate"]
PLAIN: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "process": {
        "args": ["bash"],
        "env": ["PATH=/usr/bin:/bin", "HOSTNAME=0123456789ab"],
        "capabilities": {
            "bounding": DEFAULT_CAPABILITIES,
            "effective": DEFAULT_CAPABILITIES,
            "permitted": DEFAULT_CAPABILITIES,
        },
        "oomScoreAdj": 0,
        "user": {"username": "0"},
    },
    "root": {"path": "/r/root"},
    "hostname": "0123456789ab",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": SAFE},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*SAFE, "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", *SAFE]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": SAFE},
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": [*SAFE, "mode=1777", "size=67108864"],
        },
        {"destination": "/etc/resolv.conf", "type": "bind", "source": "/r/resolv.conf", "options": BIND},
        {"destination": "/etc/hostname", "type": "bind", "source": "/r/hostname", "options": BIND},
        {"destination": "/etc/hosts", "type": "bind", "source": "/r/hosts", "options": BIND},
    ],
    "linux": {
        "namespaces": [
            {"type": "mount"},
            {"type": "network"},
            {"type": "uts"},
            {"type": "pid"},
            {"type": "ipc"},
        ],
        "devices": [
            {"path": f"/dev/{name}", "type": "c", "major": major, "minor": minor}
            | {"fileMode": 0o666, "uid": 0, "gid": 0}
            for name, major, minor in (
                *(("null", 1, 3), ("zero", 1, 5), ("full", 1, 7)),
                *(("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)),
            )
        ],
        "cgroupsPath": f"/corten/{ID}",
        "resources": {
            "devices": [
                {"allow": False},
                *(
                    {"allow": True, "type": "c", "major": major, "minor": minor}
                    for major, minor in ((1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1))
                ),
                {"allow": False, "type": "c", "major": 10, "minor": 229},
                {"allow": True, "type": "c", "access": "m"},
                {"allow": True, "type": "b", "access": "m"},
                {"allow": True, "type": "c", "major": 1, "minor": 7},
                {"allow": True, "type": "c", "major": 5, "minor": 2},
                {"allow": True, "type": "c", "major": 136},
            ]
        },
        "seccomp": PROFILE,
        "maskedPaths": [
            *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys"),
            *("/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list"),
            *("/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"),
            "/sys/devices/system/cpu/cpu0/thermal_throttle",
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        "sysctl": {
            "net.ipv4.ping_group_range": "0 2147483647",
            "net.ipv4.ip_unprivileged_port_start": "0",
        },
    },
}


def wire(spec: Spec) -> dict[str, Any]:
    """Return a Spec as its ``config.json``."""
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(spec))
    return decoded


def changed(path: str, value: object) -> dict[str, Any]:
    """Return the plain Spec's JSON with the member at *path* set; None takes it out."""
    golden: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(PLAIN))
    *above, last = path.split(".")
    inner = golden
    for name in above:
        inner = inner[name]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return golden


def options_of(spec: Spec, destination: str) -> tuple[str, ...]:
    """Return the options of the one mount at *destination*."""
    (mount,) = [mount for mount in spec.mounts if mount.destination == destination]
    return mount.options


def test_a_plain_run_is_golden() -> None:
    """A container that asks for nothing gets Docker's defaults, to the letter."""
    assert wire(make()) == PLAIN


def test_building_twice_is_equal() -> None:
    """The Spec depends on its arguments alone."""
    config = ContainerConfig(env=("B=2", "A=1"), tty=True)
    host_config = HostConfig(binds=("/b:/b", "/a:/a"), memory=1 << 30, sysctls={"net.core.somaxconn": "9"})
    assert make(config, host_config) == make(config, host_config)


def test_completing_twice_is_completing_once() -> None:
    """A recorded configuration can be completed again without change."""
    once = complete(ID, merge(DEBIAN, ContainerConfig()), HostConfig(memory=64 << 20), HOST)
    assert complete(ID, *once, HOST) == once


def test_a_terminal_sets_term_and_size() -> None:
    """``-it`` adds TERM behind HOSTNAME, and the size of the client's window."""
    spec = make(ContainerConfig(tty=True, open_stdin=True), HostConfig(console_size=(24, 80)))
    assert wire(spec) == changed(
        "process",
        PLAIN["process"]
        | {
            "terminal": True,
            "env": [*PLAIN["process"]["env"], "TERM=xterm"],
            "consoleSize": {"height": 24, "width": 80},
        },
    )


def test_an_unknown_terminal_size_is_left_out() -> None:
    """A size of 0 by 0 means that the client does not know."""
    assert make(ContainerConfig(tty=True)).process.console_size is None


def test_added_groups_stay_text() -> None:
    """``--group-add`` goes into an annotation, beside the user's own."""
    spec = make(host_config=HostConfig(group_add=("ops", "44"), annotations={"a": "b"}))
    assert spec.annotations == {"a": "b", GROUPS: "ops,44"}


def test_privileged_has_everything() -> None:
    """A privileged container has all capabilities and devices, and nothing is hidden from it."""
    spec = make(host_config=HostConfig(privileged=True))
    capabilities = spec.process.capabilities
    assert capabilities is not None
    assert capabilities.bounding == capabilities.effective == capabilities.permitted == HOST.capabilities
    assert (spec.linux.seccomp, spec.linux.masked_paths, spec.linux.readonly_paths) == (None, (), ())
    assert "ro" not in options_of(spec, "/sys")
    assert "ro" not in options_of(spec, "/sys/fs/cgroup")
    assert [rule.type for rule in spec.linux.resources.devices] == ["a"]
    assert spec.linux.resources.devices[0].allow
    paths = [device.path for device in spec.linux.devices]
    assert "/dev/sda" in paths
    assert len(paths) == len(set(paths))


def test_a_read_only_root_keeps_the_working_mounts_writable() -> None:
    """``--read-only`` covers the root and the engine's files, not /proc, /dev and what is below it."""
    spec = make(host_config=HostConfig(readonly_rootfs=True, binds=("/data:/data",)))
    assert spec.root.readonly
    read_only = {mount.destination for mount in spec.mounts if "ro" in mount.options}
    assert read_only == {"/sys", "/sys/fs/cgroup", "/etc/resolv.conf", "/etc/hostname", "/etc/hosts"}


def test_limits_are_golden() -> None:
    """Memory brings as much swap, --cpus a quota, and an ulimit is lowered to what the host grants."""
    limits = HostConfig(
        memory=64 << 20,
        nano_cpus=1_500_000_000,
        pids_limit=50,
        ulimits=(Ulimit(name="nofile", soft=1024, hard=1 << 20),),
    )
    spec = make(host_config=limits)
    assert wire(spec)["linux"]["resources"] == PLAIN["linux"]["resources"] | {
        "memory": {"limit": 64 << 20, "swap": 128 << 20},
        "cpu": {"quota": 150_000, "period": 100_000},
        "pids": {"limit": 50},
    }
    assert spec.process.rlimits == (Rlimit("RLIMIT_NOFILE", 1024, 4096),)


def test_environment_by_name_keeps_its_place() -> None:
    """A later value takes the place of an earlier one, and an entry without a value removes."""
    given = ("PATH=/x", "A=1", "TERM", "A=2")
    assert environment("h", given, terminal=True) == ("PATH=/x", "HOSTNAME=h", "A=2")


def test_without_an_image_path_the_default_is_set() -> None:
    """PATH is always there."""
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert environment("h", (), terminal=False) == (path, "HOSTNAME=h")


def test_init_is_process_one() -> None:
    """``--init`` binds the init program and runs the command below it."""
    spec = make(host_config=HostConfig(init=True))
    assert spec.process.args == ("/sbin/docker-init", "--", "bash")
    assert options_of(spec, "/sbin/docker-init") == ("bind", "rprivate", "ro")


def test_init_is_left_out_beside_the_hosts_processes() -> None:
    """In the host's pid namespace nothing of ours is process 1."""
    assert make(host_config=HostConfig(init=True, pid_mode="host")).process.args == ("bash",)


def test_a_missing_init_is_named_with_its_package() -> None:
    """Without an init program the error says what to install."""
    with pytest.raises(Unavailable, match="apt install tini"):
        make(host_config=HostConfig(init=True), host=msgspec.structs.replace(HOST, init_path=""))


@pytest.mark.parametrize(
    ("wish", "gone"),
    [
        (HostConfig(network_mode="host"), "network"),
        (HostConfig(pid_mode="host"), "pid"),
        (HostConfig(ipc_mode="host"), "ipc"),
        (HostConfig(uts_mode="host"), "uts"),
    ],
)
def test_a_shared_namespace_is_not_made(wish: HostConfig, gone: str) -> None:
    """The mode ``host`` leaves exactly one namespace out."""
    kinds = [namespace.type for namespace in make(host_config=wish).linux.namespaces]
    assert sorted([*kinds, gone]) == ["ipc", "mount", "network", "pid", "uts"]


@pytest.mark.parametrize(
    ("cgroup_mode", "wish", "own"),
    [
        ("v1", "", False),
        ("hybrid", "", False),
        ("v2", "", True),
        ("v1", "private", True),
        ("v2", "host", False),
    ],
)
def test_the_cgroup_namespace_follows_the_hierarchy(cgroup_mode: str, wish: str, own: bool) -> None:
    """Private on v2, the host's on v1, unless asked otherwise."""
    host = msgspec.structs.replace(HOST, cgroup_mode=cgroup_mode)
    kinds = [
        item.type for item in make(host_config=HostConfig(cgroupns_mode=wish), host=host).linux.namespaces
    ]
    assert ("cgroup" in kinds) is own


def test_the_hosts_name_is_shown_with_its_uts_namespace() -> None:
    """With ``--uts host`` nothing sets a name, and HOSTNAME is the host's."""
    spec = make(host_config=HostConfig(uts_mode="host"))
    assert spec.hostname == ""
    assert "HOSTNAME=machine" in spec.process.env


def test_the_host_network_brings_its_name_and_no_parameters() -> None:
    """With ``--network host`` the host's name is used and its network is left as it is."""
    spec = make(host_config=HostConfig(network_mode="host"))
    assert spec.hostname == "machine"
    assert spec.linux.sysctl == {}


def test_a_given_hostname_wins() -> None:
    """``--hostname`` and ``--domainname`` are set as given."""
    spec = make(ContainerConfig(hostname="web", domainname="example.org"))
    assert (spec.hostname, spec.domainname) == ("web", "example.org")


@pytest.mark.parametrize(("mode", "source"), [("host", "/dev/shm"), ("private", "shm"), ("shareable", "shm")])
def test_shared_memory_follows_the_ipc_mode(mode: str, source: str) -> None:
    """The host's /dev/shm with its IPC namespace, else one of its own."""
    sources = {
        mount.destination: mount.source for mount in make(host_config=HostConfig(ipc_mode=mode)).mounts
    }
    assert sources["/dev/shm"] == source


def test_ipc_none_has_no_shared_memory() -> None:
    """``--ipc none`` keeps the namespace and leaves /dev/shm out."""
    spec = make(host_config=HostConfig(ipc_mode="none"))
    assert "/dev/shm" not in [mount.destination for mount in spec.mounts]
    assert "ipc" in [namespace.type for namespace in spec.linux.namespaces]


def test_shm_size_is_given_in_bytes() -> None:
    """``--shm-size`` sets the size of /dev/shm."""
    assert "size=1048576" in options_of(make(host_config=HostConfig(shm_size=1 << 20)), "/dev/shm")


def test_devices_bring_their_rules_in_order() -> None:
    """Mapped devices come behind the defaults, then the rules of --device-cgroup-rule."""
    wish = HostConfig(
        devices=(
            DeviceMapping(path_on_host="/dev/fuse", path_in_container="/dev/f", cgroup_permissions="rw"),
            DeviceMapping(path_on_host="/dev/snd"),
        ),
        device_cgroup_rules=("c 13:* rm",),
    )
    spec = make(host_config=wish)
    assert [device.path for device in spec.linux.devices][6:] == ["/dev/f", "/dev/snd/seq", "/dev/snd/timer"]
    rules = [(rule.major, rule.minor, rule.access) for rule in spec.linux.resources.devices[-4:]]
    assert rules == [(10, 229, "rw"), (116, 1, "rwm"), (116, 33, "rwm"), (13, None, "rm")]


def test_cgroup_parent_replaces_the_engines() -> None:
    """``--cgroup-parent`` names the folder in which the cgroup is made."""
    spec = make(host_config=HostConfig(cgroup_parent="/team/web"))
    assert spec.linux.cgroups_path == f"/team/web/{ID}"


def test_the_working_folder_is_cleaned() -> None:
    """Dots and doubled slashes are resolved as text; none means the root."""
    assert [working_folder(text) for text in ("", "/a/./b/../c", "//x")] == ["/", "/a/c", "/x"]


@pytest.mark.parametrize(
    ("config", "host_config", "kind", "line"),
    [
        ({}, {"pid_mode": "container:x"}, Unsupported, "--pid"),
        ({}, {"ipc_mode": "container:x"}, Unsupported, "--ipc"),
        ({}, {"pid_mode": "odd"}, InvalidInput, "invalid PID mode: odd"),
        ({}, {"oom_score_adj": 1001}, InvalidInput, "range for oom score adj"),
        ({}, {"cgroup_parent": "../x"}, InvalidInput, "cgroup parent"),
        ({}, {"runtime": "kata"}, InvalidInput, "unknown or invalid runtime name"),
        ({}, {"isolation": "hyperv"}, InvalidInput, "isolation"),
        ({}, {"shm_size": -1}, InvalidInput, "SHM size"),
        ({}, {"storage_opt": {"size": "1g"}}, Unsupported, "storage-opt"),
        ({}, {"device_cgroup_rules": ("x",)}, InvalidInput, "device cgroup rule"),
        ({"working_dir": "tmp"}, {}, InvalidInput, "absolute path"),
        ({"hostname": "x"}, {"uts_mode": "host"}, InvalidInput, "conflicting options"),
    ],
)
def test_what_cannot_be_is_refused(
    config: dict[str, Any], host_config: dict[str, Any], kind: type[CortenError], line: str
) -> None:
    """Each wish that cannot be met is refused with a line that names it."""
    with pytest.raises(kind, match=line):
        make(ContainerConfig(**config), HostConfig(**host_config))


def test_an_exec_has_the_containers_environment_and_its_own() -> None:
    """An exec inherits user, folder and environment, and adds a terminal's TERM and its own variables."""
    config = ContainerConfig(env=("A=1",), user="www", working_dir="/srv", cmd=("x",))
    process = exec_process(
        "h", config, HostConfig(), ExecConfig(cmd=("ps",), env=("B=2",), tty=True, console_size=(5, 6)), HOST
    )
    assert process.env[-4:] == ("HOSTNAME=h", "TERM=xterm", "A=1", "B=2")
    assert (process.user.username, process.cwd, process.args) == ("www", "/srv", ("ps",))
    assert process.console_size == Box(5, 6)


def test_a_privileged_exec_has_all_capabilities() -> None:
    """``exec --privileged`` gives the process what the engine has."""
    process = exec_process(
        "h", ContainerConfig(), HostConfig(), ExecConfig(cmd=("x",), privileged=True), HOST
    )
    assert process.capabilities is not None
    assert process.capabilities.effective == HOST.capabilities


def test_an_exec_needs_a_command() -> None:
    """An empty exec is refused in Docker's words."""
    with pytest.raises(InvalidInput, match="No exec command specified"):
        exec_process("h", ContainerConfig(), HostConfig(), ExecConfig(), HOST)


def test_a_user_stays_text() -> None:
    """``-u 1000:ops`` is passed on as it was written: only the container's files say what it means."""
    process = wire(make(ContainerConfig(user="1000:ops")))["process"]
    assert process == PLAIN["process"] | {"user": {"username": "1000:ops"}}
