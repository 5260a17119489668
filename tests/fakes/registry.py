"""FakeRegistry: a real small registry on loopback that remembers every request and misbehaves on order.

It serves blobs, manifests, tags, referrers, uploads and searches out of
dictionaries, in a thread of its own, by HTTP or HTTPS. A test gives *orders*:
for the next requests that match, the registry does something else than it
should. Whatever arrives is recorded with all its headers.
"""

import asyncio
import base64
import functools
import json
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict

from corten.oci.descriptor import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor
from corten.oci.digest import Digest
from corten.oci.image import Manifest

PATIENCE = 20.0  # seconds until a test that hangs fails
_PIECE = 1 << 16

Handler = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class Seen(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: CIMultiDict[str]


class Order(NamedTuple):
    """What to do with the next *times* requests whose ``METHOD /path`` matches *pattern*."""

    pattern: re.Pattern[str]
    handler: Handler
    left: list[int]


class Session(NamedTuple):
    """An upload that is not closed yet."""

    repository: str
    data: bytearray


class Names(AbstractResolver):
    """Finds 127.0.0.1 for names that end in ``.test``, what *known* says for others, and nothing else."""

    def __init__(self, **known: str) -> None:
        self.known = {name.replace("_", "."): address for name, address in known.items()}
        self.asked: list[str] = []

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - one each
    ) -> list[ResolveResult]:
        """Find the address of *host*."""
        self.asked.append(host)
        host = host.lower().rstrip(".")
        address = self.known.get(host) or ("127.0.0.1" if host.endswith(".test") else "")
        if not address:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST
            )
        ]

    async def close(self) -> None:
        """Nothing is held."""


class FakeRegistry:
    """A registry in a thread; use it in a ``with``.

    Attributes:
        seen: All requests, in order.
        blobs: By repository and digest.
        manifests: Media type and bytes, by repository and tag or digest.
        passwords: If not empty, who may come in; *realm* makes it Bearer, else it is Basic.
        realm: The token service: a URL, ``self`` for its own ``/token``, or "" for Basic.
        identity: An identity token that ``/token`` gives to who asks offline, and takes.
        ranges: Range requests are honoured.
        referrers_api: Referrers are listed, else answered with 404.
        page: Tags in one answer; 0 is all.
        largest: Bytes of the largest body that an upload takes.
        minimum: OCI-Chunk-Min-Length.
        absolute: Locations hold scheme and host.
        elsewhere: Uploads go to this URL instead.
        mounts: Blobs can be mounted.
        keeps: A broken upload can be asked for.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.seen: list[Seen] = []
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.passwords: dict[str, str] = {}
        self.realm, self.identity = "", ""
        self.ranges = self.referrers_api = self.mounts = self.keeps = True
        self.page, self.largest, self.minimum = 0, 1 << 40, 0
        self.absolute, self.elsewhere = False, ""
        self.results: list[dict[str, Any]] = []
        self.released = threading.Event()
        self._orders: list[Order] = []
        self._sessions: dict[str, Session] = {}
        self._tokens: dict[str, str] = {}
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()))
        self._loop: asyncio.AbstractEventLoop | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Break all connections and end; idempotent."""
        assert self._loop is not None
        self.released.set()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    async def _live(self) -> None:
        """Serve until told to stop."""
        self._loop = asyncio.get_running_loop()
        runner = web.ServerRunner(web.Server(self._serve, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    # what tests ask and order

    @property
    def host(self) -> str:
        """The registry as references name it."""
        return f"127.0.0.1:{self.port}"

    def url(self, path: str = "/", host: str = "") -> str:
        """Return a URL here, by address or by another name for it."""
        return f"{'https' if self._tls else 'http'}://{host or '127.0.0.1'}:{self.port}{path}"

    def order(self, pattern: str, handler: Handler, times: int = 1) -> None:
        """Have *handler* answer the next *times* requests that match; one that returns None lets them pass."""
        self._orders.append(Order(re.compile(pattern), handler, [times]))

    def saw(self, pattern: str) -> list[Seen]:
        """Return the requests so far whose ``METHOD /path`` matches."""
        return [one for one in self.seen if re.search(pattern, f"{one.method} {one.path}")]

    def add_blob(self, repository: str, data: bytes, media_type: str = OCI_LAYER_GZIP) -> Descriptor:
        """Store a blob; returns what a manifest says of it."""
        digest = Digest.of(data)
        self.blobs[repository, digest] = data
        return Descriptor(media_type=media_type, digest=digest, size=len(data))

    def add_manifest(self, repository: str, name: str, raw: bytes, media_type: str = OCI_MANIFEST) -> Digest:
        """Store a manifest under a tag and its digest."""
        digest = Digest.of(raw)
        self.manifests[repository, name] = self.manifests[repository, digest] = (media_type, raw)
        return digest

    def add_image(self, repository: str, tag: str, *layers: bytes) -> Manifest:
        """Store an image with *layers*."""
        config = self.add_blob(repository, json.dumps({"of": tag}).encode(), OCI_CONFIG)
        manifest = Manifest.make(config, [self.add_blob(repository, layer) for layer in layers])
        self.add_manifest(repository, tag, manifest.raw)
        return manifest

    # the server

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Record a request, then do what was ordered or what is right."""
        assert isinstance(request, web.BaseRequest)
        self.seen.append(
            Seen(request.method, request.path, dict(request.query), CIMultiDict(request.headers))
        )
        for order in self._orders:
            if order.left[0] and order.pattern.search(f"{request.method} {request.path}"):
                order.left[0] -= 1
                answered = await order.handler(request)  # type: ignore[arg-type]
                if answered is not None:
                    return answered
        if request.path == "/token":
            return await self._token(request)
        refusal = self._refusal(request)
        if refusal is not None:
            await request.content.read()
            return refusal
        return await self._route(request)

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        """Return a 401 for who may not come in."""
        if not self.passwords or request.path.startswith("/elsewhere"):
            return None
        given = request.headers.get("Authorization", "")
        if self.realm:
            known = given.startswith("Bearer ") and given.removeprefix("Bearer ") in self._tokens
            realm = self.url("/token") if self.realm == "self" else self.realm
            header = f'Bearer realm="{realm}",service="fake"'
        else:
            known, header = given in {_basic(*pair) for pair in self.passwords.items()}, 'Basic realm="fake"'
        return None if known else error(401, "UNAUTHORIZED", {"WWW-Authenticate": header})

    async def _token(self, request: web.BaseRequest) -> web.Response:
        """Give a token to who knows a password or the identity token."""
        if request.method == "POST":
            form = await request.post()
            if form.get("refresh_token") != self.identity:
                return error(401, "UNAUTHORIZED")
            return web.json_response({"access_token": self.make_token(str(form.get("scope")))})
        if request.headers.get("Authorization") not in {_basic(*pair) for pair in self.passwords.items()}:
            return error(401, "UNAUTHORIZED")
        found: dict[str, Any] = {
            "token": self.make_token(" ".join(request.query.getall("scope", []))),
            "expires_in": 300,
        }
        if self.identity and request.query.get("offline_token") == "true":
            found["refresh_token"] = self.identity
        return web.json_response(found)

    def make_token(self, scope: str) -> str:
        """Return a new token that opens this registry."""
        token = f"token-{len(self._tokens)}"
        self._tokens[token] = scope
        return token

    def forget_tokens(self) -> None:
        """Let all tokens expire."""
        self._tokens = {f"expired-{number}": "" for number, _ in enumerate(self._tokens)}

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        """Find what a path means."""
        path = request.path
        if path == "/v2/":
            return web.json_response({})
        if path == "/v1/search" and self.results:
            return web.json_response({"results": self.results, "num_results": len(self.results)})
        for pattern, serve in (
            (r"/v2/(.+)/blobs/uploads/", self._start),
            (r"(?:/elsewhere)?/v2/(.+)/blobs/uploads/(.+)", self._continue),
            (r"/v2/(.+)/blobs/(.+)", self._blob),
            (r"/v2/(.+)/manifests/(.+)", self._manifest),
            (r"/v2/(.+)/tags/list", self._tags),
            (r"/v2/(.+)/referrers/(.+)", self._referrers),
        ):
            found = re.fullmatch(pattern, path)
            if found:
                return await serve(request, *found.groups())
        return error(404, "")

    async def _blob(self, request: web.BaseRequest, repository: str, digest: str) -> web.StreamResponse:
        """GET, HEAD and DELETE of a blob."""
        data = self.blobs.get((repository, digest))
        if data is None:
            return error(404, "BLOB_UNKNOWN")
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        headers = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        status = 200
        if asked and self.ranges:
            start, status = int(asked[1]), 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return await stream(request, data[start:], status, headers)

    async def _manifest(self, request: web.BaseRequest, repository: str, name: str) -> web.StreamResponse:
        """GET, HEAD, PUT and DELETE of a manifest."""
        key = (repository, name)
        if request.method == "PUT":
            raw = await request.content.read()
            digest = self.add_manifest(repository, name, raw, request.content_type)
            headers = {"Location": f"/v2/{repository}/manifests/{digest}", "Docker-Content-Digest": digest}
            subject = json.loads(raw).get("subject")
            if subject and self.referrers_api:
                headers["OCI-Subject"] = subject["digest"]
            return web.Response(status=201, headers=headers)
        if key not in self.manifests:
            return error(404, "MANIFEST_UNKNOWN")
        if request.method == "DELETE":
            del self.manifests[key]
            return web.Response(status=202)
        kind, raw = self.manifests[key]
        headers = {"Content-Type": kind, "Docker-Content-Digest": Digest.of(raw)}
        return web.Response(body=raw, headers=headers)

    async def _tags(self, request: web.BaseRequest, repository: str) -> web.StreamResponse:
        """The list of tags, in pages if so ordered."""
        names = sorted(name for where, name in self.manifests if where == repository and ":" not in name)
        if not names:
            return error(404, "NAME_UNKNOWN")
        last = request.query.get("last", "")
        left = [name for name in names if name > last]
        page = left[: self.page] if self.page else left
        headers = {}
        if len(page) < len(left):
            headers["Link"] = f'</v2/{repository}/tags/list?last={page[-1]}&n={self.page}>; rel="next"'
        return web.json_response({"name": repository, "tags": page}, headers=headers)

    async def _referrers(self, _: web.BaseRequest, repository: str, digest: str) -> web.StreamResponse:
        """The list of what refers to a manifest."""
        if not self.referrers_api:
            return error(404, "")
        found = []
        for (where, name), (kind, raw) in self.manifests.items():
            document = json.loads(raw)
            subject = document.get("subject") or {}
            if where == repository and ":" in name and subject.get("digest") == digest:
                inner = document.get("artifactType") or document["config"]["mediaType"]
                found.append({"mediaType": kind, "digest": name, "size": len(raw), "artifactType": inner})
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
        return web.Response(body=json.dumps(body), headers={"Content-Type": OCI_INDEX})

    async def _start(self, request: web.BaseRequest, repository: str) -> web.StreamResponse:
        """Open an upload, or mount."""
        digest, source = request.query.get("mount", ""), request.query.get("from", "")
        if self.mounts and (source, digest) in self.blobs:
            self.blobs[repository, digest] = self.blobs[source, digest]
            return web.Response(status=201, headers={"Location": f"/v2/{repository}/blobs/{digest}"})
        name = f"{len(self._sessions)}"
        self._sessions[name] = Session(repository, bytearray())
        headers = self._where(request, repository, name, 0)
        if self.minimum:
            headers["OCI-Chunk-Min-Length"] = str(self.minimum)
        return web.Response(status=202, headers=headers)

    def _where(self, request: web.BaseRequest, repository: str, name: str, size: int) -> dict[str, str]:
        """Return the headers that tell where an upload goes on; the state must come back."""
        path = f"/v2/{repository}/blobs/uploads/{name}?_state=a%2Fb%3D{size}"
        base = self.elsewhere or (self.url("", request.url.host or "") if self.absolute else "")
        return {"Location": base + path, "Range": f"0-{max(size - 1, 0)}"}

    async def _continue(self, request: web.BaseRequest, repository: str, name: str) -> web.StreamResponse:
        """Take bytes, tell how many there are, or close."""
        session = self._sessions.get(name)
        if session is None or session.repository != repository:
            return error(404, "BLOB_UPLOAD_UNKNOWN")
        if request.method == "GET":
            if not self.keeps:
                return error(404, "BLOB_UPLOAD_UNKNOWN")
            return web.Response(status=204, headers=self._where(request, repository, name, len(session.data)))
        if (request.content_length or 0) > self.largest:
            return error(413, "")
        asked = request.headers.get("Content-Range")
        if asked and int(asked.partition("-")[0]) != len(session.data):
            return error(
                416, "BLOB_UPLOAD_INVALID", self._where(request, repository, name, len(session.data))
            )
        async for piece in request.content.iter_any():
            session.data.extend(piece)
        if request.method == "PATCH":
            return web.Response(status=202, headers=self._where(request, repository, name, len(session.data)))
        return self._close(request, session, name)

    def _close(self, request: web.BaseRequest, session: Session, name: str) -> web.Response:
        """Make a blob of an upload."""
        data, digest = bytes(session.data), request.query["digest"]
        del self._sessions[name]
        if Digest.of(data) != digest:
            return error(400, "DIGEST_INVALID")
        self.blobs[session.repository, digest] = data
        return web.Response(status=201, headers={"Docker-Content-Digest": digest})


def _basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


def error(status: int, code: str, headers: dict[str, str] | None = None) -> web.Response:
    """Return a failure in the form that the specification gives it."""
    errors = [{"code": code, "message": code.lower().replace("_", " ")}] if code else []
    return web.json_response({"errors": errors}, status=status, headers=headers)


async def stream(
    request: web.BaseRequest, data: bytes, status: int = 200, headers: dict[str, str] | None = None
) -> web.StreamResponse:
    """Send *data* in pieces; nothing but the headers to HEAD."""
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(data)
    await response.prepare(request)
    if request.method != "HEAD":
        for start in range(0, len(data), _PIECE):
            await response.write(data[start : start + _PIECE])
    return response


# misbehaviour, to be ordered


def reply(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Handler:
    """Answer with just this."""

    async def handler(request: web.Request) -> web.Response:
        await request.content.read()
        return web.Response(status=status, headers=headers, body=body)

    return handler


def refuse(status: int, code: str, headers: dict[str, str] | None = None) -> Handler:
    """Answer with an error document."""

    async def handler(request: web.Request) -> web.Response:
        await request.content.read()
        return error(status, code, headers)

    return handler


def redirect(url: str, status: int = 307) -> Handler:
    """Send the client elsewhere."""
    return reply(status, {"Location": url})


def challenge(text: str) -> Handler:
    """Ask who it is."""
    return refuse(401, "UNAUTHORIZED", {"WWW-Authenticate": text})


def breaks(registry: FakeRegistry, count: int) -> Handler:
    """Send a blob honestly from where it was asked for, but break the connection after *count* bytes."""

    async def handler(request: web.Request) -> web.StreamResponse:
        found = re.fullmatch(r"/v2/(.+)/blobs/(.+)", request.path)
        assert found
        data = registry.blobs[found[1], found[2]]
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = int(asked[1]) if asked and registry.ranges else 0
        response = web.StreamResponse(status=206 if start else 200)
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        response.content_length = len(data) - start
        await response.prepare(request)
        await response.write(data[start : start + count])
        return cut(request, response)

    return handler


def takes(registry: FakeRegistry, count: int) -> Handler:
    """Take *count* bytes of an upload, keep them, and break the connection."""

    async def handler(request: web.Request) -> web.StreamResponse:
        session = registry._sessions[request.path.rpartition("/")[2]]
        session.data.extend(await request.content.readexactly(count))
        return cut(request, web.StreamResponse())

    return handler


def cut(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """Break the connection; what was written before may still arrive."""
    assert request.transport is not None
    request.transport.close()
    return response


def lies(data: bytes, length: int | None = None, headers: dict[str, str] | None = None) -> Handler:
    """Send *data* whatever was asked for, announced as *length* bytes, or in chunks without a length."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        if length is None:
            response.enable_chunked_encoding()
        else:
            response.content_length = length
        await response.prepare(request)
        await response.write(data)
        if length is not None and length > len(data):
            return cut(request, response)
        return response

    return handler


def endless(head: bytes = b"{") -> Handler:
    """Send bytes until the client has had enough."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(head)
        while request.transport is not None and not request.transport.is_closing():
            await response.write(b" " * _PIECE)
        return response

    return handler


def stalls(registry: FakeRegistry, head: bytes = b"") -> Handler:
    """Send *head*, then nothing until the registry ends."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(head) + 1
        await response.prepare(request)
        await response.write(head)
        await asyncio.to_thread(registry.released.wait, PATIENCE)
        return cut(request, response)

    return handler


class Authority(NamedTuple):
    """A made-up certificate authority and what it signed: files in PEM form."""

    ca: Path
    certificate: Path
    key: Path

    def server(self, clients: bool = False) -> ssl.SSLContext:
        """Return a context for a server; with *clients* it asks them for a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if clients:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@functools.cache
def authority(folder: Path, names: str = "DNS:registry.test,IP:127.0.0.1", days: int = 2) -> Authority:
    """Make an authority and a certificate for *names* in *folder*, by openssl(1)."""
    folder.mkdir(exist_ok=True)
    files = {
        name: str(folder / name) for name in ("ca.crt", "ca.key", "server.crt", "server.key", "server.csr")
    }
    extensions = folder / "extensions"
    extensions.write_text(f"subjectAltName={names}\n", encoding="utf-8")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for command in (
        [
            "req",
            "-x509",
            *key,
            "-subj",
            "/CN=fake authority",
            "-keyout",
            files["ca.key"],
            "-out",
            files["ca.crt"],
        ],
        [
            "req",
            "-new",
            *key,
            "-subj",
            "/CN=fake",
            "-keyout",
            files["server.key"],
            "-out",
            files["server.csr"],
        ],
        [
            *("x509", "-req", "-in", files["server.csr"], "-CA", files["ca.crt"], "-CAkey", files["ca.key"]),
            *(
                "-CAcreateserial",
                "-days",
                str(days),
                "-extfile",
                str(extensions),
                "-out",
                files["server.crt"],
            ),
        ],
    ):
        subprocess.run(["/usr/bin/openssl", *command], check=True, capture_output=True)
    return Authority(Path(files["ca.crt"]), Path(files["server.crt"]), Path(files["server.key"]))
