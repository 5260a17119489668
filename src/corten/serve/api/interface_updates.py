"""What this door needs of an engine's updates: shapes only, as in ``interface``."""

from collections.abc import Sequence
from typing import Protocol

from corten.engine.containers.update_request import UpdateRequest


class Updates(Protocol):
    """Changes of containers that exist."""

    async def update(self, ref: str, request: UpdateRequest, /) -> Sequence[str]:
        """Change it, running or not, whole or not at all; returns warnings for the user."""
        ...
