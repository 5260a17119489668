"""Small images made for a test: a shell and a few tools out of the Debian image, and whatever a hostile author adds."""

from __future__ import annotations

import io
import json
import re
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAMS = "sh dash cat ls sleep id env mkdir touch readlink stat kill true tr head rm chmod ln"
PARTS = re.compile(
    rf"(bin|sbin|lib|lib64|usr/bin/({'|'.join(PROGRAMS.split())})"
    r"|usr/lib(64|/[^/]+)?/(ld-linux.*|libc|libselinux|libpcre2-8)(\.so[.0-9]*)?)"
)
ROOT_ROW = "root:x:0:0:root:/root:/bin/sh\n"


class Tree:
    """A root file system in the making; paths are as tar has them, without a leading slash."""

    def __init__(self, parts: list[tuple[tarfile.TarInfo, bytes]] | None = None) -> None:
        self._parts = list(parts or [])

    def file(self, path: str, data: bytes | str = b"", mode: int = 0o644) -> Tree:
        """Add a file."""
        return self._add(path, tarfile.REGTYPE, mode, data=data.encode() if isinstance(data, str) else data)

    def folder(self, path: str, mode: int = 0o755) -> Tree:
        """Add a folder."""
        return self._add(path, tarfile.DIRTYPE, mode)

    def link(self, path: str, target: str) -> Tree:
        """Add a symbolic link."""
        return self._add(path, tarfile.SYMTYPE, 0o777, target=target)

    def fifo(self, path: str) -> Tree:
        """Add a FIFO."""
        return self._add(path, tarfile.FIFOTYPE, 0o666)

    def _add(self, path: str, kind: bytes, mode: int, data: bytes = b"", target: str = "") -> Tree:
        facts = tarfile.TarInfo(path)
        facts.type, facts.mode, facts.size, facts.linkname = kind, mode, len(data), target
        self._parts.append((facts, data))
        return self

    def save(self, path: Path) -> Path:
        """Write the tree as a tar."""
        with tarfile.open(path, "w") as tar:
            for facts, data in self._parts:
                tar.addfile(facts, io.BytesIO(data))
        return path


def shell_parts(archive: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Return what of the image in *archive* a shell needs, to begin a tree with."""
    found = []
    with tarfile.open(archive) as outer:
        manifest = outer.extractfile("manifest.json")
        assert manifest is not None
        for name in json.load(manifest)[0]["Layers"]:
            layer = outer.extractfile(name)
            assert layer is not None
            with tarfile.open(fileobj=layer) as tar:
                found += list(_wanted(tar))
    return found


def _wanted(layer: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    for facts in layer:
        facts.name = facts.name.removeprefix("./").rstrip("/")
        if PARTS.fullmatch(facts.name):
            content = layer.extractfile(facts) if facts.isreg() else None
            yield facts, content.read() if content else b""
