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
    """Ports as ``ps`` shows them, neighbours joined: ``0.0.0.0:8080-8082->80-82/tcp, 53/udp``.

    The order is that of Docker's client: by the port inside, those whose port
    on the host is another one last.
    """
    done: list[tuple[bool, str]] = []
    spans: dict[tuple[str, str, int | None], tuple[int, int]] = {}
    for port in sorted(published, key=_order):
        inner, outer = port["PrivatePort"], port.get("PublicPort") or 0
        key = (port.get("IP") or "", port["Type"], outer - inner if outer else None)
        first, last = spans.get(key, (inner, inner))
        if inner > last + 1:
            done.append(_span(key, first, last))
            first = inner
        spans[key] = (first, inner)
    done += [_span(key, *span) for key, span in spans.items()]
    return ", ".join(text for _, text in sorted(done, key=lambda item: item[0]))


def _order(port: dict[str, Any]) -> tuple[Any, ...]:
    return port["PrivatePort"], port.get("IP") or "", port.get("PublicPort") or 0, port["Type"]


def _span(key: tuple[str, str, int | None], first: int, last: int) -> tuple[bool, str]:
    """Ports that follow each other, and whether they are others on the host.

    The last part of *key* is how far those of the host are from those inside,
    None without any.
    """
    address, kind, distance = key
    inner = f"{first}-{last}" if last > first else str(first)
    if distance is None:
        return False, f"{inner}/{kind}"
    outer = f"{first + distance}-{last + distance}" if last > first else str(first + distance)
    return distance != 0, f"{f'[{address}]' if ':' in address else address}:{outer}->{inner}/{kind}"


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
