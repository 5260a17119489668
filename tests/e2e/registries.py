"""Registries and their clients for tests: ours as a real process, docker, podman and skopeo beside it.

All of them live in one network namespace that the test made, where nothing
but loopback exists; each client has its own folder for state and passwords.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from corten.linux.namespaces import CLONE_NEWNET, setns
from tests.e2e.conftest import BIN, DEADLINE, until
from tests.kernel.isolated import in_thread, new_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CORTEN = str(BIN / "corten")
OCI = "application/vnd.oci.image"
INSECURE = ("--src-tls-verify=false", "--dest-tls-verify=false")  # what a copy by skopeo needs here
_READY = re.compile(r"ready at https?://.*:(\d+)$", re.MULTILINE)


class Answer(NamedTuple):
    """What a registry answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Site:
    """A network namespace with a folder: where registries and clients of a test live."""

    def __init__(self, netns: int | None = None) -> None:
        self.folder = tempfile.mkdtemp(prefix="corten-r", dir="/tmp")
        self._own = netns is None
        self.netns = new_namespace() if netns is None else netns
        self.environment = {**os.environ, "REGISTRY_AUTH_FILE": f"{self.folder}/auth.json"}
        Path(self.folder, "auth.json").write_text("{}")
        self._registries: list[Registry] = []

    @property
    def inside(self) -> tuple[str, ...]:
        """What a command line begins with that shall run here."""
        return ("nsenter", f"--net=/proc/{os.getpid()}/fd/{self.netns}", "--")

    def run(
        self,
        *argv: str,
        check: bool = True,
        data: str | None = None,
        more: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program here, with *more* in its environment."""
        done = subprocess.run(
            [*self.inside, *argv],
            input=data,
            capture_output=True,
            text=True,
            timeout=60,
            env={**self.environment, **(more or {})},
            check=False,
        )
        assert not check or done.returncode == 0, (
            f"{' '.join(argv)}: {done.returncode}: {done.stderr}{done.stdout}"
        )
        return done

    def skopeo(self, *argv: str, check: bool = True) -> str:
        """Run skopeo; returns what it said."""
        need("skopeo")
        done = self.run("skopeo", *argv, check=check)
        return done.stdout if check else done.stdout + done.stderr

    def add_user(self, name: str) -> None:
        """Add a user whose password is ``secret`` to the file ``users``."""
        self.run(
            CORTEN, "registry", "user", "add", name, "--htpasswd", f"{self.folder}/users", data="secret\n"
        )

    def registry(self, *flags: str, **options: str) -> Registry:
        """Serve a registry here, on a free port of loopback; it ends with the site."""
        made = Registry(self, f"{self.folder}/registry{len(self._registries)}", *flags, **options)
        self._registries.append(made)
        return made

    def close(self) -> None:
        """End all registries; none may have met an error of its own."""
        try:
            for registry in self._registries:
                registry.stop()
            for registry in self._registries:
                assert "Traceback" not in registry.log, registry.log
        finally:
            if self._own:
                os.close(self.netns)
            shutil.rmtree(self.folder)


class Registry:
    """``corten registry serve`` as a process; ``address`` is where it listens."""

    def __init__(self, site: Site, data: str, *flags: str, **environment: str) -> None:
        self.site, self.data = site, data
        self._flags, self._environment = flags, environment
        self._log = Path(f"{data}.log")
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it, on the port that it had if it ran before."""
        said = len(self.log)
        listen = () if "--listen" in self._flags else ("--listen", f"127.0.0.1:{self.port}")
        argv = [CORTEN, "registry", "serve", "--data", self.data, *listen, *self._flags]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.site.inside, *argv],
                env={**self.site.environment, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

        def ready() -> re.Match[str] | None:
            assert self._process.poll() is None, f"the registry has ended: {self.log}"
            return _READY.search(self.log, said)

        until(ready, "the registry to answer")
        found = ready()
        assert found is not None
        self.port = int(found[1])

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has said."""
        return self._log.read_text() if self._log.exists() else ""

    def image(self, name: str) -> str:
        """Return what skopeo calls an image here."""
        return f"docker://{self.address}/{name}"

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it in good order; it has to say that all went well. Idempotent."""
        if self._process.poll() is None:
            self._process.terminate()
            assert self._process.wait(DEADLINE) == 0, self.log

    def command(self, *argv: str, check: bool = True, data: str = "") -> subprocess.CompletedProcess[str]:
        """Run another verb on the same state."""
        verb, *rest = argv
        return self.site.run(CORTEN, "registry", verb, *rest, "--data", self.data, check=check, data=data)

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request by plain HTTP."""

        def send() -> Answer:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                connection.request(method, path, body or None, dict(headers or {}))
                answer = connection.getresponse()
                return Answer(answer.status, answer.headers, answer.read())
            finally:
                connection.close()

        return in_thread(lambda: setns(self.site.netns, CLONE_NEWNET), send)

    def push_blob(self, repository: str, data: bytes) -> str:
        """Upload a blob in one request; return its digest."""
        digest = sha256(data)
        answer = self.ask("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", data)
        assert answer.status in (201, 202), answer
        if answer.status == 202:
            place = answer.headers["Location"]
            place = place[place.index("/v2/") :]
            mark = "&" if "?" in place else "?"
            answer = self.ask("PUT", f"{place}{mark}digest={digest}", data)
            assert answer.status == 201, answer
        return digest


def sha256(data: bytes) -> str:
    """Return the digest of *data*."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def need(*programs: str) -> None:
    """Skip the test where a program is missing."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (make peers)")


class Layout:
    """An OCI layout with an index of two platforms under the name ``multi``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs" / "sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self.images = {name: self._image(name) for name in ("amd64", "arm64")}
        entries = [
            {**image, "platform": {"os": "linux", "architecture": name}}
            for name, image in self.images.items()
        ]
        kind = f"{OCI}.index.v1+json"
        self.index = self._put(kind, _json({"schemaVersion": 2, "mediaType": kind, "manifests": entries}))
        named = {**self.index, "annotations": {"org.opencontainers.image.ref.name": "multi"}}
        (folder / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [named]}))

    @property
    def name(self) -> str:
        """Return what skopeo calls it."""
        return f"oci:{self.folder}:multi"

    def blobs(self) -> dict[str, bytes]:
        """Return the bytes of all blobs by digest."""
        return {
            f"sha256:{path.name}": path.read_bytes() for path in (self.folder / "blobs" / "sha256").iterdir()
        }

    def raw(self, descriptor: Mapping[str, object]) -> bytes:
        """Return the bytes of a blob."""
        return self.blobs()[str(descriptor["digest"])]

    def _image(self, architecture: str) -> dict[str, object]:
        """Store a small image, its layer a compressed tar: clients would compress another one, and change digests."""
        layer = _tar("bytes", hashlib.shake_256(architecture.encode()).digest(200_000))
        config = {
            "os": "linux",
            "architecture": architecture,
            "config": {"Cmd": ["/none"]},
            "rootfs": {"type": "layers", "diff_ids": [sha256(layer)]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": self._put(f"{OCI}.config.v1+json", _json(config)),
            "layers": [self._put(f"{OCI}.layer.v1.tar+gzip", gzip.compress(layer, mtime=0))],
        }
        return self._put(f"{OCI}.manifest.v1+json", _json(manifest))

    def _put(self, media_type: str, data: bytes) -> dict[str, object]:
        digest = sha256(data)
        (self.folder / "blobs" / "sha256" / digest.partition(":")[2]).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _tar(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


class Docker:
    """A docker daemon of its own that needs no network but loopback."""

    def __init__(self, site: Site, authority: str = "") -> None:
        need("docker", "dockerd", "containerd")
        self.site, folder = site, f"{site.folder}/docker"
        os.mkdir(folder)
        self._host = f"unix://{folder}/sock"
        off = ("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--bridge=none")
        places = ("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "-p", f"{folder}/pid")
        trust = {"SSL_CERT_FILE": authority} if authority else {}
        self._log = Path(folder, "log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*site.inside, "dockerd", "-H", self._host, *places, *off, "-s", "vfs"],
                env={**site.environment, **trust},
                stdout=log,
                stderr=log,
            )
        self._environment = {"DOCKER_HOST": self._host, "DOCKER_CONFIG": folder}
        if not self._answers():
            self.close()
            pytest.skip(f"dockerd does not start here: {self._log.read_text()[-300:]}")

    def _answers(self) -> bool:
        deadline = time.monotonic() + 2 * DEADLINE
        while self._process.poll() is None and time.monotonic() < deadline:
            if self.site.run("docker", "version", check=False, more=self._environment).returncode == 0:
                return True
            time.sleep(0.1)
        return False

    def __call__(self, *argv: str, check: bool = True, data: str | None = None) -> str:
        """Run the docker client; returns what it said."""
        done = self.site.run("docker", *argv, check=check, data=data, more=self._environment)
        return done.stdout if check else done.stdout + done.stderr

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(2 * DEADLINE)


class Podman:
    """Podman with storage of its own."""

    def __init__(self, site: Site) -> None:
        need("podman")
        self.site = site
        places = ("--root", f"{site.folder}/podman", "--runroot", f"{site.folder}/podman-run")
        self._argv = ("podman", *places, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs")

    def __call__(self, *argv: str, check: bool = True, data: str | None = None) -> str:
        """Run it; returns what it said."""
        done = self.site.run(*self._argv, *argv, check=check, data=data)
        return done.stdout if check else done.stdout + done.stderr


class Authority:
    """An authority of its own, and a certificate for loopback that it signed."""

    def __init__(self, folder: Path) -> None:
        need("openssl")
        self.certificate, self.key = str(folder / "server.pem"), str(folder / "server.key")
        self.authority = str(folder / "ca.crt")
        key = str(folder / "ca.key")
        names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
        _openssl(
            "req", "-x509", *_new(key), "-subj", "/CN=test authority", "-days", "2", "-out", self.authority
        )
        leaf = ("-addext", names, "-addext", "basicConstraints=critical,CA:FALSE")
        signed = ("-CA", self.authority, "-CAkey", key, *leaf, "-days", "2")
        _openssl("req", "-x509", *_new(self.key), "-subj", "/CN=registry", *signed, "-out", self.certificate)


def _new(key: str) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key)


def _openssl(*argv: str) -> None:
    subprocess.run(["openssl", *argv], check=True, capture_output=True)


@contextmanager
def new_site(netns: int | None = None) -> Iterator[Site]:
    """Lend a site."""
    site = Site(netns)
    try:
        yield site
    finally:
        site.close()
