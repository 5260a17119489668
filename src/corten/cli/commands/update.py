"""corten update."""

from __future__ import annotations

import sys

from corten.cli.client import quote
from corten.cli.create.kinds import DECIMAL, MOUNT, NETWORK, SIZE, SWAP, UINT16
from corten.cli.each import each
from corten.cli.failure import Failure
from corten.cli.flags import INT, LIST, STRING
from corten.cli.output import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Kind, Parser, Values

HELP = "Update configuration of one or more containers"
USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"
# flag, short, kind, member of the request, meaning
LIMITS: tuple[tuple[str, str, Kind, str, str], ...] = (
    (
        "blkio-weight",
        "",
        UINT16,
        "BlkioWeight",
        "Block IO (relative weight), between 10 and 1000, or 0 to disable",
    ),
    ("cpu-period", "", INT, "CpuPeriod", "Limit CPU CFS (Completely Fair Scheduler) period"),
    ("cpu-quota", "", INT, "CpuQuota", "Limit CPU CFS (Completely Fair Scheduler) quota"),
    ("cpu-rt-period", "", INT, "CpuRealtimePeriod", "Limit the CPU real-time period in microseconds"),
    ("cpu-rt-runtime", "", INT, "CpuRealtimeRuntime", "Limit the CPU real-time runtime in microseconds"),
    ("cpu-shares", "c", INT, "CpuShares", "CPU shares (relative weight)"),
    ("cpus", "", DECIMAL, "NanoCpus", "Number of CPUs"),
    ("cpuset-cpus", "", STRING, "CpusetCpus", "CPUs in which to allow execution (0-3, 0,1)"),
    ("cpuset-mems", "", STRING, "CpusetMems", "MEMs in which to allow execution (0-3, 0,1)"),
    ("memory", "m", SIZE, "Memory", "Memory limit"),
    ("memory-reservation", "", SIZE, "MemoryReservation", "Memory soft limit"),
    (
        "memory-swap",
        "",
        SWAP,
        "MemorySwap",
        "Swap limit equal to memory plus swap: -1 to enable unlimited swap",
    ),
    ("pids-limit", "", INT, "PidsLimit", "Tune container pids limit (set -1 for unlimited)"),
)
# flag, kind, meaning: changes that need no restart either
LIVE: tuple[tuple[str, Kind, str], ...] = (
    ("label-add", LIST, "Add or change a label"),
    ("label-rm", LIST, "Remove a label by its key"),
    ("mount-add", MOUNT, "Add a mount, as run --mount has it"),
    ("mount-rm", LIST, "Remove a mount by its target in the container"),
    ("network-add", NETWORK, "Connect to a network, as run --network has it"),
    ("network-rm", LIST, "Disconnect from a network"),
    ("publish-add", LIST, "Publish a port, as run --publish has it"),
    ("publish-rm", LIST, "Publish a port no more: 80, 80/udp or 8080:80"),
    ("volume-add", LIST, "Add a mount, as run --volume has it"),
)


def arguments(parser: Parser) -> None:
    """One container or more, and what changes."""
    parser.words(1)
    for name, short, kind, _, meaning in LIMITS:
        parser.flag(name, kind, meaning, short=short)
    parser.flag("restart", STRING, "Restart policy to apply when a container exits")
    parser.flag("kernel-memory", SIZE, "Accepted, no effect", hidden=True)
    for name, kind, meaning in LIVE:
        parser.flag(name, kind, meaning)


def run(client: Client, args: Values) -> int:
    """POST /containers/{id}/update, the same for each."""
    if not args.given:
        raise Failure("you must provide one or more flags when using this command.")
    body = request(args)

    def show(name: str, answer: Any) -> None:
        for warning in (answer or {}).get("Warnings") or ():
            sys.stderr.write(f"{warning}\n")
        say(name)

    return each(
        args.words, lambda name: client.begin("POST", f"/containers/{quote(name)}/update", body), show
    )


def request(args: Values) -> dict[str, Any]:
    """The body: only what was said.

    Raises:
        Failure: a policy, port or mount that makes no sense.
    """
    given = args.given
    body: dict[str, Any] = {
        member: getattr(args, name)
        for flag, _, _, member, _ in LIMITS
        if (name := flag.replace("-", "_")) in given
    }
    if "restart" in given:
        from corten.cli.create.special import restart_policy

        body["RestartPolicy"] = restart_policy(args.restart)
    _labels(args, body)
    _ports(args, body)
    _mounts(args, body)
    if args.network_add:
        body["NetworkAdd"] = {item["name"]: item["endpoint"] for item in args.network_add}
    if args.network_rm:
        body["NetworkRemove"] = args.network_rm
    return body


def _labels(args: Values, body: dict[str, Any]) -> None:
    if args.label_add:
        from corten.cli.create.fields import pairs

        body["LabelAdd"] = pairs(args.label_add)
    if args.label_rm:
        body["LabelRemove"] = args.label_rm


def _ports(args: Values, body: dict[str, Any]) -> None:
    for flag, member in (("publish_add", "PublishAdd"), ("publish_rm", "PublishRemove")):
        if flag in args.given:
            from corten.cli.create import ports

            host: dict[str, Any] = {}
            ports.apply(getattr(args, flag), [], host, {})
            body[member] = host["PortBindings"]


def _mounts(args: Values, body: dict[str, Any]) -> None:
    mounts: list[dict[str, Any]] = list(args.mount_add)
    if args.volume_add:
        from corten.cli.create.mounts import volumes

        binds, anonymous = volumes(args.volume_add)
        mounts += [{"Type": "volume", "Target": target} for target in anonymous]
        if binds:
            body["BindAdd"] = binds
    if mounts:
        body["MountAdd"] = mounts
    if args.mount_rm:
        body["MountRemove"] = args.mount_rm
