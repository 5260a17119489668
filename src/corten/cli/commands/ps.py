"""corten ps."""

from __future__ import annotations

import sys

from corten.cli.filters import FORMAT, encode
from corten.cli.flags import BOOL, FILTER, INT, STRING
from corten.cli.human import ago, moment, size
from corten.cli.output import listing
from corten.cli.template_functions import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "List containers"
USAGE = "[OPTIONS]"
SHORT_ID = 12  # hex digits
SHORT_TEXT = 20  # columns of a command, 15 of a mount
HEADERS: dict[str, Any] = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "State": "STATE",
    "Ports": "PORTS",
    "Names": "NAMES",
    "Size": "SIZE",
    "Labels": "LABELS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Mounts": "MOUNTS",
    "Networks": "NETWORKS",
    "Label": lambda name: name,
}
COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")


def arguments(parser: Parser) -> None:
    """Which containers, and how to show them."""
    parser.words(0, 0)
    parser.flag("all", BOOL, "Show all containers (default shows just running)", short="a")
    parser.flag("filter", FILTER, "Filter output based on conditions provided", short="f")
    parser.flag("format", STRING, FORMAT)
    parser.flag("last", INT, "Show n last created containers (includes all states)", short="n", default=-1)
    parser.flag("latest", BOOL, "Show the latest created container (includes all states)", short="l")
    parser.flag("no-trunc", BOOL, "Don't truncate output")
    parser.flag("quiet", BOOL, "Only display container IDs", short="q")
    parser.flag("size", BOOL, "Display total file sizes", short="s")


def run(client: Client, args: Values) -> int:
    """GET /containers/json."""
    last = 1 if args.latest and args.last < 0 else args.last
    sizes = args.size or ".Size" in args.format
    found = client.get(
        "/containers/json",
        all=args.all,
        limit=last if last > 0 else None,
        size=sizes,
        filters=encode(args.filter),
    )
    columns = (*COLUMNS, "Size") if args.size else COLUMNS
    rows = [row(container, whole=args.no_trunc) for container in found]
    sys.stdout.write(listing(rows, HEADERS, columns, args.format, key="ID" if args.quiet else ""))
    return 0


def row(container: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    """One entry of the API's list as the fields of a template; *whole* keeps long texts."""
    labels = container.get("Labels") or {}
    mounts = container.get("Mounts") or []
    names = [name.lstrip("/") for name in container.get("Names") or []]
    places = [mount.get("Name") or mount.get("Source", "") for mount in mounts]
    command = container["Command"]
    return {
        "ID": container["Id"] if whole else container["Id"][:SHORT_ID],
        "Image": _image(container, whole=whole),
        "Command": quoted(command if whole else shorten(command, SHORT_TEXT)),
        "CreatedAt": moment(container["Created"]),
        "RunningFor": ago(container["Created"]),
        "Status": container["Status"],
        "State": container["State"],
        "Ports": ports(container.get("Ports") or []),
        "Names": ",".join(names if whole else [name for name in names if "/" not in name]),
        "Size": _size(container),
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(labels.items())),
        "LocalVolumes": str(sum(mount.get("Driver") == "local" for mount in mounts)),
        "Mounts": ",".join(places if whole else [shorten(place, 15) for place in places]),
        "Networks": ",".join((container.get("NetworkSettings") or {}).get("Networks") or {}),
        "Label": lambda name: labels.get(name, ""),
    }


def shorten(text: str, columns: int) -> str:
    """*text* cut to *columns*, with an ellipsis where something is missing."""
    return text if len(text) <= columns else text[: columns - 1] + "…"


def ports(published: list[dict[str, Any]]) -> str:
    """Ports as ``ps`` shows them, neighbours joined: ``0.0.0.0:80-81->80-81/tcp, 53/udp``."""
    groups: list[list[Any]] = []
    for port in sorted(published, key=_order):
        host, inner, kind = port.get("PublicPort") or 0, port["PrivatePort"], port["Type"]
        address = port.get("IP") or ""
        if groups:
            last = groups[-1]
            steps = (last[2] + 1 == inner) and (not host or last[4] + 1 == host)
            if last[0] == (address, kind, bool(host)) and steps:
                last[2], last[4] = inner, host
                continue
        groups.append([(address, kind, bool(host)), inner, inner, host, host])
    return ", ".join(_port(*group) for group in groups)


def _order(port: dict[str, Any]) -> tuple[Any, ...]:
    return (bool(port.get("PublicPort")), port.get("IP") or "", port["Type"], port["PrivatePort"])


def _port(group: tuple[str, str, bool], first: int, last: int, host: int, host_last: int) -> str:
    address, kind, public = group
    inner = f"{first}-{last}" if last > first else str(first)
    if not public:
        return f"{inner}/{kind}"
    outer = f"{host}-{host_last}" if host_last > host else str(host)
    where = f"[{address}]" if ":" in address else address
    return f"{where}:{outer}->{inner}/{kind}"


def _image(container: dict[str, Any], *, whole: bool) -> str:
    image = str(container["Image"] or "<no image>")
    if whole:
        return image
    bare = image.removeprefix("sha256:")
    if bare == container.get("ImageID", "").removeprefix("sha256:"):
        return bare[:SHORT_ID]
    name, at, _ = image.partition("@")
    return name if at and ":" in name.rpartition("/")[2] else image


def _size(container: dict[str, Any]) -> str:
    written, total = container.get("SizeRw") or 0, container.get("SizeRootFs") or 0
    text = size(written, 3)
    return f"{text} (virtual {size(total, 3)})" if total else text
