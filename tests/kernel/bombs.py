"""Bombs: small inputs that ask for the whole machine, and a program that takes one in and looks at itself.

Run as ``python -m tests.kernel.bombs NAME FOLDER``; prints how it was refused,
the most memory that the process had, and what is left in the folder.
"""

import gzip
import io
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import BinaryIO, cast

from corten.core.layers.compression import decompress
from corten.core.layers.limits import Limits
from corten.core.snapshots.overlay import OverlaySnapshotter
from corten.engine.images import grow, load
from corten.engine.images.receive import receive
from corten.engine.images.stores import Stores
from corten.engine.images.unpack import silent
from corten.errors import CortenError
from corten.oci.descriptor import OCI_LAYER_GZIP, Descriptor
from corten.oci.digest import Digest
from corten.oci.image import Layer
from corten.oci.platform import host
from tests.unit.core.layers.archives import archive, header, member
from tests.unit.engine.images.samples import Layout, kept, make, open_stores, tar

HUGE = 100_000_000_000  # bytes
SIZE = b"\x80" + HUGE.to_bytes(11, "big")  # as a header has it
ANNOUNCED = 4 << 30  # bytes that are said to come: less than is free, lest that be the reason
FLOOR = 128 << 20  # in place of the real one, lest every test writes gigabytes


class Pieces(io.RawIOBase):
    """A stream of pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        """Give up to *size* bytes."""
        if not self._rest:
            self._rest = next(self._pieces, b"")
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def gzipped(size: int = HUGE) -> Iterator[bytes]:
    """Yield a file of zeros, a thousandfold compressed."""
    yield gzip.compress(header(b"zeros", size=b"\x80" + size.to_bytes(11, "big")))
    member_ = gzip.compress(bytes(64 << 20), 1)
    yield from itertools.repeat(member_, HUGE >> 26)


def zstd_frame(window: int, blocks: int, head: bytes) -> Iterator[bytes]:
    """Yield a frame by hand: *head* as it is, then blocks of 128 KiB that are one byte each; RFC 8878."""
    yield b"\x28\xb5\x2f\xfd\0" + bytes([(window - 10) << 3])
    yield (len(head) << 3).to_bytes(3, "little") + head
    block = (1 << 1 | (128 << 10) << 3).to_bytes(3, "little") + b"\0"
    yield from itertools.repeat(block * 1024, blocks // 1024)


def folders() -> Iterator[bytes]:
    """Yield folders without end, each with a name as long as is allowed."""
    above = "/".join([f"{'d' * 250}"] * 11)
    for number in itertools.count():
        yield archive([member(f"{above}/{number}", "folder")], end=False)


def attributes() -> Iterator[bytes]:
    """Yield folders without end, each with attributes as large as is allowed."""
    pax = {f"SCHILY.xattr.user.{n}": "x" * 60_000 for n in range(16)}
    for number in itertools.count():
        yield archive([member(str(number), "folder", pax=pax)], end=False)


def links() -> Iterator[bytes]:
    """Yield entries of an archive of images whose names are as long as a header may be."""
    for number in itertools.count():
        yield archive([member(f"{number}{'n' * 1_000_000}", "link", link="x" * 1000)], end=False)


def deep(name: str) -> bytes:
    """Return an archive of images with a document that is nested without end."""
    files = {"manifest.json": b'[{"Config":"c","Layers":[]}]', "c": b"{}"}
    return tar(files | {name: b'{"a":' + b"[" * 4_000_000})


def many_layers() -> bytes:
    """Return an archive of an image with more layers than can be."""
    layout = Layout()
    made = make([{"a": b"x"}])
    config = json.loads(made.config)
    config["rootfs"]["diff_ids"] *= 100_000
    layout.entries = [layout.manifest(made._replace(config=json.dumps(config).encode()))]
    return layout.tar()


Take = Callable[[Stores], object]


def _pulled(pieces: Iterable[bytes], size: int = ANNOUNCED) -> Take:
    entry = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(b"bomb"), size=size)
    stream = cast("BinaryIO", Pieces(pieces))
    return lambda stores: receive(Layer(entry, Digest.of(b"")), lambda _: stream, stores, silent)


def _loaded(pieces: Iterable[bytes]) -> Take:
    stream = cast("BinaryIO", Pieces(pieces))
    return lambda stores: load.load(stream, stores, host(), silent)


def _pulled_zstd(window: int, head: bytes = header(b"zeros", size=SIZE)) -> Take:
    pieces = list(zstd_frame(window, HUGE >> 17, head))
    return _pulled(pieces, sum(map(len, pieces)))


def _image(blob: bytes) -> Iterator[bytes]:
    """Yield an archive of an image whose layer is *blob*."""
    config = json.dumps(
        {
            "architecture": host().architecture,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [Digest.of(b"")]},
        }
    )
    files = {
        "layer.tar": blob,
        "c": config.encode(),
        "manifest.json": b'[{"Config":"c","Layers":["layer.tar"]}]',
    }
    yield tar(files)


BOMBS: dict[str, Callable[[], Take]] = {
    "gzip": lambda: _pulled(gzipped()),
    "gzip within an archive": lambda: _loaded(_image(b"".join(itertools.islice(gzipped(), 100)))),
    "gzip around an archive": lambda: _loaded(gzipped(ANNOUNCED)),
    "zstd": lambda: _pulled_zstd(17),
    "zstd that is nothing but padding": lambda: _pulled_zstd(17, bytes(1024)),
    "zstd with a window of 128 MiB": lambda: _pulled_zstd(27),
    "zstd with a window of 2 GiB": lambda: _pulled_zstd(31),
    "folders": lambda: _pulled(folders()),
    "attributes": lambda: _pulled(attributes()),
    "names of an archive": lambda: _loaded(links()),
    "a deep manifest.json": lambda: _loaded([deep("manifest.json")]),
    "a deep index.json": lambda: _loaded([deep("index.json")]),
    "a deep configuration": lambda: _loaded([deep("c")]),
    "more layers than can be": lambda: _loaded([many_layers()]),
}


def main(name: str, folder: str) -> None:
    """Take in the bomb *name*, and report."""
    limits = Limits(ratio_floor=FLOOR, memory=24 << 20 if name == "folders" else Limits().memory)
    grow.Limits = lambda: limits  # type: ignore[assignment, misc, attr-defined]
    load.decompress = partial(decompress, limits=limits)  # type: ignore[attr-defined]
    stores = open_stores(f"{folder}/engine")
    try:
        BOMBS[name]()(stores)
        refusal = "none"
    except CortenError as failure:
        refusal = f"{failure.kind}: {failure}"
    cast("OverlaySnapshotter", stores.snapshots).sweep()
    left = sum(found.st_blocks for found in _files(folder)) * 512
    partials = [info.size for info in stores.content.partials.walk()]
    report = {
        "refusal": refusal,
        "peak": _peak(),
        "left": left,
        "partials": partials,
        "kept": sum(map(len, kept(stores))),
    }
    sys.stdout.write(json.dumps(report))


def _files(folder: str) -> Iterator[os.stat_result]:
    for top, _, names in os.walk(folder):
        yield from (os.lstat(os.path.join(top, name)) for name in names if not name.startswith("records"))


def _peak() -> int:
    """Return the most memory that this process had, in bytes; see proc_pid_status(5)."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main(*sys.argv[1:])
