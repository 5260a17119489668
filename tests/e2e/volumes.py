"""What the tests of volumes, mounts and updates share: volumes to borrow, mounts of this machine, refusals."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from corten.linux import mounts
from tests.e2e.looking import run
from tests.e2e.tools import unique

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from tests.e2e.conftest import Engine

DAEMON = "Error response from daemon: "


@contextmanager
def volume(engine: Engine, *flags: str) -> Iterator[str]:
    """Lend a volume made by ``docker volume create FLAGS``; yields its name."""
    name = unique("v")
    engine.docker("volume", "create", *flags, name)
    try:
        yield name
    finally:
        engine.api("DELETE", f"/volumes/{name}", force="1")


def shown(engine: Engine, name: str) -> dict[str, Any]:
    """Return what ``docker volume inspect`` says."""
    (found,) = json.loads(engine.docker("volume", "inspect", name).stdout)
    return dict(found)


def volumes(engine: Engine, *filters: str) -> set[str]:
    """Return the names that ``docker volume ls`` shows."""
    flags = [word for text in filters for word in ("--filter", text)]
    return set(engine.docker("volume", "ls", "-q", *flags).stdout.split())


def mounted(engine: Engine, name: str) -> dict[str, dict[str, Any]]:
    """Return ``Mounts`` of a container's inspect, by destination."""
    status, answer = engine.api("GET", f"/containers/{name}/json")
    assert status == 200, answer
    return {mount["Destination"]: mount for mount in answer["Mounts"]}


def execute(engine: Engine, name: str, script: str) -> str:
    """Return what a script says in a running container."""
    return str(engine.docker("exec", name, "sh", "-c", script).stdout)


def refusal(engine: Engine, *words: str, program: str = "docker") -> str:
    """Return the one line with which the daemon refuses what ``docker WORDS`` asks, without its beginning."""
    done = getattr(engine, program)(*words, check=False)
    assert done.returncode != 0, done.stdout
    said = str(done.stderr).partition("\n\nRun '")[0].strip()
    before, found, line = said.partition(DAEMON)
    assert found, said
    assert before in ("", f"{program}: ")
    assert "\n" not in line
    return line


@contextmanager
def tmpfs(path: Path) -> Iterator[Path]:
    """Mount an empty file system of this machine on the folder *path*, which is made; yields the path."""
    path.mkdir(parents=True, exist_ok=True)
    with mounts_gone(path):
        mounts.mount("none", str(path), "tmpfs")
        yield path


@contextmanager
def shared(path: Path) -> Iterator[Path]:
    """Mount an empty file system whose mounts are shared; yields the path."""
    with tmpfs(path):
        mounts.mount("none", str(path), flags=mounts.MS_SHARED)
        yield path


@contextmanager
def mounts_gone(path: Path) -> Iterator[None]:
    """Unmount in the end what is mounted on *path* and below."""
    try:
        yield
    finally:
        for place in sorted(places(str(path)), key=len, reverse=True):
            mounts.unmount(place, mounts.MNT_DETACH)


def places(folder: str) -> list[str]:
    """Return where this machine has mounts on *folder* and below."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    found = [line.split(" ")[4] for line in lines]
    return [place for place in found if place == folder or place.startswith(f"{folder}/")]


def used(root: str) -> int:
    """Return the bytes on disk of what lies below *root*, as du(1) counts; what is mounted there is left out."""
    top = os.lstat(root)
    blocks = {top.st_ino: top.st_blocks}
    for above, folders, files in os.walk(root):
        for name in (*folders, *files):
            found = os.lstat(os.path.join(above, name))
            if found.st_dev == top.st_dev:
                blocks[found.st_ino] = found.st_blocks
    return sum(blocks.values()) * 512


def write(engine: Engine, name: str, text: str, path: str = "file") -> None:
    """Write a file into a volume."""
    run(engine, "-v", f"{name}:/v", script=f"printf %s '{text}' > /v/{path}")


def read(engine: Engine, name: str, path: str = "file") -> str:
    """Return what a file of a volume says."""
    return run(engine, "-v", f"{name}:/v", script=f"cat /v/{path}")


@contextmanager
def device(engine: Engine, kind: str, source: str, options: str = "") -> Iterator[str]:
    """Lend a volume that is a mount."""
    words = ("-o", f"type={kind}", "-o", f"device={source}", *(("-o", f"o={options}") if options else ()))
    with volume(engine, *words) as name:
        yield name


def sums(engine: Engine) -> dict[str, int]:
    """Return the bytes of every kind that ``system df`` knows, by its name."""
    _, found = engine.api("GET", "/system/df")
    kinds = ("ImageUsage", "ContainerUsage", "VolumeUsage", "BuildCacheUsage")
    return {**{kind: found[kind]["TotalSize"] for kind in kinds}, **found["Corten"]}


def mount(**options: str | None) -> tuple[str, str]:
    """Return a ``--mount`` flag; an option of None is a word without a value."""
    words = (
        name.replace("_", "-") + ("" if value is None else f"={value}") for name, value in options.items()
    )
    return ("--mount", ",".join(words))


def bind(source: Path, target: str = "/v", **options: str | None) -> tuple[str, str]:
    """Return the flag for a bind."""
    return mount(type="bind", src=str(source), dst=target, **options)
