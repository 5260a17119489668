"""corten manifest inspect."""

from __future__ import annotations

import sys
from binascii import b2a_base64

from corten.cli.client import quote
from corten.cli.credentials import full_name, header
from corten.cli.failure import Failure
from corten.cli.flags import BOOL
from corten.cli.names import split_reference
from corten.cli.wire import loads, pretty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.client import Client
    from corten.cli.flags import Parser, Values

HELP = "Display an image manifest, or manifest list"
USAGE = "[OPTIONS] [MANIFEST_LIST] MANIFEST"
OCI = "application/vnd.oci."


def arguments(parser: Parser) -> None:
    """Which one."""
    parser.words(1, 2)
    parser.flag(
        "insecure", BOOL, "Accepted for Docker's sake: the daemon knows which registries may be insecure"
    )
    parser.flag("verbose", BOOL, "Output additional info including layers and platform", short="v")


def run(client: Client, args: Values) -> int:
    """GET /distribution/{name}/manifest; the document as the registry has it, indented."""
    if len(args.words) > 1:
        raise Failure(f"No such manifest: {args.words[1]}: there are no local lists, name one manifest")
    name = args.words[0]
    if "@" not in name:
        name = ":".join(split_reference(name))
    media_type, digest, raw = _fetch(client, name)
    document = loads(raw)
    if not args.verbose:
        shown: Any = document
    elif "manifests" in document:
        shown = [_entry(client, name, each) for each in document["manifests"]]
    else:
        platforms = client.begin("GET", f"/distribution/{quote(name)}/json", headers=header(name)).value()
        platform = next(iter(platforms["Platforms"]), None)
        shown = _verbose(name, media_type, digest, raw, platform)
    sys.stdout.write(pretty(shown) + "\n")
    return 0


def _fetch(client: Client, name: str) -> tuple[str, str, bytes]:
    response = client.stream("GET", f"/distribution/{quote(name)}/manifest", headers=header(name))
    raw = response.read()
    client.give_back(response)
    return response.headers["content-type"], response.headers["docker-content-digest"], raw


def _entry(client: Client, name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """One image of a list, with its manifest."""
    repository = name.partition("@")[0] if "@" in name else split_reference(name)[0]
    media_type, digest, raw = _fetch(client, f"{repository}@{entry['digest']}")
    return _verbose(f"{name}@{digest}", media_type, digest, raw, entry.get("platform"))


def _verbose(
    name: str, media_type: str, digest: str, raw: bytes, platform: dict[str, Any] | None
) -> dict[str, Any]:
    descriptor = {"mediaType": media_type, "digest": digest, "size": len(raw)}
    member = "OCIManifest" if media_type.startswith(OCI) else "SchemaV2Manifest"
    return {
        "Ref": full_name(name),
        "Descriptor": descriptor | ({"platform": platform} if platform else {}),
        "Raw": b2a_base64(raw, newline=False).decode(),
        member: loads(raw),
    }
