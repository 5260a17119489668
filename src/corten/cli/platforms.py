"""Platforms as the API wants them: JSON objects instead of ``os/arch/variant``."""

from __future__ import annotations

from corten.cli.wire import dumps


def as_json(platforms: list[str]) -> list[str]:
    """Each of *platforms* as the JSON text of an OCI platform."""
    out = []
    for platform in platforms:
        system, _, rest = platform.partition("/")
        architecture, _, variant = rest.partition("/")
        fields = {"os": system, "architecture": architecture, "variant": variant}
        out.append(dumps({name: value for name, value in fields.items() if value}))
    return out
