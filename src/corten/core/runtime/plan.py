"""Spec -> plan: the steps that a forked child takes to become what the Spec says. Pure.

The order follows runtime-spec runtime.md and what each step needs: what reads
host files comes before ``pivot``, what needs privileges before ``run``. A plan
is plain data; ``init.child.describe`` prints it.
"""

import os
from typing import Any

from corten.linux.namespaces import TYPES
from corten.oci.spec import Device, Mount, Process, Spec

Step = tuple[str, dict[str, Any]]

# runtime-spec config-linux.md, "Default Devices"
DEFAULT_NODES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)
DEFAULT_LINKS = (
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
)
TOPS = ("/proc", "/dev")
CGROUP = "/sys/fs/cgroup"
KERNEL_TYPES = ("proc", "tmpfs", "devpts", "mqueue")
# what whoever makes network namespaces for us sets in them
NETWORK = {"net.ipv4.ping_group_range": "0 2147483647", "net.ipv4.ip_unprivileged_port_start": "0"}
ATTACHED_LATER = ("network", "cgroup", "user", "time")  # namespaces that the fork itself does not make


def clone_flags(spec: Spec) -> int:
    """Return the ``CLONE_NEW*`` bits that the fork is made with."""
    kinds = [n.type for n in spec.linux.namespaces if not n.path and n.type not in ATTACHED_LATER]
    return sum(TYPES[kind][0] for kind in kinds)


def start_plan(
    spec: Spec,
    *,
    place: str,
    root: Mount,
    cgroup_folders: dict[str, str],
    seccomp: tuple[str, int] | None,
    groups: tuple[str, ...],
    network: bool,
    host_mounts: bool = False,
) -> list[Step]:
    """Return the steps of a container's first process.

    Args:
        spec: What it shall be.
        place: Trusted empty folder where the root is mounted before the pivot.
        root: The mount that is the root file system.
        cgroup_folders: Name -> folder of the container's cgroup in each hierarchy;
            one entry ``""`` on cgroup v2.
        seccomp: Path of the compiled filter and its flags; None for none.
        groups: Supplementary groups, names or numbers.
        network: Whether descriptor 0 of those handed over is a network namespace to join.
        host_mounts: Whether the last descriptor handed over is the mount namespace in
            which the sources of binds are looked up; else they are in the child's own,
            which may be older than a mount of the host.
    """
    kit, rest = split(spec)
    binds = [mount for mount in rest if mount.type == "bind"] if host_mounts else []
    in_dev, elsewhere = _devices(spec.linux.devices)
    steps: list[Step] = [("load_filter", {"path": seccomp[0], "flags": seccomp[1]})] if seccomp else []
    steps += _namespaces(spec, network)
    if binds:
        sources = [[mount.source, list(mount.options)] for mount in binds]
        steps.append(("sources", {"index": -1, "wanted": sources}))
    if kit:
        steps.append(("kit", {"at": place, "steps": kit, "own": _cgroup_source(cgroup_folders)}))
    steps.append(
        ("root", {"at": place, **_mount(root, "kind"), "propagation": spec.linux.rootfs_propagation}),
    )
    made = [arguments["target"] for name, arguments in kit if name == "mount"]
    if kit:
        steps.append(("move_in", {"targets": list(TOPS)}))
    for mount in rest:
        source = _cgroup_source(cgroup_folders) if mount.type == "cgroup" else mount.source
        nodes = {"nodes": in_dev} if (mount.destination, mount.type) == ("/dev", "tmpfs") else {}
        opened = {"opened": binds.index(mount)} if mount in binds else {}
        steps.append(
            (
                "mount",
                {"target": mount.destination, **_mount(mount, "kind"), "source": source, **nodes, **opened},
            )
        )
        if mount.destination == "/sys" and CGROUP in made:
            steps.append(("move_in", {"targets": [CGROUP]}))
    if not any(a.get("nodes") for _, a in (*kit, *steps)):
        elsewhere += [[f"/dev/{node[0]}", *node[1:]] for node in in_dev if len(node) > 2]
    if elsewhere:
        steps.append(("devices", {"nodes": elsewhere}))
    steps += _terminal(spec.process, console=True)
    steps.append(("stdin_out_err", {}))
    wanted = _sysctls(spec, network)
    if wanted:
        steps.append(("sysctl", {"values": wanted}))
    in_kit = {path for name, a in kit if name != "mount" for path in a["places"]}
    for name, places in (("read_only", spec.linux.readonly_paths), ("mask", spec.linux.masked_paths)):
        left = [path for path in places if path not in in_kit]
        if left:
            steps.append((name, {"places": left}))
    steps += _limits(spec.process)
    steps.append(("pivot", {"readonly": spec.root.readonly, "marker": True}))
    steps.append(("run", {**_run(spec.process, groups), "make_cwd": True}))
    return steps


def split(spec: Spec) -> tuple[list[Step], list[Mount]]:
    """Return the steps of the kit, and the mounts that are not in it.

    The kit is what two containers have in common that differ in image, network,
    limits and command: /proc with what is hidden in it, /dev with all below, and
    the view of their own cgroup, whose source stays empty: each child knows its own.
    A child makes it while it is parked. Mounts of the user's below these two, or
    a /proc or /dev of their own, stay outside.
    """
    kit: list[Step] = []
    rest: list[Mount] = []
    in_dev, _ = _devices(spec.linux.devices)
    for mount in spec.mounts:
        top = next(
            (top for top in TOPS if mount.destination == top or mount.destination.startswith(f"{top}/")), ""
        )
        own = mount.destination == CGROUP and mount.type == "cgroup"
        if not own and (not top or mount.type not in KERNEL_TYPES):
            rest.append(mount)
            continue
        arguments = {"target": mount.destination, **_mount(mount, "kind"), **({"source": ""} if own else {})}
        if mount.destination == "/dev":
            arguments["nodes"] = in_dev
        kit.append(("mount", arguments))
        if mount.destination == "/proc":
            for name, places in (("read_only", spec.linux.readonly_paths), ("mask", spec.linux.masked_paths)):
                below = [path for path in places if path.startswith("/proc/")]
                if below:
                    kit.append((name, {"places": below}))
    made = {a["target"] for name, a in kit if name == "mount"}
    sys_is_ours = any(m.destination == "/sys" and m.type == "sysfs" for m in rest)
    if not made.issuperset(TOPS) or (CGROUP in made and not sys_is_ours):
        return [], list(spec.mounts)
    return kit, rest


def exec_plan(
    process: Process, kinds: tuple[str, ...], *, seccomp: tuple[str, int] | None, groups: tuple[str, ...]
) -> list[Step]:
    """Return the steps of one more process in a container; descriptor 0 handed over is its first one's pidfd.

    Args:
        process: What to run.
        kinds: Types of the namespaces that the container has of its own; the pid
            namespace is entered by the fork.
        seccomp: Path of the compiled filter and its flags; None for none.
        groups: Supplementary groups, names or numbers.
    """
    flags = sum(TYPES[kind][0] for kind in kinds if kind not in ("pid", "user"))
    steps: list[Step] = [("load_filter", {"path": seccomp[0], "flags": seccomp[1]})] if seccomp else []
    steps += _limits(process)
    steps.append(("join", {"index": 0, "flags": flags}))
    steps.append(("present_root", {}))
    steps += _terminal(process, console=False)
    steps.append(("stdin_out_err", {}))
    steps.append(("run", {**_run(process, groups), "make_cwd": False}))
    return steps


def _sysctls(spec: Spec, network: bool) -> dict[str, str]:
    """Return the kernel parameters to set; a network namespace that is handed over has those of NETWORK set."""
    return {
        key: value for key, value in spec.linux.sysctl.items() if not (network and NETWORK.get(key) == value)
    }


def _mount(mount: Mount, kind: str) -> dict[str, Any]:
    return {kind: mount.type, "source": mount.source, "options": list(mount.options)}


def _namespaces(spec: Spec, network: bool) -> list[Step]:
    """Return the steps that join or make what the fork did not, and name the host."""
    steps: list[Step] = []
    kinds = {n.type: n.path for n in spec.linux.namespaces}
    if network:
        steps.append(("join", {"index": 0, "flags": TYPES["network"][0]}))
    flags = sum(TYPES[kind][0] for kind in ("cgroup",) if kind in kinds and not kinds[kind])
    if "network" in kinds and not network:
        flags += TYPES["network"][0]
    if flags:
        steps.append(("unshare", {"flags": flags}))
    if "uts" in kinds and (spec.hostname or spec.domainname):
        steps.append(("names", {"hostname": spec.hostname, "domainname": spec.domainname}))
    return steps


def _devices(devices: tuple[Device, ...]) -> tuple[list[list[Any]], list[list[Any]]]:
    """Return the nodes of /dev by names relative to it, and those elsewhere by full path."""
    nodes: dict[str, list[Any]] = {
        name: [name, "c", major, minor, 0o666, 0, 0] for name, major, minor in DEFAULT_NODES
    }
    nodes |= {name: [name, target] for name, target in DEFAULT_LINKS}
    elsewhere: list[list[Any]] = []
    for device in devices:
        facts = [
            device.type,
            device.major,
            device.minor,
            0o666 if device.file_mode is None else device.file_mode,
            device.uid or 0,
            device.gid or 0,
        ]
        path = os.path.normpath(device.path)
        if path.startswith("/dev/"):
            nodes[path[5:]] = [path[5:], *facts]
        else:
            elsewhere.append([path, *facts])
    return list(nodes.values()), elsewhere


def _cgroup_source(folders: dict[str, str]) -> str:
    """Return the ``source`` of a cgroup mount; see filesystem.mount."""
    if list(folders) == [""]:
        return folders[""]
    return ";".join(f"{name}={folder}" for name, folder in folders.items())


def _terminal(process: Process, console: bool) -> list[Step]:
    if not process.terminal:
        return []
    size = process.console_size
    height, width = (size.height, size.width) if size else (0, 0)
    return [("open_terminal", {"height": height, "width": width, "console": console})]


def _limits(process: Process) -> list[Step]:
    """Return what is set through the host's /proc or before privileges go."""
    steps: list[Step] = []
    if process.rlimits:
        steps.append(("rlimits", {"limits": [[r.type, r.soft, r.hard] for r in process.rlimits]}))
    if process.oom_score_adj is not None:
        steps.append(("oom_score", {"value": process.oom_score_adj}))
    return steps


def _run(process: Process, groups: tuple[str, ...]) -> dict[str, Any]:
    """Return the arguments of the last step."""
    caps = process.capabilities
    user = process.user
    return {
        "args": list(process.args),
        "env": list(process.env),
        "cwd": process.cwd,
        "user": user.username or f"{user.uid}:{user.gid}",
        "groups": [*groups, *(str(gid) for gid in user.additional_gids)],
        "capabilities": None
        if caps is None
        else {name: list(getattr(caps, name)) for name in caps.__struct_fields__},
        "no_new_privileges": process.no_new_privileges,
        "umask": 0o022 if user.umask is None else user.umask,
    }
