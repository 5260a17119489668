"""Asking before something is removed for good, and telling what was."""

from __future__ import annotations

import sys

from corten.cli.failure import Failure
from corten.cli.human import size

QUESTION = "Are you sure you want to continue? [y/N] "


def confirm(warning: str, what: str) -> None:
    """Show *warning* and ask; go on only after a yes.

    Raises:
        Failure: anything else was answered; *what* names what is called off.
    """
    sys.stdout.write(f"{warning}\n{QUESTION}")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failure(f"{what} has been cancelled")


def removed_containers(answer: dict[str, list[str] | None]) -> str:
    """What ``POST /containers/prune`` removed, for people; empty for nothing."""
    return _listed("Deleted Containers", answer.get("ContainersDeleted") or [])


def removed_images(answer: dict[str, list[dict[str, str]] | None]) -> str:
    """What ``POST /images/prune`` removed, for people; empty for nothing."""
    lines = [
        f"untagged: {item['Untagged']}" if item.get("Untagged") else f"deleted: {item['Deleted']}"
        for item in answer.get("ImagesDeleted") or []
    ]
    return _listed("Deleted Images", lines)


def removed_networks(answer: dict[str, list[str] | None]) -> str:
    """What ``POST /networks/prune`` removed, for people; empty for nothing."""
    return _listed("Deleted Networks", answer.get("NetworksDeleted") or [])


def removed_volumes(answer: dict[str, list[str] | None]) -> str:
    """What ``POST /volumes/prune`` removed, for people; empty for nothing."""
    return _listed("Deleted Volumes", answer.get("VolumesDeleted") or [])


def reclaimed(count: int) -> str:
    """The last line of a prune."""
    return f"Total reclaimed space: {size(count)}\n"


def _listed(title: str, lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in (f"{title}:", *lines, "")) if lines else ""
