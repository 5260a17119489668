"""corten network connect."""

from __future__ import annotations

from corten.cli.client import quote
from corten.cli.create.fields import pairs
from corten.cli.flags import INT, LIST, STRING, STRINGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Connect a container to a network"
USAGE = "[OPTIONS] NETWORK CONTAINER"


def arguments(parser: Parser) -> None:
    """Both names, and what the container asks of the network."""
    parser.words(2, 2)
    parser.flag("alias", STRINGS, "Add network-scoped alias for the container")
    parser.flag("driver-opt", STRINGS, "Driver options for the network")
    parser.flag("gw-priority", INT, "Highest gw-priority provides the default gateway")
    parser.flag("ip", STRING, 'IPv4 address (e.g., "172.30.100.104")')
    parser.flag("ip6", STRING, 'IPv6 address (e.g., "2001:db8::33")')
    parser.flag("link", LIST, "Add link to another container")
    parser.flag("link-local-ip", STRINGS, "Add a link-local address for the container")


def run(client: Client, args: Values) -> int:
    """POST /networks/{id}/connect."""
    network, container = args.words
    addresses = {"IPv4Address": args.ip, "IPv6Address": args.ip6, "LinkLocalIPs": args.link_local_ip}
    settings = {
        "IPAMConfig": {name: value for name, value in addresses.items() if value},
        "Links": args.link,
        "Aliases": args.alias,
        "DriverOpts": pairs(args.driver_opt),
        "GwPriority": args.gw_priority,
    }
    body = {"Container": container, "EndpointConfig": settings}
    client.post(f"/networks/{quote(network)}/connect", body)
    return 0
