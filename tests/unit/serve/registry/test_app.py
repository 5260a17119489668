"""What may be hung into the door, and how the door closes."""

import asyncio
import http.client
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import web

from corten.errors import NotFound, Unavailable
from corten.oci.digest import Digest
from corten.serve.registry.app import Config, serve
from corten.serve.registry.hooks import Action, Denied, Finished, Hooks, Passing
from corten.serve.registry.manifests import check
from corten.serve.registry.registry import Registry
from corten.serve.registry.source import Found, Held, Referrer
from corten.serve.registry.storage.folder import FolderStorage
from tests.unit.serve.registry.live import PATIENCE, Live, manifest, opened, served

DATA = bytes(range(256)) * 10_000
DIGEST = Digest.of(DATA)


class RecordingGate:
    """Remembers what was asked, and refuses what it was told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, set[Action]]] = []
        self.refused: dict[str, Denied] = {}

    async def check(self, request: web.BaseRequest, repository: str, actions: frozenset[Action]) -> None:
        """Let the request pass unless the repository is refused."""
        self.asked.append((request.method, repository, set(actions)))
        if repository in self.refused:
            raise self.refused[repository]


class RecordingObserver:
    """Remembers what was answered."""

    def __init__(self) -> None:
        self.seen: list[Finished] = []

    def finished(self, request: Finished) -> None:
        """Remember it."""
        self.seen.append(request)


@pytest.fixture
def gate() -> RecordingGate:
    """A gate that lets all pass."""
    return RecordingGate()


@pytest.fixture
def observer() -> RecordingObserver:
    """An observer that has seen nothing."""
    return RecordingObserver()


@pytest.fixture
def guarded(tmp_path: Path, gate: RecordingGate, observer: RecordingObserver) -> Iterator[Live]:
    """A registry with both."""
    with served(tmp_path / "r", hooks=Hooks(gate=gate, observer=observer)) as live:
        yield live


def test_the_gate_is_asked_for_each_request(guarded: Live, gate: RecordingGate) -> None:
    """Each route asks for what it needs, in the repository that it touches."""
    location = guarded.begin("a/b")
    for method, path, repository, actions in (
        ("GET", "/v2/", "", set()),
        ("GET", "/v2/_catalog", "", {"catalog"}),
        ("GET", "/v2/a/tags/list", "a", {"pull"}),
        ("HEAD", "/v2/a/manifests/x", "a", {"pull"}),
        ("PUT", "/v2/a/manifests/x", "a", {"push"}),
        ("DELETE", "/v2/a/manifests/x", "a", {"delete"}),
        ("HEAD", f"/v2/a/blobs/{DIGEST}", "a", {"pull"}),
        ("DELETE", f"/v2/a/blobs/{DIGEST}", "a", {"delete"}),
        ("GET", f"/v2/a/referrers/{DIGEST}", "a", {"pull"}),
        ("GET", location, "a/b", {"push"}),
        ("PATCH", location, "a/b", {"push"}),
        ("PUT", f"{location}?digest={DIGEST}", "a/b", {"push"}),
        ("DELETE", location, "a/b", {"push"}),
    ):
        guarded.call(method, path)
        assert gate.asked[-1] == (method, repository, actions)
    count = len(gate.asked)
    guarded.call("GET", "/healthz")
    assert len(gate.asked) == count


def test_the_gate_refuses(guarded: Live, gate: RecordingGate) -> None:
    """An unknown caller gets 401 and the challenge, a known one 403; nothing is done."""
    gate.refused["a"] = Denied("authentication required", 'Bearer realm="x"')
    answer = guarded.call("POST", f"/v2/a/blobs/uploads/?digest={DIGEST}", DATA)
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="x"'
    gate.refused["a"] = Denied("not yours")
    answer = guarded.call("GET", "/v2/a/tags/list")
    assert (answer.status, answer.code) == (403, "DENIED")
    assert "WWW-Authenticate" not in answer.headers
    assert guarded.blobs() == {}


def test_a_mount_needs_the_right_to_pull_there(guarded: Live, gate: RecordingGate) -> None:
    """Who may not pull from the source gets an upload instead, and learns nothing of it."""
    guarded.push_blob("secret", DATA)
    gate.refused["secret"] = Denied("not yours")
    answer = guarded.call("POST", f"/v2/a/blobs/uploads/?mount={DIGEST}&from=secret")
    assert answer.status == 202
    assert ("POST", "secret", {"pull"}) in gate.asked


def test_the_observer_counts(guarded: Live, observer: RecordingObserver) -> None:
    """Route, code and bytes of each request, whatever came of it."""
    guarded.push_blob("a", DATA)
    guarded.get_blob("a", DIGEST)
    guarded.get_blob("a", DIGEST, Range="bytes=0-99")
    guarded.get_blob("a", Digest.of(b"x"))
    guarded.call("GET", "/elsewhere")
    deadline = time.monotonic() + PATIENCE
    while len(observer.seen) < 5:
        assert time.monotonic() < deadline
    seen = [(each.method, each.route, each.code, each.received, each.sent) for each in observer.seen]
    assert seen[:3] == [
        ("POST", "uploads", 201, len(DATA), 0),
        ("GET", "blob", 200, 0, len(DATA)),
        ("GET", "blob", 206, 0, 100),
    ]
    assert [(route, code) for _, route, code, _, _ in seen[3:]] == [("blob", 404), ("unknown", 404)]
    assert all(each.seconds >= 0 for each in observer.seen)


def test_pages_stand_beside_the_registry(tmp_path: Path, gate: RecordingGate) -> None:
    """A further path is answered by its own handler, outside of the gate."""

    async def metrics(request: web.BaseRequest) -> web.Response:
        return web.Response(text=f"figures for {request.path}")

    with served(tmp_path / "r", hooks=Hooks(gate=gate, pages={"/metrics": metrics})) as live:
        assert live.call("GET", "/metrics?x=1").body == b"figures for /metrics"
        assert gate.asked == []


def test_read_only(tmp_path: Path) -> None:
    """Everything can be pulled, and each change is refused with the reason."""
    with served(tmp_path / "r") as live:
        raw = live.push_image("a", "v1", DATA)
    with served(tmp_path / "r", config=Config(port=0, read_only=True)) as live:
        assert live.get_manifest("a", "v1").body == raw
        assert live.get_blob("a", DIGEST).body == DATA
        for method, path in (
            ("POST", "/v2/a/blobs/uploads/"),
            ("PUT", "/v2/a/manifests/v2"),
            ("DELETE", "/v2/a/manifests/v1"),
            ("DELETE", f"/v2/a/blobs/{DIGEST}"),
            ("PATCH", "/v2/a/blobs/uploads/x"),
        ):
            answer = live.call(method, path, raw if method == "PUT" else None)
            assert (answer.status, answer.code) == (405, "UNSUPPORTED")


class OneImage:
    """Something of another shape that can be pulled from: one image, without files."""

    raw = manifest(b"{}", DATA)
    promised = False

    def repositories(self, last: str, count: int) -> list[str]:
        """Return the one name."""
        return ["only"][:count] if last < "only" else []

    def tags(self, repository: str, last: str, count: int) -> list[str]:
        """Return the one tag."""
        return ["one"][:count] if repository == "only" and last < "one" else []

    def manifest(self, repository: str, reference: str, *, promise: bool = False) -> Held:
        """Return the one manifest."""
        if (repository, reference, promise) != ("only", "one", False):
            raise NotFound("manifest", reference)
        return Held(Digest.of(self.raw), "application/vnd.oci.image.manifest.v1+json", self.raw)

    def blob(self, repository: str, digest: Digest, *, promise: bool = False) -> Found:
        """Return the one blob."""
        self.promised |= promise
        if (repository, digest) != ("only", DIGEST):
            raise NotFound("blob", digest)
        return Found(DIGEST, len(DATA), None)

    def read(self, digest: Digest, offset: int, length: int) -> Iterator[bytes]:
        """Yield a range in small pieces."""
        assert digest == DIGEST
        for start in range(offset, offset + length, 1000):
            yield DATA[start : min(start + 1000, offset + length)]

    def referrers(self, repository: str, subject: Digest) -> list[Referrer]:
        """Return one that depends on what is asked for."""
        return [Referrer(subject, repository, 1, "", {})]


def test_another_source_is_served_read_only(tmp_path: Path) -> None:
    """Whatever has the shape of a Source can be pulled from, also where blobs are no files."""
    with served(tmp_path / "r", source=OneImage()) as live:
        assert live.get_manifest("only", "one").body == OneImage.raw
        assert live.get_blob("only", DIGEST).body == DATA
        assert live.get_blob("only", DIGEST, Range="bytes=1500-4499").body == DATA[1500:4500]
        assert live.call("HEAD", f"/v2/only/blobs/{DIGEST}").headers["Content-Length"] == str(len(DATA))
        assert live.call("GET", "/v2/_catalog").json() == {"repositories": ["only"]}
        assert live.call("POST", "/v2/only/blobs/uploads/").status == 405


class Upstream:
    """Another registry behind this one."""

    def __init__(self) -> None:
        self.registry: Registry | None = None
        self.asked: list[tuple[str, Digest | None]] = []
        self.raw = manifest(b"{}", DATA)
        self.broken = False

    async def manifest(self, repository: str, reference: str, held: Digest | None) -> None:
        """Bring in the manifest without its blobs."""
        self.asked.append((reference, held))
        if self.broken:
            raise Unavailable("the registry behind this one does not answer: try again later")
        registry = self.registry
        assert registry is not None
        tag = "" if ":" in reference else reference
        checked = check(self.raw, "")
        await asyncio.to_thread(lambda: registry.pushes.put(repository, checked, tag, complete=False))

    async def blob(self, repository: str, digest: Digest) -> Passing | None:
        """Pass one blob on, and bring another one in."""
        self.asked.append((digest, None))
        registry = self.registry
        assert registry is not None
        if digest == DIGEST:
            return Passing(len(DATA), pieces())
        if digest != Digest.of(b"{}"):
            return None
        upload = registry.sessions.begin(repository)
        registry.sessions.append(upload, 0, b"{}")
        registry.sessions.finish(repository, upload, digest)
        return None


async def pieces() -> AsyncIterator[bytes]:
    """Yield the blob."""
    for start in range(0, len(DATA), 100_000):
        yield DATA[start : start + 100_000]


def test_a_fallback_fills_in(tmp_path: Path) -> None:
    """Manifests and blobs that are not here come from behind: passed on, or brought in first."""
    upstream = Upstream()
    with served(tmp_path / "r", hooks=Hooks(fallback=upstream)) as live:
        upstream.registry = live.registry
        digest = Digest.of(upstream.raw)
        assert live.get_manifest("a", "v1").body == upstream.raw
        assert live.get_manifest("a", digest).body == upstream.raw
        assert live.get_manifest("a", "v1").status == 200
        assert upstream.asked == [("v1", None), ("v1", digest)]
        assert live.get_blob("a", DIGEST).body == DATA
        head = live.call("HEAD", f"/v2/a/blobs/{DIGEST}")
        assert (head.status, head.headers["Content-Length"]) == (200, str(len(DATA)))
        asked = len(upstream.asked)
        for _ in range(2):
            assert live.get_blob("a", Digest.of(b"{}")).body == b"{}"
        assert len(upstream.asked) == asked + 1
        assert live.get_blob("a", Digest.of(b"absent")).code == "BLOB_UNKNOWN"


def test_a_broken_fallback_leaves_what_is_held(tmp_path: Path) -> None:
    """A tag that is here is served when the registry behind does not answer; others get 503 and a line."""
    upstream = Upstream()
    with served(tmp_path / "r", hooks=Hooks(fallback=upstream)) as live:
        upstream.registry = live.registry
        live.get_manifest("a", "v1")
        upstream.broken = True
        assert live.get_manifest("a", "v1").body == upstream.raw
        answer = live.get_manifest("a", "v2")
        assert answer.status == 503
        assert "does not answer" in answer.json()["errors"][0]["message"]


def test_defects_are_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A defect is answered 500 without a traceback, which goes to the log."""

    async def defective(request: web.BaseRequest) -> web.Response:
        raise RuntimeError("secret detail")

    with served(tmp_path / "r", hooks=Hooks(pages={"/page": defective})) as live:
        answer = live.call("GET", "/page")
        assert answer.status == 500
        assert b"secret" not in answer.body
        assert "secret detail" in caplog.text
        assert live.call("GET", "/v2/").status == 200


def test_closing_lets_requests_end(tmp_path: Path) -> None:
    """A push that is under way when the server closes is finished; a new connection is refused."""

    async def scenario(registry: Registry) -> int:
        serving = await serve(Config(port=0, drain=PATIENCE), registry.pulls, registry)
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        head = f"POST /v2/a/blobs/uploads/?digest={DIGEST} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\n\r\n"
        writer.write(head.encode() + DATA[:1000])
        while not await asyncio.to_thread(lambda: list(registry.shelves.storage.uploads.walk())):
            pass
        closing_server = asyncio.create_task(serving.close())
        while True:
            try:
                _, other = await asyncio.open_connection("127.0.0.1", serving.port)
            except ConnectionError:
                break
            other.close()
            await other.wait_closed()
        assert not closing_server.done()
        writer.write(DATA[1000:])
        answer = await reader.readline()
        await closing_server
        writer.close()
        return int(answer.split()[1])

    with opened(tmp_path / "r") as registry:
        assert asyncio.run(scenario(registry)) == 201
        assert registry.pulls.blob("a", DIGEST).size == len(DATA)


def test_tls(tmp_path: Path) -> None:
    """With a certificate the registry speaks HTTPS, also for blobs that plain HTTP sends by sendfile."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", key, "-out", certificate, "-days", "1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with served(tmp_path / "r", config=Config(port=0, tls=context)) as live:
        trust = ssl.create_default_context(cafile=str(certificate))
        with closing(http.client.HTTPSConnection("localhost", live.port, context=trust)) as connection:
            connection.request("POST", f"/v2/a/blobs/uploads/?digest={DIGEST}", DATA)
            response = connection.getresponse()
            response.read()
            assert response.status == 201
            connection.request("GET", f"/v2/a/blobs/{DIGEST}")
            assert connection.getresponse().read() == DATA


def test_garbage_is_collected_by_itself(tmp_path: Path) -> None:
    """With an interval the server collects, and a run that fails does not end that."""
    ran: list[int] = []
    enough = threading.Event()

    def watch(run: Callable[[], object]) -> Callable[[], object]:
        def watched() -> object:
            ran.append(1)
            if len(ran) == 1:
                raise Unavailable("the storage does not answer: try again later")
            result = run()
            enough.set()
            return result

        return watched

    async def scenario(registry: Registry) -> None:
        serving = await serve(Config(port=0, collect=0.01), registry.pulls, registry)
        assert await asyncio.to_thread(enough.wait, PATIENCE)
        await serving.close()

    with opened(tmp_path / "r") as registry:
        registry.collector.run = watch(registry.collector.run)  # type: ignore[assignment,method-assign]
        asyncio.run(scenario(registry))
    assert len(ran) >= 2


def test_a_taken_address_is_told(tmp_path: Path) -> None:
    """A port that is in use ends the start with an error, and leaves nothing running."""

    async def scenario(registry: Registry, port: int) -> None:
        with pytest.raises(OSError, match="address already in use"):
            await serve(Config(port=port), registry.pulls, registry)

    with socket.create_server(("127.0.0.1", 0)) as taken, opened(tmp_path / "r") as registry:
        asyncio.run(scenario(registry, taken.getsockname()[1]))


def test_two_registries_never_share_a_folder(tmp_path: Path) -> None:
    """A second one is refused before it touches anything."""
    with opened(tmp_path / "r"), pytest.raises(Exception, match="another registry"):
        FolderStorage(tmp_path / "r")
