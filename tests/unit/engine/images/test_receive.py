"""receive and stack: layers from a stream to committed snapshots, in one pass, and what failures leave."""

import gzip
import io
import os
import signal
import tarfile
import threading
from collections.abc import Sequence
from typing import BinaryIO, cast

import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corten.core.content.local import LocalContentStore
from corten.core.content.store import Info
from corten.core.snapshots.copy import CopySnapshotter
from corten.engine.images.receive import receive, stack
from corten.engine.images.stores import Stores
from corten.engine.images.unpack import silent
from corten.engine.records.database import Database
from corten.engine.records.images import ImageRepository
from corten.errors import CortenError, DataCorrupted, LimitExceeded, Unavailable
from corten.oci.descriptor import OCI_LAYER_GZIP, Descriptor
from corten.oci.digest import Digest
from corten.oci.image import Layer, chain_ids
from tests.unit.engine.images.samples import Told, kept, open_stores, tar

LOWER = tar({"etc/name": b"one", "etc/noise": os.urandom(40_000)})
UPPER = tar({"etc/more": b"two"})


def packed(data: bytes) -> bytes:
    """Return a layer's blob."""
    return gzip.compress(data, mtime=0)


def layer(data: bytes, blob: bytes | None = None) -> Layer:
    """Describe the layer *data*, compressed unless its *blob* is given."""
    blob = packed(data) if blob is None else blob
    entry = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(blob), size=len(blob))
    return Layer(entry, Digest.of(data))


class Server:
    """Serves one blob; remembers the offsets that were asked for, and breaks off after *cut* bytes."""

    def __init__(self, blob: bytes, cut: int | None = None) -> None:
        self.blob, self.cut = blob, cut
        self.asked: list[int] = []
        self.sent = 0

    def __call__(self, offset: int) -> BinaryIO:
        """Open the blob."""
        self.asked.append(offset)
        end = len(self.blob) if self.cut is None else offset + self.cut
        return _Cut(self, self.blob[offset:end], self.cut is not None)


class _Cut(io.BytesIO):
    def __init__(self, server: Server, data: bytes, breaks: bool) -> None:
        super().__init__(data)
        self._server, self._breaks = server, breaks

    def read(self, size: int | None = -1, /) -> bytes:
        """Read a little at a time; fail at the end if so told."""
        data = super().read(min(size if size is not None and size >= 0 else 1000, 1000))
        self._server.sent += len(data)
        if not data and self._breaks:
            raise ConnectionResetError("gone")
        return data


def take(stores: Stores, *datas: bytes) -> tuple[int, ...]:
    """Receive and stack the layers *datas*."""
    layers = [layer(data) for data in datas]
    keys = [
        receive(each, Server(packed(data)), stores, silent) for each, data in zip(layers, datas, strict=True)
    ]
    return stack(layers, keys, stores, silent)


def shown(stores: Stores, name: str) -> list[str]:
    """Return the files in the folder of a snapshot."""
    top = stores.snapshots.info(name).directory
    return sorted(
        os.path.relpath(os.path.join(folder, file), top)
        for folder, _, files in os.walk(top)
        for file in files
    )


def test_layers_arrive_and_are_stacked(stores: Stores) -> None:
    """The trees are committed by chain id, each on the one before; the blobs are as they came."""
    sizes = take(stores, LOWER, UPPER)
    lower, upper = chain_ids([Digest.of(LOWER), Digest.of(UPPER)])

    assert shown(stores, lower) == ["etc/name", "etc/noise"]
    assert shown(stores, upper) == ["etc/more"]
    assert stores.snapshots.info(upper).parent == lower
    assert sizes == tuple(stores.snapshots.usage(name).bytes for name in (lower, upper))
    assert kept(stores) == ({Digest.of(packed(LOWER)), Digest.of(packed(UPPER))}, {lower, upper})


@pytest.mark.parametrize("compress", [bytes, packed, zstd.compress])
def test_layers_of_all_kinds(stores: Stores, compress: "type[bytes]") -> None:
    """Plain, gzip and zstd layers arrive; the bytes tell which it is."""
    blob = compress(LOWER)
    one = layer(LOWER, blob)
    key = receive(one, Server(blob), stores, silent)
    stack([one], [key], stores, silent)

    assert shown(stores, one.diff_id) == ["etc/name", "etc/noise"]


def test_nothing_shows_before_the_stack(stores: Stores) -> None:
    """A received layer is a blob and an active snapshot; no name stands for it yet."""
    receive(layer(LOWER), Server(packed(LOWER)), stores, silent)

    assert [snapshot.kind for snapshot in stores.snapshots.walk()] == ["active"]


def test_what_is_here_is_not_fetched(stores: Stores) -> None:
    """A blob that is stored is not asked for, and its tree is used."""
    take(stores, LOWER)
    server = Server(packed(LOWER))

    assert receive(layer(LOWER), server, stores, silent) is None
    assert stack([layer(LOWER)], [None], stores, silent)
    assert server.asked == []


def test_a_tree_that_is_missing_is_made_from_its_blob(stores: Stores) -> None:
    """After an aborted pull the blobs are here and the trees are not: they are made, not fetched."""
    layers = [layer(LOWER), layer(UPPER)]
    for data in (LOWER, UPPER):
        stores.write(packed(data))
    stack(layers, [None, None], stores, silent)

    assert shown(stores, chain_ids([each.diff_id for each in layers])[1]) == ["etc/more"]


def test_a_broken_transfer_goes_on_where_it_was(stores: Stores) -> None:
    """Each try begins with what has come; nothing shows until the last; no byte comes twice."""
    blob, one = packed(LOWER), layer(LOWER)
    server = Server(blob, cut=7000)
    tries = 0
    while True:
        tries += 1
        try:
            key = receive(one, server, stores, silent)
            break
        except ConnectionResetError:
            assert kept(stores) == (set(), set())
            server.cut = 7000 if len(server.asked) < 4 else None
    stack([one], [key], stores, silent)

    assert server.asked == [0, 7000, 14000, 21000, 28000]
    assert server.sent == len(blob)


def test_a_stream_that_ends_too_soon_goes_on_too(stores: Stores) -> None:
    """A server that closes early without a word is not believed, and what it sent is kept."""
    blob, one = packed(LOWER), layer(LOWER)
    with pytest.raises(Unavailable, match="ended after 9000 of"):
        receive(one, Server(blob[:9000]), stores, silent)
    server = Server(blob)
    receive(one, server, stores, silent)

    assert server.asked == [9000]


def test_an_engine_that_is_killed_loses_nothing(folder: str) -> None:
    """What had arrived when the process was killed is there for the next one."""
    blob, one = packed(LOWER), layer(LOWER)

    class Deadly(Server):
        def __call__(self, offset: int) -> BinaryIO:
            stream = super().__call__(offset)
            return cast("BinaryIO", _Kill(stream))

    class _Kill(io.RawIOBase):
        def __init__(self, stream: BinaryIO) -> None:
            self._stream, self._left = stream, 20

        def read(self, size: int = -1, /) -> bytes:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)
            return self._stream.read(size)

    pid = os.fork()
    if not pid:
        try:
            receive(one, Deadly(blob), open_stores(f"{folder}/killed"), silent)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    stores = open_stores(f"{folder}/killed")
    stores.collect()
    server = Server(blob)
    receive(one, server, stores, silent)

    assert server.asked == [19_000]


def test_collecting_does_not_lose_what_an_aborted_pull_fetched(stores: Stores) -> None:
    """A layer that arrived whole for an image that never came to be is not fetched again for a day."""
    blob, one = packed(LOWER), layer(LOWER)
    key = receive(one, Server(blob), stores, silent)
    assert key
    stores.snapshots.remove(key)
    stores.collect()
    assert not stores.content.exists(one.descriptor.digest)
    server = Server(blob)
    receive(one, server, stores, silent)

    assert (server.asked, stores.content.exists(one.descriptor.digest)) == ([], True)


def refused(stores: Stores, one: Layer, blob: bytes, data: bytes) -> CortenError:
    """Receive what is wrong; make sure that nothing of it stays, and that the next try works."""
    with pytest.raises(CortenError) as caught:
        receive(one, Server(blob), stores, silent)
    assert "\n" not in str(caught.value)
    assert kept(stores) == (set(), set())
    if not isinstance(caught.value, Unavailable):
        assert list(stores.content.partials.walk()) == []
    take(stores, data)
    name = Digest.of(data)
    assert kept(stores) == ({Digest.of(packed(data))}, {name})
    stores.snapshots.remove(name)
    stores.content.delete(Digest.of(packed(data)))
    stores.content.partials.drop(Digest.of(packed(data)))
    return caught.value


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(packed(LOWER)) - 1), st.integers(0, 7))
def test_a_flipped_bit_in_the_blob(stores: Stores, at: int, bit: int) -> None:
    """Wherever it is, it is found out before anything shows."""
    blob = bytearray(packed(LOWER))
    blob[at] ^= 1 << bit

    assert isinstance(refused(stores, layer(LOWER), bytes(blob), LOWER), (DataCorrupted, LimitExceeded))


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(LOWER) - 1), st.integers(0, 7))
def test_a_flipped_bit_in_the_content(stores: Stores, at: int, bit: int) -> None:
    """A blob that has its digest, but inflates to something else than the image says, is refused."""
    data = bytearray(LOWER)
    data[at] ^= 1 << bit
    blob = packed(bytes(data))
    wrong = Layer(layer(b"", blob).descriptor, Digest.of(LOWER))

    assert isinstance(refused(stores, wrong, blob, LOWER), (DataCorrupted, LimitExceeded))


def test_a_wrong_size(stores: Stores) -> None:
    """More bytes than the manifest says, or fewer, are no such blob."""
    blob, one = packed(LOWER), layer(LOWER)
    for size in (one.descriptor.size - 1, one.descriptor.size + 1):
        entry = Descriptor(media_type=OCI_LAYER_GZIP, digest=one.descriptor.digest, size=size)
        refused(stores, Layer(entry, one.diff_id), blob, LOWER)
        stores.content.partials.drop(one.descriptor.digest)


def test_another_blob(stores: Stores) -> None:
    """Bytes of another layer, as large as this one or not, are refused."""
    other = bytes(reversed(packed(LOWER)))
    assert isinstance(refused(stores, layer(LOWER), other, LOWER), DataCorrupted)
    refused(stores, layer(LOWER), packed(UPPER), LOWER)
    stores.content.partials.drop(layer(LOWER).descriptor.digest)


def test_a_spoiled_beginning_is_fetched_again(stores: Stores) -> None:
    """When what was kept of an earlier try is what is wrong, all comes again, without a word."""
    blob, one = packed(LOWER), layer(LOWER)
    with pytest.raises(ConnectionResetError):
        receive(one, Server(b"\x1f\x8b\x08" + bytes(9000), cut=9003), stores, silent)
    server = Server(blob)
    key = receive(one, server, stores, silent)
    stack([one], [key], stores, silent)

    assert server.asked[-1] == 0
    assert shown(stores, one.diff_id) == ["etc/name", "etc/noise"]


def test_two_at_once_fetch_once(stores: Stores) -> None:
    """Of two that want the same layer one fetches it, and the other finds it."""
    server, one = Server(packed(LOWER)), layer(LOWER)
    keys: list[str | None] = []
    start = threading.Barrier(3)

    def work() -> None:
        start.wait()
        keys.append(receive(one, server, stores, silent))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stack([one], [next(filter(None, keys))], stores, silent)

    assert server.asked == [0]
    assert sum(key is None for key in keys) == 2


def test_a_failed_stack_leaves_no_tree(stores: Stores) -> None:
    """When one layer cannot be placed, those above it are thrown away; what is below is complete."""
    layers = [layer(LOWER), Layer(layer(UPPER).descriptor, Digest.of(b"")), layer(UPPER)]
    keys = [
        receive(each, Server(packed(data)), stores, silent)
        for each, data in ((layers[0], LOWER), (layers[2], UPPER))
    ]
    with pytest.raises(DataCorrupted, match="but the image says"):
        stack(layers, [keys[0], None, keys[1]], stores, silent)

    assert {snapshot.key for snapshot in stores.snapshots.walk()} <= {Digest.of(LOWER)}


def rooted(mode: int | None) -> bytes:
    """Return a layer of one file, that says of its root that it has *mode*."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, bits in ((".", tarfile.DIRTYPE, mode), ("file", tarfile.REGTYPE, 0o644)):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime = kind, bits or 0, 7
            info.uid, info.gid = os.getuid(), os.getgid()
            if bits is not None:
                archive.addfile(info)
    return buffer.getvalue()


@pytest.mark.parametrize(("mode", "expected"), [(None, 0o711), (0o755, 0o755), (0o700, 0o700)])
def test_the_root_is_the_layers_or_its_parents(stores: Stores, mode: int | None, expected: int) -> None:
    """A layer that says nothing of its root shows that of its parent, though it was unpacked before it."""
    lower, upper = rooted(0o711), rooted(mode) + b"\0" * 512
    take(stores, lower, upper)
    top = stores.snapshots.info(chain_ids([Digest.of(lower), Digest.of(upper)])[1]).directory

    assert os.stat(top).st_mode & 0o777 == expected


def test_where_parents_cannot_come_late(folder: str) -> None:
    """With a snapshotter that copies, layers are fetched first and unpacked in the stack."""
    os.makedirs(f"{folder}/copy")
    stores = Stores(
        LocalContentStore(f"{folder}/copy/content"),
        CopySnapshotter(f"{folder}/copy/snapshots"),
        ImageRepository(Database(f"{folder}/copy/records")),
    )
    layers: Sequence[Layer] = [layer(LOWER), layer(UPPER)]
    keys = [
        receive(each, Server(packed(data)), stores, silent)
        for each, data in zip(layers, (LOWER, UPPER), strict=True)
    ]
    stack(layers, keys, stores, silent)

    assert keys == [None, None]
    assert shown(stores, chain_ids([each.diff_id for each in layers])[1]) == [
        "etc/more",
        "etc/name",
        "etc/noise",
    ]


def test_progress(stores: Stores) -> None:
    """The bar of a layer grows to its end, under the digits of its blob; then it is extracted."""
    told = Told()
    data = tar({"big": os.urandom(2 << 20)})
    one, blob = layer(data), packed(data)
    stack([one], [receive(one, Server(blob), stores, told)], stores, told)
    bars = [m["progressDetail"]["current"] for m in told.messages if m["status"] == "Downloading"]

    assert bars == sorted(bars)
    assert 4 <= len(bars) <= 100
    assert {m["id"] for m in told.messages} == {one.descriptor.digest.hex[:12]}
    assert [m["status"] for m in told.messages[len(bars) :]] == ["Download complete", "Extracting"]


def test_partials_are_listed(stores: Stores) -> None:
    """What a broken transfer left can be seen, with its size, and dropped."""
    one = layer(LOWER)
    with pytest.raises(ConnectionResetError):
        receive(one, Server(packed(LOWER), cut=5000), stores, silent)
    assert list(stores.content.partials.walk()) == [Info(one.descriptor.digest, 5000)]
    stores.content.partials.drop(one.descriptor.digest)

    assert list(stores.content.partials.walk()) == []


def test_folders_that_a_layer_does_not_name_are_its_parents(stores: Stores) -> None:
    """A layer with a file in a private folder, and no entry for it, leaves the folder private."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("etc")
        info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, 0o700, os.getuid(), os.getgid()
        archive.addfile(info)
    lower = buffer.getvalue()
    take(stores, lower, UPPER)
    top = stores.snapshots.info(chain_ids([Digest.of(lower), Digest.of(UPPER)])[1]).directory

    assert os.stat(f"{top}/etc").st_mode & 0o777 == 0o700
    assert stores.grown == {}


def test_a_known_blob_of_another_size(stores: Stores) -> None:
    """A description with a wrong size is refused, also when nothing has to be fetched."""
    take(stores, LOWER)
    entry = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(packed(LOWER)), size=7)
    with pytest.raises(DataCorrupted, match="but the image says 7"):
        receive(Layer(entry, Digest.of(LOWER)), Server(b""), stores, silent)


def test_an_impossible_size(stores: Stores) -> None:
    """A layer that is announced with more bytes than any may have is not asked for."""
    server = Server(packed(LOWER))
    entry = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(packed(LOWER)), size=1 << 50)
    with pytest.raises(LimitExceeded, match="are allowed"):
        receive(Layer(entry, Digest.of(LOWER)), server, stores, silent)
    assert server.asked == []
