"""corten network create."""

from __future__ import annotations

import sys

from corten.cli.create.fields import pairs
from corten.cli.create.kinds import MAP
from corten.cli.create.subnets import subnets
from corten.cli.flags import BOOL, LIST, STRING, STRINGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Create a network"
USAGE = "[OPTIONS] NETWORK"


def arguments(parser: Parser) -> None:
    """A name, and what the network shall be."""
    parser.words(1, 1)
    parser.flag("attachable", BOOL, "Enable manual container attachment")
    parser.flag("aux-address", MAP, "Auxiliary IPv4 or IPv6 addresses used by Network driver")
    parser.flag("config-from", STRING, "The network from which to copy the configuration")
    parser.flag("config-only", BOOL, "Create a configuration only network")
    parser.flag("driver", STRING, "Driver to manage the Network", short="d", default="bridge")
    parser.flag("gateway", STRINGS, "IPv4 or IPv6 Gateway for the master subnet")
    parser.flag("ingress", BOOL, "Create swarm routing-mesh network", hidden=True)
    parser.flag("internal", BOOL, "Restrict external access to the network")
    parser.flag("ip-range", STRINGS, "Allocate container ip from a sub-range")
    parser.flag("ipam-driver", STRING, "IP Address Management Driver", default="default")
    parser.flag("ipam-opt", MAP, "Set IPAM driver specific options")
    parser.flag("ipv4", BOOL, "Enable or disable IPv4 address assignment", default=True)
    parser.flag("ipv6", BOOL, "Enable or disable IPv6 address assignment")
    parser.flag("label", LIST, "Set metadata on a network")
    parser.flag("opt", MAP, "Set driver specific options", short="o")
    parser.flag("scope", STRING, "Control the network's scope")
    parser.flag("subnet", STRINGS, "Subnet in CIDR format that represents a network segment")


def run(client: Client, args: Values) -> int:
    """POST /networks/create; prints the id."""
    answer = client.post("/networks/create", body(args))
    if answer.get("Warning"):
        sys.stderr.write(f"WARNING: {answer['Warning']}\n")
    sys.stdout.write(f"{answer['Id']}\n")
    return 0


def body(args: Values) -> dict[str, Any]:
    """What *args* ask for, as the API has it; what was not said of IPv4 and IPv6 is left to the engine."""
    config = subnets(args.subnet, args.ip_range, args.gateway, pairs(args.aux_address))
    wanted: dict[str, Any] = {
        "Name": args.words[0],
        "Driver": args.driver,
        "Scope": args.scope,
        "IPAM": {"Driver": args.ipam_driver, "Config": config, "Options": pairs(args.ipam_opt)},
        "Internal": args.internal,
        "Attachable": args.attachable,
        "Ingress": args.ingress,
        "ConfigOnly": args.config_only,
        "ConfigFrom": {"Network": args.config_from} if args.config_from else None,
        "Options": pairs(args.opt),
        "Labels": pairs(args.label),
    }
    given = {"EnableIPv4": "ipv4", "EnableIPv6": "ipv6"}
    return wanted | {name: getattr(args, flag) for name, flag in given.items() if flag in args.given}
