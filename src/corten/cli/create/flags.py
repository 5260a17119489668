"""The flags that ``run`` and ``create`` share: what a container shall be."""

from __future__ import annotations

from corten.cli.create.kinds import (
    DECIMAL,
    DURATION,
    GPUS,
    MAP,
    MOUNT,
    NETWORK,
    SIZE,
    SWAP,
    SYSCTL,
    UINT16,
    ULIMIT,
)
from corten.cli.flags import BOOL, INT, LIST, STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.flags import Kind, Parser

# name, kind, meaning
FLAGS: tuple[tuple[str, Kind, str], ...] = (
    ("add-host", LIST, "Add a custom host-to-IP mapping (host:ip)"),
    ("annotation", MAP, "Add an annotation to the container (passed through to the OCI runtime)"),
    ("blkio-weight", UINT16, "Block IO (relative weight), between 10 and 1000, or 0 to disable"),
    ("blkio-weight-device", LIST, "Block IO weight (relative device weight)"),
    ("cap-add", LIST, "Add Linux capabilities"),
    ("cap-drop", LIST, "Drop Linux capabilities"),
    ("cgroup-parent", STRING, "Optional parent cgroup for the container"),
    ("cgroupns", STRING, "Cgroup namespace to use (host|private)"),
    ("cidfile", STRING, "Write the container ID to the file"),
    ("cpu-period", INT, "Limit CPU CFS (Completely Fair Scheduler) period"),
    ("cpu-quota", INT, "Limit CPU CFS (Completely Fair Scheduler) quota"),
    ("cpu-rt-period", INT, "Limit CPU real-time period in microseconds"),
    ("cpu-rt-runtime", INT, "Limit CPU real-time runtime in microseconds"),
    ("cpus", DECIMAL, "Number of CPUs"),
    ("cpuset-cpus", STRING, "CPUs in which to allow execution (0-3, 0,1)"),
    ("cpuset-mems", STRING, "MEMs in which to allow execution (0-3, 0,1)"),
    ("device", LIST, "Add a host device to the container"),
    ("device-cgroup-rule", LIST, "Add a rule to the cgroup allowed devices list"),
    ("device-read-bps", LIST, "Limit read rate (bytes per second) from a device"),
    ("device-read-iops", LIST, "Limit read rate (IO per second) from a device"),
    ("device-write-bps", LIST, "Limit write rate (bytes per second) to a device"),
    ("device-write-iops", LIST, "Limit write rate (IO per second) to a device"),
    ("dns", LIST, "Set custom DNS servers"),
    ("dns-option", LIST, "Set DNS options"),
    ("dns-search", LIST, "Set custom DNS search domains"),
    ("domainname", STRING, "Container NIS domain name"),
    ("entrypoint", STRING, "Overwrite the default ENTRYPOINT of the image"),
    ("env-file", LIST, "Read in a file of environment variables"),
    ("expose", LIST, "Expose a port or a range of ports"),
    ("gpus", GPUS, "GPU devices to add to the container ('all' to pass all GPUs)"),
    ("group-add", LIST, "Add additional groups to join"),
    ("health-cmd", STRING, "Command to run to check health"),
    ("health-interval", DURATION, "Time between running the check (ms|s|m|h)"),
    ("health-retries", INT, "Consecutive failures needed to report unhealthy"),
    (
        "health-start-interval",
        DURATION,
        "Time between running the check during the start period (ms|s|m|h)",
    ),
    (
        "health-start-period",
        DURATION,
        "Start period for the container to initialize before starting health-retries countdown (ms|s|m|h)",
    ),
    ("health-timeout", DURATION, "Maximum time to allow one check to run (ms|s|m|h)"),
    ("init", BOOL, "Run an init inside the container that forwards signals and reaps processes"),
    ("ip", STRING, "IPv4 address (e.g., 172.30.100.104)"),
    ("ip6", STRING, "IPv6 address (e.g., 2001:db8::33)"),
    ("ipc", STRING, "IPC mode to use"),
    ("isolation", STRING, "Container isolation technology"),
    ("label-file", LIST, "Read in a line delimited file of labels"),
    ("link", LIST, "Add link to another container"),
    ("link-local-ip", LIST, "Container IPv4/IPv6 link-local addresses"),
    ("log-driver", STRING, "Logging driver for the container"),
    ("log-opt", LIST, "Log driver options"),
    ("mac-address", STRING, "Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
    ("memory-reservation", SIZE, "Memory soft limit"),
    ("memory-swap", SWAP, "Swap limit equal to memory plus swap: '-1' to enable unlimited swap"),
    ("mount", MOUNT, "Attach a filesystem mount to the container"),
    ("name", STRING, "Assign a name to the container"),
    ("network", NETWORK, "Connect a container to a network"),
    ("network-alias", LIST, "Add network-scoped alias for the container"),
    ("no-healthcheck", BOOL, "Disable any container-specified HEALTHCHECK"),
    ("oom-kill-disable", BOOL, "Disable OOM Killer"),
    ("oom-score-adj", INT, "Tune host's OOM preferences (-1000 to 1000)"),
    ("pid", STRING, "PID namespace to use"),
    ("pids-limit", INT, "Tune container pids limit (set -1 for unlimited)"),
    ("platform", STRING, "Set platform if server is multi-platform capable"),
    ("privileged", BOOL, "Give extended privileges to this container"),
    ("read-only", BOOL, "Mount the container's root filesystem as read only"),
    ("rm", BOOL, "Automatically remove the container and its associated anonymous volumes when it exits"),
    ("runtime", STRING, "Runtime to use for this container"),
    ("security-opt", LIST, "Security Options"),
    ("shm-size", SIZE, "Size of /dev/shm"),
    ("stop-signal", STRING, "Signal to stop the container"),
    ("stop-timeout", INT, "Timeout (in seconds) to stop a container"),
    ("storage-opt", LIST, "Storage driver options for the container"),
    ("sysctl", SYSCTL, "Sysctl options"),
    ("tmpfs", LIST, "Mount a tmpfs directory"),
    ("ulimit", ULIMIT, "Ulimit options"),
    ("userns", STRING, "User namespace to use"),
    ("uts", STRING, "UTS namespace to use"),
    ("volume-driver", STRING, "Optional volume driver for the container"),
    ("volumes-from", LIST, "Mount volumes from the specified container(s)"),
)
SHORT: tuple[tuple[str, str, Kind, str], ...] = (
    ("a", "attach", LIST, "Attach to STDIN, STDOUT or STDERR"),
    ("c", "cpu-shares", INT, "CPU shares (relative weight)"),
    ("e", "env", LIST, "Set environment variables"),
    ("h", "hostname", STRING, "Container host name"),
    ("i", "interactive", BOOL, "Keep STDIN open even if not attached"),
    ("l", "label", LIST, "Set meta data on a container"),
    ("m", "memory", SIZE, "Memory limit"),
    ("p", "publish", LIST, "Publish a container's port(s) to the host"),
    ("P", "publish-all", BOOL, "Publish all exposed ports to random ports"),
    ("q", "quiet", BOOL, "Suppress the pull output"),
    ("t", "tty", BOOL, "Allocate a pseudo-TTY"),
    ("u", "user", STRING, "Username or UID (format: <name|uid>[:<group|gid>])"),
    ("v", "volume", LIST, "Bind mount a volume"),
    ("w", "workdir", STRING, "Working directory inside the container"),
)
OLD = (("net", "network"), ("net-alias", "network-alias"), ("dns-opt", "dns-option"))


def declare(parser: Parser) -> None:
    """Declare them all, and that an image and a command line follow."""
    parser.words(1, interspersed=False)
    for name, kind, meaning in FLAGS:
        parser.flag(name, kind, meaning)
    for letter, name, kind, meaning in SHORT:
        parser.flag(name, kind, meaning, short=letter)
    for old, name in OLD:
        parser.alias(old, name)
    swappiness = "Tune container memory swappiness (0 to 100)"
    parser.flag("memory-swappiness", INT, swappiness, default=-1)
    parser.flag("pull", STRING, 'Pull image before running ("always", "missing", "never")', default="missing")
    parser.flag("restart", STRING, "Restart policy to apply when a container exits", default="no")
    parser.flag("kernel-memory", SIZE, "Accepted, no effect", hidden=True)
    parser.flag("help", BOOL, "Print usage")
