"""corten images."""

from __future__ import annotations

import sys

from corten.cli.failure import Failure
from corten.cli.filters import FORMAT, encode
from corten.cli.flags import BOOL, FILTER, STRING
from corten.cli.human import ago, moment, size
from corten.cli.output import listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "List images"
USAGE = "[OPTIONS] [REPOSITORY[:TAG]]"
NONE = "<none>"
SHORT_ID = 12  # hex digits
HEADERS = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "VirtualSize": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "Containers": "CONTAINERS",
}


def arguments(parser: Parser) -> None:
    """Which images, and how to show them."""
    parser.words(0, 1)
    parser.flag("all", BOOL, "Show all images (default hides intermediate images)", short="a")
    parser.flag("digests", BOOL, "Show digests")
    parser.flag("filter", FILTER, "Filter output based on conditions provided", short="f")
    parser.flag("format", STRING, FORMAT)
    parser.flag("no-trunc", BOOL, "Don't truncate output")
    parser.flag("quiet", BOOL, "Only show image IDs", short="q")
    parser.flag("tree", BOOL, "Show which layers the images share")


def run(client: Client, args: Values) -> int:
    """GET /images/json."""
    only = {"reference": args.words[0]} if args.words else {}
    filters = encode(args.filter, **only)
    if args.tree:
        return _tree(client, args, filters)
    shared = any(name in args.format for name in (".SharedSize", ".UniqueSize", ".Containers"))
    found = client.get("/images/json", all=args.all, filters=filters, **{"shared-size": shared})
    lines = [row for image in found for row in rows(image, digests=args.digests, whole=args.no_trunc)]
    digest = ("Digest",) if args.digests else ()
    columns = ("Repository", "Tag", *digest, "ID", "CreatedSince", "Size")
    sys.stdout.write(listing(lines, HEADERS, columns, args.format, key="ID" if args.quiet else ""))
    return 0


def _tree(client: Client, args: Values, filters: str | None) -> int:
    """Write the images as a tree of layers."""
    from corten.cli.layers import tree

    for name in ("digests", "format", "no_trunc", "quiet"):
        if name in args.given:
            raise Failure(f"--{name.replace('_', '-')} cannot be used together with --tree: leave one out")
    sys.stdout.write(tree(client.get("/images/json", all=True, filters=filters, layers=True)))
    return 0


def rows(image: dict[str, Any], *, digests: bool, whole: bool) -> list[dict[str, Any]]:
    """One row per name of the image; a nameless image has one row as well."""
    by_repository = {
        name.partition("@")[0]: name.partition("@")[2] for name in image.get("RepoDigests") or []
    }
    names = [name.rpartition(":")[::2] for name in image.get("RepoTags") or [] if name != "<none>:<none>"]
    if not names:
        names = (
            [(name, NONE) for name in by_repository] if digests else [(next(iter(by_repository), NONE), NONE)]
        )
    fields = {
        "ID": image["Id"] if whole else image["Id"].rpartition(":")[2][:SHORT_ID],
        "CreatedSince": ago(image["Created"]) if image["Created"] else "N/A",
        "CreatedAt": moment(image["Created"]),
        "Size": size(image["Size"], 3),
        "VirtualSize": size(image["Size"]),
        "SharedSize": _optional(image, "SharedSize"),
        "UniqueSize": _unique(image),
        "Containers": str(image.get("Containers", -1)) if image.get("Containers", -1) >= 0 else "N/A",
    }
    return [
        fields | {"Repository": name, "Tag": tag, "Digest": by_repository.get(name, NONE)}
        for name, tag in names or [(NONE, NONE)]
    ]


def _unique(image: dict[str, Any]) -> str:
    shared = image.get("SharedSize", -1)
    return size(image["Size"] - shared, 3) if shared >= 0 else "N/A"


def _optional(image: dict[str, Any], field: str) -> str:
    return size(image[field], 3) if image.get(field, -1) >= 0 else "N/A"
