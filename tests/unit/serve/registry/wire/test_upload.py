"""Blobs come in by every way of the specification."""

import os
import socket
import time
from pathlib import Path

import pytest

from corten.oci.digest import Digest
from corten.serve.registry.app import Config
from corten.serve.registry.wire.call import Limits
from tests.unit.serve.registry.live import PATIENCE, Live, served

DATA = os.urandom(300_000)
DIGEST = Digest.of(DATA)


def chunk(start: int, end: int) -> dict[str, str]:
    """Return the header of a chunk, *end* exclusive."""
    return {"Content-Range": f"{start}-{end - 1}", "Content-Type": "application/octet-stream"}


def test_at_once(live: Live) -> None:
    """POST with a digest takes the blob and tells where it is."""
    answer = live.call("POST", f"/v2/a/b/blobs/uploads/?digest={DIGEST}", DATA)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, DIGEST)
    assert live.call("GET", answer.headers["Location"]).body == DATA


def test_post_then_put(live: Live) -> None:
    """POST opens an upload, PUT brings it all."""
    location = live.begin("a")
    answer = live.call("PUT", f"{location}?digest={DIGEST}", DATA)
    assert answer.status == 201
    assert live.call("GET", answer.headers["Location"]).body == DATA


def test_an_encoded_digest_is_fine(live: Live) -> None:
    """Clients encode the colon in a query."""
    digest = DIGEST.replace(":", "%3A")
    assert live.call("PUT", f"{live.begin('a')}?digest={digest}", DATA).status == 201


def test_streamed(live: Live) -> None:
    """PATCH without a range adds what comes; PUT without a body ends it."""
    location = live.begin("a")
    for piece, size in ((DATA[:1000], 1000), (DATA[1000:], len(DATA))):
        answer = live.call("PATCH", location, piece)
        assert (answer.status, answer.headers["Range"]) == (202, f"0-{size - 1}")
        location = answer.headers["Location"]
    assert live.call("PUT", f"{location}?digest={DIGEST}").status == 201
    assert live.get_blob("a", DIGEST).body == DATA


def test_in_chunks(live: Live) -> None:
    """Chunks with ranges, the last one in the PUT."""
    location = live.begin("a")
    answer = live.call("PATCH", location, DATA[:1000], chunk(0, 1000))
    assert (answer.status, answer.headers["Range"]) == (202, "0-999")
    answer = live.call("PATCH", location, DATA[1000:2000], chunk(1000, 2000))
    assert answer.headers["Range"] == "0-1999"
    answer = live.call("PUT", f"{location}?digest={DIGEST}", DATA[2000:], chunk(2000, len(DATA)))
    assert answer.status == 201
    assert live.get_blob("a", DIGEST).body == DATA


def test_chunked_transfer(live: Live) -> None:
    """A body of unknown length is taken too."""
    location = live.begin("a")
    connection = live._connection
    connection.request("PATCH", location, iter([DATA[:5], DATA[5:]]))
    response = connection.getresponse()
    response.read()
    assert (response.status, response.headers["Range"]) == (202, f"0-{len(DATA) - 1}")


def test_chunks_out_of_order(live: Live) -> None:
    """A chunk that does not follow gives 416 and where to go on; nothing is added."""
    location = live.begin("a")
    live.call("PATCH", location, DATA[:1000], chunk(0, 1000))
    for method, path in (("PATCH", location), ("PUT", f"{location}?digest={DIGEST}")):
        for start in (0, 999, 1001, 5000):
            answer = live.call(method, path, DATA[start : start + 10], chunk(start, start + 10))
            assert (answer.status, answer.headers["Range"]) == (416, "0-999")
            assert answer.headers["Location"] == location
    assert live.call("GET", location).headers["Range"] == "0-999"


@pytest.mark.parametrize("value", ["x", "5", "9-5", "bytes 0-9/10", "-1-5", "0-9,10-11", ""])
def test_invalid_ranges(live: Live, value: str) -> None:
    """A range that is none is refused."""
    answer = live.call("PATCH", live.begin("a"), DATA[:10], {"Content-Range": value})
    assert (answer.status, answer.code) == (400, "BLOB_UPLOAD_INVALID")


def test_range_and_length_must_agree(live: Live) -> None:
    """A body of another length than its range is refused."""
    answer = live.call("PATCH", live.begin("a"), DATA[:10], chunk(0, 11))
    assert (answer.status, answer.code) == (400, "SIZE_INVALID")


def test_status(live: Live) -> None:
    """GET tells where an upload stands."""
    location = live.begin("a")
    answer = live.call("GET", location)
    assert (answer.status, answer.headers["Range"], answer.headers["Location"]) == (204, "0-0", location)
    assert answer.headers["Docker-Upload-UUID"] == location.rpartition("/")[2]
    live.call("PATCH", location, DATA[:77])
    assert live.call("GET", location).headers["Range"] == "0-76"


def test_cancel(live: Live) -> None:
    """A cancelled upload is gone."""
    location = live.begin("a")
    assert live.call("DELETE", location).status == 204
    for method in ("GET", "PATCH", "DELETE"):
        answer = live.call(method, location)
        assert (answer.status) == 404
    assert live.call("PUT", f"{location}?digest={DIGEST}", DATA).code == "BLOB_UPLOAD_UNKNOWN"


def test_an_upload_belongs_to_its_repository(live: Live) -> None:
    """Who may push elsewhere cannot touch it by its id."""
    location = live.begin("a").replace("/v2/a/", "/v2/b/")
    for method in ("GET", "PATCH", "DELETE"):
        assert live.call(method, location, b"x" if method == "PATCH" else None).status == 404
    assert live.call("PUT", f"{location}?digest={DIGEST}", DATA).status == 404


@pytest.mark.parametrize("way", ["post", "put", "patch"])
def test_other_bytes_are_refused(live: Live, way: str) -> None:
    """Bytes that do not have the digest are refused by every way, and nothing of them stays."""
    other = DATA[:-1] + b"!"
    if way == "post":
        answer = live.call("POST", f"/v2/a/blobs/uploads/?digest={DIGEST}", other)
    else:
        location = live.begin("a")
        body = other if way == "put" else b""
        if way == "patch":
            live.call("PATCH", location, other)
        answer = live.call("PUT", f"{location}?digest={DIGEST}", body)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert live.call("HEAD", f"/v2/a/blobs/{DIGEST}").status == 404
    assert live.blobs() == {}
    assert list((live.folder / "uploads").iterdir()) == []


def test_a_digest_is_needed(live: Live) -> None:
    """PUT without a digest, or with what is none, changes nothing."""
    location = live.begin("a")
    for query in ("", "?digest=", "?digest=md5:x"):
        answer = live.call("PUT", f"{location}{query}", DATA)
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert live.call("PUT", f"{location}?digest={DIGEST}", DATA).status == 201


def test_mount(live: Live) -> None:
    """A blob of another repository is taken over without sending it."""
    live.push_blob("a", DATA)
    answer = live.call("POST", f"/v2/b/c/blobs/uploads/?mount={DIGEST}&from=a")
    assert (answer.status, answer.headers["Location"]) == (201, f"/v2/b/c/blobs/{DIGEST}")
    assert live.get_blob("b/c", DIGEST).body == DATA
    assert len(live.blobs()) == 1


@pytest.mark.parametrize("source", ["&from=none", "&from=", "", "&from=A%2F..%2Fb"])
def test_a_mount_that_does_not_work_becomes_an_upload(live: Live, source: str) -> None:
    """Without a source that holds the blob the client is asked to send it."""
    live.push_blob("a", DATA)
    answer = live.call("POST", f"/v2/b/blobs/uploads/?mount={DIGEST}{source}")
    assert answer.status == 202
    assert live.call("PUT", f"{answer.headers['Location']}?digest={DIGEST}", DATA).status == 201


def test_what_arrived_is_kept(live: Live) -> None:
    """A client that breaks off finds what it sent, and goes on from there."""
    data, location = os.urandom(3 << 20), live.begin("a")
    head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    deadline = time.monotonic() + PATIENCE
    with socket.create_connection(("127.0.0.1", live.port)) as sock:
        sock.sendall(head + data[:-1])
        while held(live, location) < 1 << 20:
            assert time.monotonic() < deadline
    answer = None
    while answer is None or answer.status == 416:  # the server may still be storing what it had read
        size = held(live, location)
        answer = live.call("PATCH", location, data[size:], chunk(size, len(data)))
        assert time.monotonic() < deadline
    assert answer.status == 202
    assert live.call("PUT", f"{location}?digest={Digest.of(data)}").status == 201


def held(live: Live, location: str) -> int:
    """Return how many bytes an upload has; the test never asks for one."""
    last = int(live.call("GET", location).headers["Range"].removeprefix("0-"))
    return last + 1 if last else 0


def test_a_blob_that_broke_off_at_once_leaves_nothing(live: Live) -> None:
    """Nobody could resume a POST whose answer never came."""
    path = f"/v2/a/blobs/uploads/?digest={DIGEST}"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", live.port)) as sock:
        sock.sendall(head + DATA[:1000])
        deadline = time.monotonic() + PATIENCE
        while not list((live.folder / "uploads").iterdir()):
            assert time.monotonic() < deadline
    while list((live.folder / "uploads").iterdir()):
        assert time.monotonic() < deadline


def test_expect_continue(live: Live) -> None:
    """A client that waits for leave to send the body gets it, or a refusal at once."""
    with socket.create_connection(("127.0.0.1", live.port), timeout=PATIENCE) as sock:
        for path, expected in (
            (f"/v2/a/blobs/uploads/?digest={DIGEST}", b"HTTP/1.1 100 Continue\r\n\r\n"),
            ("/v2/A/blobs/uploads/", b"HTTP/1.1 400 Bad Request\r\n"),
        ):
            sock.sendall(
                f"POST {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(DATA)}\r\n\r\n".encode()
            )
            assert sock.recv(len(expected)) == expected
            if b"100" in expected:
                sock.sendall(DATA)
                assert sock.recv(4096).startswith(b"HTTP/1.1 201 Created\r\n")


def test_a_limit_to_blobs(tmp_path: Path) -> None:
    """A blob over the limit gives 413, told in advance or found on the way."""
    with served(tmp_path / "r", config=Config(port=0, limits=Limits(blob=1000))) as live:
        assert live.push_blob("a", DATA[:1000])
        for body in (DATA[:1001], iter([DATA[:600], DATA[600:1200]])):
            with live.client() as client:
                client._connection.request("POST", f"/v2/a/blobs/uploads/?digest={DIGEST}", body)
                assert client._connection.getresponse().status == 413
        assert list((live.folder / "uploads").iterdir()) == []


def test_a_full_disk(live: Live) -> None:
    """A disk without space gives 507 and one clear line; the upload can go on later."""
    location = live.begin("a")
    file = live.folder / "uploads" / location.rpartition("/")[2]
    file.unlink()
    file.symlink_to("/dev/full")
    answer = live.call("PATCH", location, DATA)
    assert answer.status == 507
    assert "no space left" in answer.json()["errors"][0]["message"]
    file.unlink()
    file.touch()
    assert live.call("PUT", f"{location}?digest={DIGEST}", DATA).status == 201


def test_the_same_blob_at_the_same_time(live: Live) -> None:
    """Two uploads of one digest go on side by side, and both succeed."""
    first, second = live.begin("a"), live.begin("a")
    live.call("PATCH", first, DATA[:1000])
    live.call("PATCH", second, DATA[:2000])
    live.call("PATCH", first, DATA[1000:])
    assert live.call("PUT", f"{first}?digest={DIGEST}").status == 201
    assert live.call("PUT", f"{second}?digest={DIGEST}", DATA[2000:]).status == 201
    assert len(live.blobs()) == 1
