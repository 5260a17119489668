"""A registry that is a table, for doors that want the verbs on images in registries."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from corten.core.distribution.failures import Missing
from corten.engine.images.remote import Credential
from corten.errors import Forbidden, NotFound
from corten.oci.platform import Platform
from corten.serve.api.interface_values import Filters, Progress

DIGEST = "sha256:" + "2" * 64
USER, PASSWORD = "anna", "secret"
MANIFEST = b'{"schemaVersion": 2,\n "layers": []}'
MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"


class FakeRemote:
    """Has ``hello:1``; ``private:1`` only for a user with a password, ``endless:1`` comes never to an end.

    Args:
        names: The images that are here.
    """

    def __init__(self, names: set[str]) -> None:
        self._names = names
        self.calls: list[tuple[Any, ...]] = []
        self.cancelled = asyncio.Event()

    def _check(self, name: str, credential: Credential | None) -> None:
        if name.startswith("private") and (credential is None or credential.password != PASSWORD):
            raise Forbidden("unauthorized: incorrect username or password")
        if name.partition(":")[0] not in ("hello", "private", "endless"):
            said = f"pull access denied for {name}, repository does not exist or may require 'corten login'"
            raise Missing("image", name, said)

    async def pull(
        self, name: str, tag: str, platform: str | None, credential: Credential | None, progress: Progress
    ) -> None:
        """Add the name."""
        self.calls.append(("pull", name, tag, platform, credential and credential.username))
        self._check(name, credential)
        progress({"status": f"Pulling from {name}", "id": tag})
        if name == "endless":
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.cancelled.set()
        self._names.add(f"{name}:{tag}")
        progress({"status": f"Digest: {DIGEST}"})

    async def push(
        self,
        name: str,
        tag: str,
        platform: Platform | None,
        compression: str,
        credential: Credential | None,
        progress: Progress,
    ) -> None:
        """Say that it went."""
        self.calls.append(("push", name, tag, platform and str(platform), compression))
        progress({"status": f"The push refers to repository [docker.io/library/{name}]"})
        if f"{name}:{tag}" not in self._names:
            raise NotFound("image", f"{name}:{tag}")
        self._check(name, credential)
        progress({"progressDetail": {}, "aux": {"Tag": tag, "Digest": DIGEST, "Size": 2}})

    async def inspect(self, name: str, credential: Credential | None) -> dict[str, Any]:
        """Return a descriptor."""
        self._check(name, credential)
        return {"Descriptor": {"digest": DIGEST}, "Platforms": [{"os": "linux", "architecture": "amd64"}]}

    async def image(self, name: str, platform: str | None, credential: Credential | None) -> dict[str, Any]:
        """Return an id and what was asked for."""
        self._check(name, credential)
        return {"Id": DIGEST, "Architecture": platform or "this"}

    async def manifest(self, name: str, credential: Credential | None) -> tuple[str, str, bytes]:
        """Return a document."""
        self._check(name, credential)
        return MEDIA_TYPE, DIGEST, MANIFEST

    async def login(self, server: str, credential: Credential) -> str:
        """Know one user, who gets a token from one server."""
        self.calls.append(("login", server, credential.username))
        if (credential.username, credential.password) != (USER, PASSWORD):
            raise Forbidden("unauthorized: incorrect username or password")
        return "token" if server == "tokens:5000" else ""

    async def search(
        self, term: str, limit: int | None, filters: Filters, credential: Credential | None
    ) -> Sequence[dict[str, Any]]:
        """Return one result that tells what was asked."""
        self._check("hello", credential)
        asked = json.dumps([limit, filters])
        row = {"star_count": 7, "is_official": True, "is_automated": False}
        return [row | {"name": term, "description": asked}]
