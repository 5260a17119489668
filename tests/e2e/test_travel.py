"""Images travel: docker's own client, docker-py and ours, against Debian's registry and one that misbehaves."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import docker.errors
import pytest

from corten.oci.platform import host
from tests.e2e.conftest import BIN, Engine
from tests.e2e.images import ROOT_ROW
from tests.e2e.tools import ALONE, PATIENCE, unique, until
from tests.e2e.travel import PASSWORD, USER, NearRegistry, Way, debian_registry
from tests.fakes.registry import Authority, authority, breaks, lies, refuse
from tests.unit.engine.images.registries import offer, offer_index
from tests.unit.engine.images.samples import docker_archive, make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fakes.registry import FakeRegistry, Handler

pytestmark = [pytest.mark.root, pytest.mark.slow]

CLIENTS = ["docker", "corten"]
OPEN, LOCKED, TRUSTED, STRANGE = 5000, 5001, 5443, 5444  # ports
ADDRESS = "10.99.0.1"  # of the engine's own namespace, and not loopback
SMALL = make([{"etc/name": b"one"}, {"etc/more": b"more" * 50_000}])
OTHER = make([{"etc/name": b"one"}, {"other": b"two"}])
FOREIGN = make([{"a": b"b"}], architecture="s390x")
MIB = 1 << 20
WORDS = ("/bin/cat", "/etc/passwd")


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority and a certificate for this machine."""
    return authority(tmp_path_factory.mktemp("tls") / "made", f"DNS:localhost,IP:127.0.0.1,IP:{ADDRESS}")


def flags(engine: Engine) -> tuple[str, ...]:
    """Return the flags of the daemon."""
    return ("--registries", f"{engine.base}/etc/registries.toml")


@pytest.fixture(scope="module")
def engine(small_tar: Path, authorities: Authority) -> Iterator[Engine]:
    """An engine with a small image ``base`` that can run, and a folder for certificates."""
    engine = Engine()
    try:
        folder = Path(engine.base, "etc")
        folder.mkdir()
        (folder / "registries.toml").write_text("max-concurrent-downloads = 4\n")
        certificates = folder / "certs.d" / f"{ADDRESS}:{TRUSTED}"
        certificates.mkdir(parents=True)
        (certificates / "ca.crt").write_bytes(authorities.ca.read_bytes())
        engine.start(*flags(engine))
        engine.import_tree(small_tar, "base")
        yield engine
    finally:
        engine.close()


@pytest.fixture(scope="module")
def debian(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's registry, open to everybody."""
    with debian_registry(engine, tmp_path_factory.mktemp("open") / "registry", OPEN) as name:
        yield name


@pytest.fixture(scope="module")
def locked(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's registry, open to one user."""
    with debian_registry(engine, tmp_path_factory.mktemp("locked") / "registry", LOCKED, locked=True) as name:
        yield name


@pytest.fixture
def near(engine: Engine) -> Iterator[NearRegistry]:
    """A registry that misbehaves on order."""
    with NearRegistry(engine) as found:
        yield found


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, engine: Engine) -> Callable[..., Any]:
    """Each of the two clients."""
    found: Callable[..., Any] = getattr(engine, request.param)
    return found


@pytest.fixture
def name(engine: Engine, debian: str) -> Iterator[str]:
    """A repository of Debian's registry that nobody has used."""
    repository = f"{debian}/{unique('app')}"
    yield repository
    forget(engine, repository)


def forget(engine: Engine, repository: str) -> None:
    """Take away all names in a repository, and images that have no other."""
    for image in images_of(engine, repository):
        for name in image["RepoTags"] or image["RepoDigests"]:
            if name.startswith(repository):
                engine.docker("rmi", "-f", name, check=False)


def images(engine: Engine) -> list[Any]:
    """Return what the engine has."""
    status, found = engine.api("GET", "/images/json", all="1")
    assert status == 200
    return list(found)


def inspect(engine: Engine, image: str) -> Any:
    """Return all about an image."""
    return json.loads(engine.docker("image", "inspect", image).stdout)[0]


# there and back


def test_push_remove_pull_run(engine: Engine, client: Callable[..., Any], name: str) -> None:
    """What comes back has the same id and digest, and runs."""
    engine.docker("tag", "base", f"{name}:1")
    pushed = client("push", f"{name}:1").stdout
    digest = re.search(r"^1: digest: (sha256:[0-9a-f]{64}) size: \d+$", pushed, re.MULTILINE)
    assert digest, pushed
    before = inspect(engine, f"{name}:1")
    assert before["RepoDigests"] == [f"{name}@{digest[1]}"]

    client("rmi", f"{name}:1")
    pulled = client("pull", f"{name}:1").stdout.splitlines()
    after = inspect(engine, f"{name}:1")

    assert pulled[0] == f"1: Pulling from {name.partition('/')[2]}"
    assert pulled[-3:] == [
        f"Digest: {digest[1]}",
        f"Status: Downloaded newer image for {name}:1",
        f"{name}:1",
    ]
    assert (after["Id"], after["RepoDigests"]) == (before["Id"], before["RepoDigests"])
    assert after["RootFS"] == before["RootFS"]
    assert engine.docker("run", "--rm", *ALONE, f"{name}:1", *WORDS).stdout == ROOT_ROW
    again = client("pull", f"{name}:1").stdout
    assert f"Status: Image is up to date for {name}:1" in again


def test_a_second_push_sends_manifests_only(engine: Engine, client: Callable[..., Any], debian: str) -> None:
    """Counted on the wire; the digest stays."""
    with Way(engine, OPEN) as way:
        name = f"{way.host}/{unique('app')}:1"
        engine.docker("tag", "base", name)
        first = client("push", name).stdout
        sent = way.up
        second = client("push", name).stdout

        assert sent > 100_000
        assert way.up - sent < 10_000
    assert first.splitlines()[-1] == second.splitlines()[-1]
    assert "Layer already exists" in second
    client("rmi", "-f", name)


def test_a_push_beside_mounts(engine: Engine, client: Callable[..., Any], name: str, debian: str) -> None:
    """Another repository of the same registry takes the layers from the first."""
    engine.docker("tag", "base", f"{name}:1")
    client("push", f"{name}:1")
    other = f"{name}-other:2"
    engine.docker("tag", "base", other)

    assert f"Mounted from {name.removeprefix(f'{debian}/')}" in client("push", other).stdout
    client("rmi", other)


def test_digests_and_all_tags(engine: Engine, client: Callable[..., Any], name: str) -> None:
    """By digest without a tag; all tags of a repository with one word."""
    for tag in ("1", "2"):
        engine.docker("tag", "base", f"{name}:{tag}")
    pushed = client("push", "-a", name).stdout
    digest = re.search(r"digest: (\S+)", pushed)
    assert digest
    assert pushed.count("digest: ") == 2
    forget(engine, name)

    client("pull", f"{name}@{digest[1]}")
    assert f"{name}:1" not in inspect(engine, f"{name}@{digest[1]}")["RepoTags"]
    forget(engine, name)
    out = client("pull", "-a", name).stdout
    assert out.count("Pulling from") == 2
    assert set(inspect(engine, f"{name}:1")["RepoTags"]) >= {f"{name}:1", f"{name}:2"}


def test_quiet(engine: Engine, client: Callable[..., Any], name: str) -> None:
    """One line, for scripts."""
    engine.docker("tag", "base", f"{name}:1")
    assert client("push", "-q", f"{name}:1").stdout == f"{name}:1\n"
    assert client("pull", "-q", f"{name}:1").stdout == f"{name}:1\n"


def test_compression_by_zstd(engine: Engine, small_tar: Path, name: str) -> None:
    """It is ours to offer; what is made of it is the same image, and runs."""
    engine.import_tree(small_tar, f"{name}:z")
    identity = inspect(engine, f"{name}:z")["Id"]
    engine.corten("push", "--compression", "zstd", f"{name}:z")
    found = json.loads(engine.corten("manifest", "inspect", f"{name}:z").stdout)
    assert {layer["mediaType"].rpartition("+")[2] for layer in found["layers"]} == {"zstd"}

    engine.docker("rmi", f"{name}:z")
    engine.docker("pull", f"{name}:z")
    assert inspect(engine, f"{name}:z")["Id"] == identity == found["config"]["digest"]
    assert engine.docker("run", "--rm", *ALONE, f"{name}:z", *WORDS).stdout == ROOT_ROW


def test_manifest_inspect(engine: Engine, name: str) -> None:
    """The document whose digest the push told; with -v also what it is for."""
    engine.docker("tag", "base", f"{name}:1")
    pushed = engine.corten("push", f"{name}:1").stdout
    more = json.loads(engine.corten("manifest", "inspect", "-v", f"{name}:1").stdout)

    assert more["Descriptor"]["digest"] in pushed
    assert more["Descriptor"]["platform"]["architecture"] == host().architecture
    status, found = engine.api("GET", f"/distribution/{name}:1/json")
    assert (status, found["Descriptor"]["digest"]) == (200, more["Descriptor"]["digest"])


def test_docker_py(engine: Engine, name: str) -> None:
    """Pull, push, login and inspection of a registry by the library."""
    with closing(docker.DockerClient(base_url=f"unix://{engine.socket}")) as api:
        api.images.get("base").tag(name, "py")
        messages = list(api.images.push(name, tag="py", stream=True, decode=True))
        aux = next(message["aux"] for message in messages if "aux" in message)
        api.images.remove(f"{name}:py")
        image = api.images.pull(name, tag="py")

        assert f"{name}@{aux['Digest']}" in image.attrs["RepoDigests"]
        assert api.images.get_registry_data(f"{name}:py").id == aux["Digest"]
        assert api.containers.run(f"{name}:py", WORDS, network_mode="none", remove=True) == ROOT_ROW.encode()
        with pytest.raises(docker.errors.NotFound):
            api.images.pull(name, tag="absent")
        with pytest.raises(docker.errors.APIError):
            api.images.search(f"{name}/x")


def test_run_and_create_pull_what_is_missing(engine: Engine, client: Callable[..., Any], name: str) -> None:
    """In Docker's words, on stderr; never when told not to."""
    engine.docker("tag", "base", f"{name}:1")
    engine.docker("push", f"{name}:1")
    engine.docker("rmi", f"{name}:1")

    never = client("run", "--rm", "--pull", "never", *ALONE, f"{name}:1", "true", check=False)
    assert (never.returncode, images_of(engine, name)) == (125, [])
    run = client("run", "--rm", *ALONE, f"{name}:1", *WORDS)
    assert run.stdout == ROOT_ROW
    assert run.stderr.splitlines()[0] == f"Unable to find image '{name}:1' locally"
    assert "Downloaded newer image" in run.stderr

    always = client("run", "--rm", "--pull", "always", *ALONE, f"{name}:1", *WORDS)
    assert always.stdout == ROOT_ROW
    assert "Image is up to date" in always.stderr + always.stdout
    engine.docker("rmi", f"{name}:1")
    made = client("create", *ALONE, f"{name}:1", *WORDS)
    assert re.fullmatch(r"[0-9a-f]{64}\n", made.stdout)
    engine.docker("rm", made.stdout.strip())


def images_of(engine: Engine, repository: str) -> list[Any]:
    """Return the images of a repository."""
    status, found = engine.api("GET", "/images/json", filters=json.dumps({"reference": [repository]}))
    assert status == 200
    return list(found)


def test_events(engine: Engine, name: str) -> None:
    """Whoever watches the engine sees images come and go."""
    engine.docker("tag", "base", f"{name}:1")
    engine.docker("push", f"{name}:1")
    engine.docker("pull", f"{name}:1")
    form = "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}"
    times = ("--since", "1m", "--until", str(time.time()))
    told = engine.docker("events", *times, "--filter", "type=image", "--format", form)
    assert [line for line in told.stdout.splitlines() if name in line and line.startswith("pu")] == [
        f"push {name}:1 {name}",
        f"pull {name}:1 {name}",
    ]


# who may


def test_login(engine: Engine, client: Callable[..., Any], locked: str) -> None:
    """A wrong password is told, the right one opens, leaving closes; both clients share the file."""
    name = f"{locked}/{unique('private')}:1"
    engine.docker("tag", "base", name)
    refused = client("push", name, check=False)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1), refused.stderr
    wrong = client("login", "-u", USER, "--password-stdin", locked, input="wrong", check=False)
    assert wrong.returncode == 1
    assert "401 Unauthorized" in wrong.stderr or "unauthorized" in wrong.stderr

    done = client("login", "-u", USER, "--password-stdin", locked, input=PASSWORD)
    assert "Login Succeeded" in done.stdout
    client("push", name)
    client("rmi", name)
    other = engine.corten if client == engine.docker else engine.docker
    other("pull", name)
    other("login", locked)
    assert os.stat(f"{engine.environment['DOCKER_CONFIG']}/config.json").st_mode & 0o077 == 0

    client("logout", locked)
    engine.docker("rmi", name)
    closed = client("pull", name, check=False)
    assert closed.returncode == 1
    assert images_of(engine, name.rpartition(":")[0]) == []


def test_docker_py_logs_in(engine: Engine, locked: str) -> None:
    """A wrong password raises; the right one is sent along with every request."""
    name = f"{locked}/{unique('private')}"
    with closing(docker.DockerClient(base_url=f"unix://{engine.socket}")) as api:
        with pytest.raises(docker.errors.APIError, match="401"):
            api.login(USER, "wrong", registry=locked, reauth=True)
        assert api.login(USER, PASSWORD, registry=locked, reauth=True)["Status"] == "Login Succeeded"
        api.images.get("base").tag(name, "1")
        pushed = api.images.push(name, tag="1", stream=True, decode=True)
        assert [message for message in pushed if "error" in message] == []
        api.images.remove(f"{name}:1")
        assert api.images.pull(name, tag="1").tags
        api.images.remove(f"{name}:1")


# platforms


def test_platforms(engine: Engine, client: Callable[..., Any], near: NearRegistry) -> None:
    """This machine's unless said; one that is missing is named."""
    both = {f"linux/{host().architecture}": offer(near, "app", "own", SMALL)}
    both["linux/s390x"] = offer(near, "app", "far", FOREIGN)
    index = offer_index(near, "app", "1", both)
    name = f"{near.host}/app:1"

    assert f"Digest: {index}" in client("pull", name).stdout
    assert inspect(engine, name)["Id"] == SMALL.id
    client("pull", "--platform", "linux/s390x", name)
    assert inspect(engine, name)["Architecture"] == "s390x"
    missing = client("pull", "--platform", "linux/riscv64", name, check=False)

    assert missing.returncode == 1
    assert "no matching manifest for linux/riscv64 in the manifest list entries" in missing.stderr
    forget(engine, f"{near.host}/app")
    for image in images(engine):
        if image["Id"] in (SMALL.id, FOREIGN.id):
            engine.docker("rmi", "-f", image["Id"])


# what goes wrong

DENIED = "pull access denied for {host}/app, repository does not exist or may require"
WRONG: list[tuple[str, Callable[[FakeRegistry], Handler], str]] = [
    (
        "GET /v2/app/manifests/",
        lambda _: refuse(404, "MANIFEST_UNKNOWN"),
        "manifest for {host}/app:1 not found: manifest unknown",
    ),
    ("GET /v2/app/manifests/", lambda _: refuse(429, "TOOMANYREQUESTS"), "toomanyrequests: "),
    ("GET /v2/app/manifests/", lambda _: refuse(403, "DENIED"), DENIED),
    ("GET /v2/app/manifests/", lambda _: refuse(500, "UNKNOWN"), "answered 500"),
    ("GET /v2/app/manifests/", lambda _: lies(b"{", 1), "invalid manifest"),
    ("GET /v2/app/manifests/", lambda _: lies(b"<html>", 6), "invalid manifest"),
    ("GET /v2/app/blobs/{config}", lambda _: lies(b"x" * 10, 10), "{config}"),
    ("GET /v2/app/blobs/{layer}", lambda _: refuse(404, "BLOB_UNKNOWN"), "blob {layer} of {host}/app"),
    ("GET /v2/app/blobs/{layer}", lambda _: lies(b"x" * 10, 10), "{layer}"),
    ("GET /v2/app/blobs/{layer}", lambda found: breaks(found, 0), "broke"),
]


@pytest.mark.parametrize(("where", "what", "text"), WRONG)
def test_a_registry_that_is_broken(
    engine: Engine, near: NearRegistry, where: str, what: Callable[[FakeRegistry], Handler], text: str
) -> None:
    """One clear line, exit code 1, nothing half-visible; the next try works."""
    manifest = offer(near, "app", "1", SMALL)
    names = {"config": SMALL.id, "layer": manifest.fields.layers[1].digest, "host": near.host}
    near.order(where.format(**names), what(near), times=100)
    before = images(engine)

    tried_again = text in ("answered 500", "broke")  # which takes its time
    for client in (engine.docker,) if tried_again else (engine.docker, engine.corten):
        done = client("pull", f"{near.host}/app:1", check=False, timeout=120)
        assert done.returncode == 1
        assert text.format(**names) in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert "Traceback" not in done.stderr
    assert images(engine) == before

    near._orders.clear()
    engine.docker("pull", f"{near.host}/app:1")
    engine.docker("rmi", f"{near.host}/app:1")


def test_a_flipped_bit(engine: Engine, near: NearRegistry) -> None:
    """A layer whose bytes are not those of its digest is refused, and not kept for the next try."""
    manifest = offer(near, "app", "1", SMALL)
    digest = manifest.fields.layers[1].digest
    wrong = bytearray(near.blobs["app", digest])
    wrong[len(wrong) // 2] ^= 1
    near.order(f"GET .*/{digest}", lies(bytes(wrong), len(wrong)), times=100)

    done = engine.docker("pull", f"{near.host}/app:1", check=False)
    assert done.returncode == 1
    assert images_of(engine, f"{near.host}/app") == []

    near._orders.clear()
    engine.docker("pull", f"{near.host}/app:1")
    engine.docker("rmi", f"{near.host}/app:1")


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("localhost:9/app:1", "cannot reach localhost:9"),
        ("no.such.test/app:1", "no.such.test"),
        ("UPPER:1", "must be lowercase"),
        ("nowhere:1", "registry-1.docker.io"),
    ],
)
def test_no_such_registry(engine: Engine, client: Callable[..., Any], image: str, text: str) -> None:
    """One line and Docker's exit codes: 1 for pull, 125 for run."""
    pull = client("pull", image, check=False)
    run = client("run", "--rm", image, "true", check=False)

    assert (pull.returncode, run.returncode) == (1, 125)
    assert text in pull.stderr
    assert text in run.stderr


def test_loopback_needs_no_certificate(
    engine: Engine, client: Callable[..., Any], authorities: Authority
) -> None:
    """Nobody listens in between, as in Docker."""
    with NearRegistry(engine, authorities.server()) as registry:
        offer(registry, "app", "1", SMALL)
        client("pull", f"{registry.host}/app:1")
        client("rmi", f"{registry.host}/app:1")


@pytest.mark.parametrize("port", [TRUSTED, STRANGE])
def test_certificates(engine: Engine, client: Callable[..., Any], authorities: Authority, port: int) -> None:
    """One whose authority is in certs.d is trusted; of any other it is said where to put it."""
    engine.inside("ip", "address", "replace", f"{ADDRESS}/32", "dev", "lo")
    with (
        NearRegistry(engine, authorities.server()) as registry,
        Way(engine, registry.port, near=(ADDRESS, port)),
    ):
        offer(registry, "app", "1", SMALL)
        done = client("pull", f"{ADDRESS}:{port}/app:1", check=False)
    if port == TRUSTED:
        assert done.returncode == 0, done.stderr
        client("rmi", f"{ADDRESS}:{port}/app:1")
    else:
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert re.search(rf"certificate of .*{ADDRESS}:{port} is not trusted .*: put its CA into ", line)


# what breaks


def test_a_client_that_goes_away(engine: Engine, name: str) -> None:
    """The transfer ends with it; no image, no tree, and the next pull goes on."""
    push_noise(engine, name, 30 * MIB)
    with Way(engine, OPEN, pace=10 * MIB) as way:
        remote = f"{way.host}/{name.partition('/')[2]}:1"
        process = subprocess.Popen(
            ["docker", "pull", remote], env=engine.environment, stdout=subprocess.DEVNULL
        )
        until(lambda: way.down > 5 * MIB, "some of the layer")
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
        stopped = way.down
        assert images_of(engine, remote.rpartition(":")[0]) == []
        engine.docker("pull", remote)
        assert way.down < 30 * MIB * 1.2
        assert stopped < 25 * MIB
        engine.docker("rmi", remote)
    assert "Traceback" not in engine.logs


def test_a_pull_that_is_cut_and_killed(engine: Engine, name: str) -> None:
    """Cut every 20 MB, the engine killed twice: what arrived once is not fetched again."""
    size = 100 * MIB
    identity = push_noise(engine, name, size)
    with Way(engine, OPEN, pace=40 * MIB, every=20_000_000) as way:
        remote = f"{way.host}/{name.partition('/')[2]}:1"
        for part in (0.3, 0.7):
            kill_while_pulling(engine, remote, way, int(part * size))
            assert images_of(engine, remote.rpartition(":")[0]) == []
        engine.corten("pull", remote, timeout=120)

        assert way.breaks >= 4
        assert way.down <= 1.05 * size
    assert inspect(engine, remote)["Id"] == identity
    engine.docker("rmi", remote)


def kill_while_pulling(engine: Engine, image: str, way: Way, count: int) -> None:
    """Pull, kill the engine when *count* bytes have come, and start it again."""
    with subprocess.Popen(
        [BIN / "corten", "pull", image],
        env=engine.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        until(lambda: way.down > count, "a part of the image")
        engine.kill_daemon(signal.SIGKILL)
        assert process.wait(PATIENCE) == 1
    engine.start(*flags(engine))


def noise(seed: int, size: int) -> bytes:
    """Return bytes that do not compress, always the same."""
    return hashlib.shake_128(str(seed).encode()).digest(size)


def push_noise(engine: Engine, name: str, size: int) -> Any:
    """Push an image with four layers of noise under ``name:1``, and remove it; return its id."""
    made = make([{f"noise{number}": noise(number, size // 4)} for number in range(4)])
    archive = Path(engine.base) / "noise.tar"
    archive.write_bytes(docker_archive({f"{name}:1": made}))
    engine.load(archive)
    archive.unlink()
    engine.docker("push", f"{name}:1")
    engine.docker("rmi", f"{name}:1")
    return made.id
