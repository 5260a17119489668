"""The plan that a Spec becomes."""

from typing import Any

from msgspec.structs import replace

from corten.core.runtime import plan
from corten.core.runtime.init.child import STEPS, describe
from corten.core.runtime.plan import Step
from corten.linux.namespaces import TYPES
from corten.oci.spec import (
    Box,
    Capabilities,
    Device,
    Linux,
    Mount,
    Namespace,
    Process,
    Rlimit,
    Root,
    Spec,
    User,
)

PROC = Mount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev"))
DEV = Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "mode=755"))
PTS = Mount("/dev/pts", "devpts", "devpts", ("nosuid", "newinstance"))
SYS = Mount("/sys", "sysfs", "sysfs", ("nosuid", "ro"))
GROUP = Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("ro",))
HOSTS = Mount("/etc/hosts", "bind", "/state/hosts", ("rbind",))
ROOT = Mount("/", "overlay", "overlay", ("lowerdir=/l",))
FOLDERS = {"cpu": "/sys/fs/cgroup/cpu/c/1", "memory": "/sys/fs/cgroup/memory/c/1"}
NETWORK = "net.ipv4.ip_unprivileged_port_start"
CAPS = Capabilities(bounding=("CAP_CHOWN",), effective=("CAP_CHOWN",), permitted=("CAP_CHOWN",))
PROCESS = Process(("sh",), env=("A=b",), user=User(username="me:us"), capabilities=CAPS)
USUAL = Spec(
    "1.3.0",
    PROCESS,
    Root("/root"),
    hostname="box",
    mounts=(PROC, DEV, PTS, SYS, GROUP, HOSTS),
    linux=Linux(
        namespaces=tuple(Namespace(kind) for kind in ("mount", "pid", "network", "uts", "ipc")),
        masked_paths=("/proc/kcore", "/sys/firmware"),
        readonly_paths=("/proc/sys",),
        sysctl={NETWORK: "0", "kernel.msgmax": "1000"},
    ),
)


def start(spec: Spec = USUAL, *, network: bool = True) -> list[Step]:
    """Return the plan of *spec* at the usual places."""
    return plan.start_plan(
        spec,
        place="/run/root",
        root=ROOT,
        cgroup_folders=FOLDERS,
        seccomp=("/run/seccomp/f", 2),
        groups=("audio",),
        network=network,
    )


def names(steps: list[Step]) -> list[str]:
    """Return the steps by name, in order."""
    return [name for name, _ in steps]


def arguments(steps: list[Step], name: str) -> dict[str, Any]:
    """Return the arguments of the only step of that name."""
    (found,) = [given for step, given in steps if step == name]
    return found


def targets(steps: list[Step]) -> list[str]:
    """Return where things are mounted, in order."""
    return [given["target"] for name, given in steps if name == "mount"]


def having(*mounts: Mount) -> Spec:
    """The usual Spec with *mounts* instead of what it mounts at the same places."""
    places = {mount.destination for mount in mounts}
    return replace(USUAL, mounts=(*(m for m in USUAL.mounts if m.destination not in places), *mounts))


def devices(*found: Device) -> Spec:
    """The usual Spec with more devices."""
    return replace(USUAL, linux=replace(USUAL.linux, devices=found))


def process(**changes: Any) -> Spec:
    """The usual Spec with another process."""
    return replace(USUAL, process=replace(PROCESS, **changes))


def test_the_usual_plan() -> None:
    """A usual container: what reads the host first, then mounts, then the pivot, then its process."""
    own = "cpu=/sys/fs/cgroup/cpu/c/1;memory=/sys/fs/cgroup/memory/c/1"
    steps = start()
    assert names(steps) == [
        *("load_filter", "join", "names", "kit", "root", "move_in", "mount", "move_in", "mount"),
        *("stdin_out_err", "sysctl", "mask", "pivot", "run"),
    ]
    assert arguments(steps, "load_filter") == {"path": "/run/seccomp/f", "flags": 2}
    assert arguments(steps, "names") == {"hostname": "box", "domainname": ""}
    kit = arguments(steps, "kit")
    assert (kit["at"], kit["own"]) == ("/run/root", own)
    assert names(kit["steps"]) == ["mount", "read_only", "mask", "mount", "mount", "mount"]
    assert targets(kit["steps"]) == ["/proc", "/dev", "/dev/pts", "/sys/fs/cgroup"]
    assert arguments(steps, "root") == {
        "at": "/run/root",
        "kind": "overlay",
        "source": "overlay",
        "options": ["lowerdir=/l"],
        "propagation": "",
    }
    assert [given["targets"] for name, given in steps if name == "move_in"] == [
        ["/proc", "/dev"],
        ["/sys/fs/cgroup"],
    ]
    assert targets(steps) == ["/sys", "/etc/hosts"]
    assert arguments(steps, "mask") == {"places": ["/sys/firmware"]}
    assert arguments(steps, "pivot") == {"readonly": False, "marker": True}
    assert arguments(steps, "run") == {
        "args": ["sh"],
        "env": ["A=b"],
        "cwd": "/",
        "user": "me:us",
        "groups": ["audio"],
        "no_new_privileges": False,
        "umask": 0o022,
        "make_cwd": True,
        "capabilities": {
            "bounding": ["CAP_CHOWN"],
            "effective": ["CAP_CHOWN"],
            "permitted": ["CAP_CHOWN"],
            "inheritable": [],
            "ambient": [],
        },
    }


def test_every_step_exists() -> None:
    """A plan names only steps that init can take."""
    spec = replace(process(terminal=True, rlimits=(Rlimit("RLIMIT_NOFILE", 1, 2),), oom_score_adj=5))
    for steps in (start(), start(spec), start(having(Mount("/proc", "bind", "/p", ())))):
        assert set(names(steps)) <= set(STEPS)


def test_the_kit_does_not_depend_on_image_limits_or_command() -> None:
    """Two containers that differ in what usually differs share one kit."""
    other = replace(
        process(args=("other",), env=(), cwd="/x", terminal=True),
        hostname="other",
        mounts=(*USUAL.mounts, Mount("/data", "bind", "/d", ("rbind",))),
    )
    assert plan.split(other)[0] == plan.split(USUAL)[0]


def test_the_kit_hides_what_is_below_proc() -> None:
    """Masked and read-only paths of /proc are done in the kit, right after its mount, and not again."""
    steps = start()
    kit: list[Step] = arguments(steps, "kit")["steps"]
    assert kit[1] == ("read_only", {"places": ["/proc/sys"]})
    assert kit[2] == ("mask", {"places": ["/proc/kcore"]})
    assert "read_only" not in names(steps)


def test_the_kit_has_the_nodes_of_dev() -> None:
    """The default nodes and links are made in the /dev of the kit; see config-linux.md, "Default Devices"."""
    kit: list[Step] = arguments(start(), "kit")["steps"]
    nodes = next(given["nodes"] for _, given in kit if given.get("target") == "/dev")
    assert ["null", "c", 1, 3, 0o666, 0, 0] in nodes
    assert ["fd", "/proc/self/fd"] in nodes
    assert len(nodes) == len(plan.DEFAULT_NODES) + len(plan.DEFAULT_LINKS)


def test_a_proc_of_the_users_keeps_the_kit_out() -> None:
    """Where the user mounts something at /proc everything is mounted in the container's own order."""
    spec = having(Mount("/proc", "bind", "/p", ("rbind",)))
    steps = start(spec)
    assert plan.split(spec) == ([], list(spec.mounts))
    assert not {"kit", "move_in"} & set(names(steps))
    assert targets(steps) == [mount.destination for mount in spec.mounts]
    assert arguments(steps, "mask") == {"places": ["/proc/kcore", "/sys/firmware"]}
    assert arguments(steps, "read_only") == {"places": ["/proc/sys"]}


def test_a_sys_of_the_users_leaves_dev_complete() -> None:
    """With the user's own /sys there is no kit, and /dev has its nodes and links all the same."""
    steps = start(having(Mount("/sys", "bind", "/sys", ("rbind",))))
    assert "kit" not in names(steps)
    nodes = next(given["nodes"] for _, given in steps if given.get("target") == "/dev")
    assert ["stdout", "/proc/self/fd/1"] in nodes
    assert ["null", "c", 1, 3, 0o666, 0, 0] in nodes
    assert "devices" not in names(steps)


def test_a_dev_of_the_users_gets_nodes_by_full_path() -> None:
    """In the user's own /dev missing nodes are made one by one, and nothing is linked."""
    steps = start(having(Mount("/dev", "bind", "/d", ("rbind",))))
    assert "kit" not in names(steps)
    nodes = arguments(steps, "devices")["nodes"]
    assert ["/dev/null", "c", 1, 3, 0o666, 0, 0] in nodes
    assert all(len(node) == 7 for node in nodes)


def test_binds_below_proc_and_dev_come_after_the_kit() -> None:
    """A user's bind below /dev or /proc is no part of the kit, which only has the kernel's file systems."""
    extra = (Mount("/dev/log", "bind", "/l", ()), Mount("/proc/cpuinfo", "bind", "/c", ()))
    steps = start(replace(USUAL, mounts=(*USUAL.mounts, *extra)))
    order = names(steps)
    assert targets(steps)[-2:] == ["/dev/log", "/proc/cpuinfo"]
    assert order.index("move_in") < order.index("mount")


def test_sysctls_of_the_sandbox_are_left_out() -> None:
    """What whoever makes network namespaces has set is not set again; without such a one it is."""
    assert arguments(start(), "sysctl") == {"values": {"kernel.msgmax": "1000"}}
    own = start(network=False)
    assert arguments(own, "sysctl")["values"] == {NETWORK: "0", "kernel.msgmax": "1000"}
    wanted = replace(USUAL, linux=replace(USUAL.linux, sysctl={NETWORK: "80"}))
    assert arguments(start(wanted), "sysctl") == {"values": {NETWORK: "80"}}


def test_devices_are_made_where_they_are_wanted() -> None:
    """Devices below /dev go to its mount by relative name, others are made beneath the root."""
    steps = start(devices(Device("/dev/net/tun", "c", 10, 200, 0o600, 1, 2), Device("/opt/null", "c", 1, 3)))
    kit: list[Step] = arguments(steps, "kit")["steps"]
    nodes = next(given["nodes"] for _, given in kit if given.get("target") == "/dev")
    assert ["net/tun", "c", 10, 200, 0o600, 1, 2] in nodes
    assert arguments(steps, "devices") == {"nodes": [["/opt/null", "c", 1, 3, 0o666, 0, 0]]}


def test_a_device_cannot_leave_dev_by_dots() -> None:
    """A path is made plain before it is sorted."""
    steps = start(devices(Device("/dev/../etc/x", "c", 1, 3, 0)))
    assert arguments(steps, "devices") == {"nodes": [["/etc/x", "c", 1, 3, 0, 0, 0]]}


def test_a_device_replaces_a_default_one() -> None:
    """A device of the Spec has the last word on its node's mode and owner."""
    steps = start(devices(Device("/dev/null", "c", 1, 3, 0o600, 7, 8)))
    kit: list[Step] = arguments(steps, "kit")["steps"]
    nodes = next(given["nodes"] for _, given in kit if given.get("target") == "/dev")
    assert [node for node in nodes if node[0] == "null"] == [["null", "c", 1, 3, 0o600, 7, 8]]


def test_a_terminal_is_opened_before_stdio() -> None:
    """With a terminal it is opened in the container's devpts, with its size and a console."""
    steps = start(process(terminal=True, console_size=Box(24, 80)))
    order = names(steps)
    assert arguments(steps, "open_terminal") == {"height": 24, "width": 80, "console": True}
    assert order.index("open_terminal") < order.index("stdin_out_err")


def test_limits_are_set_before_the_pivot() -> None:
    """Limits need the host's /proc and privileges."""
    steps = start(process(rlimits=(Rlimit("RLIMIT_NOFILE", 5, 9),), oom_score_adj=-3))
    assert arguments(steps, "rlimits") == {"limits": [["RLIMIT_NOFILE", 5, 9]]}
    assert arguments(steps, "oom_score") == {"value": -3}
    assert names(steps)[-4:] == ["rlimits", "oom_score", "pivot", "run"]


def test_one_folder_on_cgroup_version_2() -> None:
    """On version 2 the container's view of its cgroup is one folder."""
    steps = plan.start_plan(
        USUAL, place="/p", root=ROOT, cgroup_folders={"": "/cg/1"}, seccomp=None, groups=(), network=False
    )
    assert arguments(steps, "kit")["own"] == "/cg/1"
    assert "load_filter" not in names(steps)


def test_namespaces_that_the_fork_does_not_make() -> None:
    """An own network without a sandbox, and a cgroup namespace, are made by a step; joined ones are not."""
    flags = TYPES["network"][0]
    assert arguments(start(network=False), "unshare") == {"flags": flags}
    linux = replace(USUAL.linux, namespaces=(Namespace("mount"), Namespace("cgroup")))
    assert arguments(start(replace(USUAL, linux=linux)), "unshare") == {"flags": TYPES["cgroup"][0]}


def test_clone_flags() -> None:
    """The fork makes what has no path and is not left to later."""
    kinds = ("mount", "pid", "uts", "ipc")
    assert plan.clone_flags(USUAL) == sum(TYPES[kind][0] for kind in kinds)
    shared = replace(USUAL, linux=replace(USUAL.linux, namespaces=(Namespace("ipc", "/proc/1/ns/ipc"),)))
    assert plan.clone_flags(shared) == 0


def test_the_host_is_named_only_in_an_own_namespace() -> None:
    """Without an own UTS namespace the name is the host's to keep."""
    shared = replace(USUAL, linux=replace(USUAL.linux, namespaces=(Namespace("mount"),)))
    assert "names" not in names(start(shared))


def test_the_plan_of_an_exec() -> None:
    """An exec joins what the container has of its own and uses the root it finds there."""
    steps = plan.exec_plan(
        replace(PROCESS, terminal=True, cwd="/w", user=User(uid=5, gid=6, umask=0o77, additional_gids=(7,))),
        ("mount", "pid", "uts"),
        seccomp=None,
        groups=(),
    )
    assert names(steps) == ["join", "present_root", "open_terminal", "stdin_out_err", "run"]
    assert arguments(steps, "join") == {"index": 0, "flags": TYPES["mount"][0] | TYPES["uts"][0]}
    assert arguments(steps, "open_terminal")["console"] is False
    run = arguments(steps, "run")
    assert (run["cwd"], run["make_cwd"], run["user"], run["groups"]) == ("/w", False, "5:6", ["7"])
    assert run["umask"] == 0o77


def test_a_plan_can_be_read() -> None:
    """A plan prints as one numbered step a line."""
    text = describe([("join", {"index": 0, "flags": 2}), ("present_root", {})])
    assert [line.split() for line in text.splitlines()] == [
        ["1", "join", "index=0", "flags=2"],
        ["2", "present_root"],
    ]


def test_sources_of_the_host() -> None:
    """With the host's mount namespace handed over, all that is bound is opened in it before anything is made."""
    volume = Mount("/data", "bind", "/volumes/v", ("rbind", "rprivate", "X-mount.subdir=a"))
    memory = Mount("/tmp", "tmpfs", "tmpfs", ())
    spec = having(memory, volume)
    steps = plan.start_plan(
        spec,
        place="/run/root",
        root=ROOT,
        cgroup_folders=FOLDERS,
        seccomp=None,
        groups=(),
        network=True,
        host_mounts=True,
    )
    assert names(steps)[:4] == ["join", "names", "sources", "kit"]
    assert arguments(steps, "sources") == {
        "index": -1,
        "wanted": [["/state/hosts", ["rbind"]], ["/volumes/v", list(volume.options)]],
    }
    opened = {given["target"]: given.get("opened") for name, given in steps if name == "mount"}
    assert opened == {"/sys": None, "/etc/hosts": 0, "/tmp": None, "/data": 1}
    assert "opened" not in str(start(spec))
    assert {name for name, _ in steps} <= STEPS.keys()
