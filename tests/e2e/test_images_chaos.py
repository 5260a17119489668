"""Images under many hands: shared layers, clients that go away, a daemon that is killed; nothing is lost, nothing stays."""

from __future__ import annotations

import io
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from corten.core.snapshots.overlay import OverlaySnapshotter
from corten.engine.records.database import Database
from corten.engine.records.images import Image, ImageRepository
from corten.errors import NotFound
from corten.oci.digest import Digest
from corten.oci.reference import Reference
from tests.e2e.chaos import (
    SHOW,
    Chaos,
    check_archive,
    check_images,
    check_pushed,
    clear,
    family,
    image_of,
    leftovers,
    noise,
    publish,
    shown,
)
from tests.e2e.conftest import BIN, running_engine
from tests.e2e.tools import ALONE, FOREVER, container, state, unique, until
from tests.e2e.travel import Way, debian_registry
from tests.unit.engine.images.samples import tar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.conftest import Engine
    from tests.unit.engine.images.samples import Made

pytestmark = [pytest.mark.root, pytest.mark.slow]

SECONDS = float(os.environ.get("CORTEN_SOAK_SECONDS", "10"))
CLIENTS = 6
BETWEEN = 0.5  # seconds that a daemon has until it is killed
PORT = 5000
WARM, CYCLES = 200, 200  # pulls until memory has settled (each thread has an arena), and then
NOISY = 8 << 20  # bytes by which memory may be more
SIZE, PACE = 24 << 20, 10 << 20  # bytes of a large image, and of it per second and connection
KILLS = 20


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine that has no image."""
    with running_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def registry(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's registry beside the engine."""
    with debian_registry(engine, tmp_path_factory.mktemp("chaos") / "registry", PORT) as name:
        yield name


@pytest.fixture(scope="module")
def images(engine: Engine, registry: str, small_tar: Path) -> dict[str, Made]:
    """A few images that share layers, in the registry."""
    made = family(registry, small_tar.read_bytes())
    publish(engine, made)
    return made


def test_many_clients(engine: Engine, images: dict[str, Made]) -> None:
    """Nobody is told of anything but success, absence or use; what is listed is whole; at last nothing is left."""
    chaos = Chaos(engine, images)
    chaos.begin(CLIENTS, "many")
    chaos.ended.wait(SECONDS)
    chaos.end()
    check_images(engine, chaos)
    clear(engine)
    check_pushed(engine, chaos)
    clear(engine)


def test_many_clients_and_a_daemon_that_is_killed(engine: Engine, images: dict[str, Made]) -> None:
    """Killed every half second: after the last start the same holds."""
    chaos = Chaos(engine, images, mortal=True)
    chaos.begin(CLIENTS, "killed")
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        chaos.ended.wait(BETWEEN)
        engine.restart_daemon(signal.SIGKILL)
    chaos.end()
    check_images(engine, chaos)
    clear(engine)
    check_pushed(engine, chaos)
    clear(engine)


def test_a_removal_that_was_cut(engine: Engine, images: dict[str, Made]) -> None:
    """A container is out of the records, its tree not yet, and its image is gone: the next start frees all of it."""
    image = next(iter(images))
    engine.docker("pull", "-q", image)
    made = engine.docker("create", *ALONE, image, "true").stdout.strip()
    engine.docker("rmi", "-f", image)
    assert leftovers(engine)
    engine.kill_daemon()
    with closing(sqlite3.connect(f"{engine.root}/engine.db")) as records, records:
        assert records.execute("DELETE FROM containers WHERE id = ?", (made,)).rowcount == 1
    engine.start()
    clear(engine)


def test_readers_beside_writers(tmp_path: Path) -> None:
    """Who asks for images or snapshots while others come and go is answered, or told that there is no such thing."""
    records, snapshots = (
        ImageRepository(Database(tmp_path / "records")),
        OverlaySnapshotter(str(tmp_path / "trees")),
    )
    image, name = record_of(b"1"), Reference.parse("here/image:1")
    ended = threading.Event()

    def change() -> None:
        records.put(image, [name])
        records.remove(image.id)

    def rebuild() -> None:
        key = snapshots.prepare(unique()).key
        lower = snapshots.commit(f"{key}-lower", key).key
        for number in range(20):
            snapshots.prepare(f"{key}-{number}", lower)
        for number in range(20):
            snapshots.remove(f"{key}-{number}")
        snapshots.remove(lower)

    def look() -> None:
        for question in (records.find, records.get):
            with suppress(NotFound):
                question(image.id)
        with suppress(NotFound):
            records.find(name.familiar)
        records.tags(name.repository)
        list(snapshots.walk())

    def again(what: Callable[[], None]) -> None:
        while not ended.is_set():
            what()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor() as pool:
            work = [pool.submit(again, what) for what in (change, rebuild, look, look)]
            wait(work, 2, FIRST_EXCEPTION)
            ended.set()
    finally:
        sys.setswitchinterval(interval)
    for each in work:
        each.result()


def record_of(data: bytes) -> Image:
    """Return a record of an image that there is not."""
    digest = Digest.of(data)
    return Image(
        id=digest,
        manifest=digest,
        manifest_size=1,
        manifest_type="",
        layers=(),
        diff_ids=(),
        layer_sizes=(),
    )


# a layer of which the tar stays the only copy


def test_a_container_outlives_its_image(engine: Engine, images: dict[str, Made]) -> None:
    """Its image is removed and the daemon killed: what it never read is still there, and it can do all it could."""
    image = next(name for name in images if name.endswith("d:1"))
    with container(engine, image, *FOREVER) as name:
        identifier = state(engine, name, "{{.Image}}")
        engine.docker("rmi", "-f", image)
        refused = engine.docker("rmi", "-f", identifier, check=False)
        assert "(cannot be forced) - image is being used by running container" in refused.stderr
        engine.restart_daemon(signal.SIGKILL)
        forget_pages(engine)
        assert noise_in(engine, name, "x") == noise("x")

        made = engine.docker("commit", name, "work:0").stdout.strip()
        engine.docker("stop", name)
        engine.docker("rmi", "-f", identifier)  # it is gone for good now, but for the container's tree
        assert identifier not in [listed["Id"] for listed in engine.api("GET", "/images/json", all="1")[1]]
        engine.restart_daemon(signal.SIGKILL)
        forget_pages(engine)
        engine.docker("start", name)
        assert noise_in(engine, name, "y") == noise("y")
        assert exported(engine, name) == {letter: noise(letter) for letter in "wxy"}

        engine.docker("rmi", "work:0")
        engine.docker("image", "prune", "-a", "-f")
        forget_pages(engine)
        assert noise_in(engine, name, "w") == noise("w")
        assert made not in [listed["Id"] for listed in engine.api("GET", "/images/json", all="1")[1]]
        gone = engine.docker("commit", name, check=False)
        assert (gone.returncode, gone.stderr) == (
            1,
            f"Error response from daemon: No such image: {identifier}\n",
        )
    clear(engine)


def noise_in(engine: Engine, name: str, letter: str) -> bytes:
    """Return what a container reads in a file of one of its layers."""
    return bytes(engine.docker("exec", name, "cat", f"/noise/{letter}", input=b"").stdout)


def exported(engine: Engine, name: str) -> dict[str, bytes]:
    """Return the files of all layers in an exported container."""
    data = engine.docker("export", name, input=b"").stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {entry.name: archive.extractfile(entry) for entry in archive if entry.isfile()}
        return {path[-1]: file.read() for path, file in files.items() if path.startswith("noise/") and file}


def forget_pages(engine: Engine) -> None:
    """Have the kernel forget what it has read of layers."""
    for path in Path(engine.root, "snapshots").rglob("layer.*"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_nothing_grows(engine: Engine, images: dict[str, Made]) -> None:
    """Pulled, mounted and removed two hundred times: descriptors, mounts and memory stay as they were."""
    names = list(images)
    for number in range(WARM):
        cycle(engine, names[number % len(names)])
    before = figures(engine)
    for number in range(CYCLES):
        cycle(engine, names[number % len(names)])
    until(lambda: figures(engine)[:2] <= before[:2], "descriptors and mounts to be as before")
    grown = figures(engine)[2] - before[2]
    assert grown < NOISY, f"{grown} bytes more in memory"
    clear(engine)


def cycle(engine: Engine, name: str) -> None:
    """Pull an image, have its layers mounted, and remove it."""
    assert engine.api("POST", "/images/create", fromImage=name)[0] == 200
    status, made = engine.api("POST", "/containers/create", {"Image": name, "Cmd": ["true"]})
    assert status == 201
    assert engine.api("DELETE", f"/containers/{made['Id']}")[0] == 204
    assert engine.api("DELETE", f"/images/{name}")[0] == 200


def figures(engine: Engine) -> tuple[int, int, int]:
    """Return how many descriptors and mounts the daemon has, and its memory in bytes."""
    process = Path("/proc", Path(engine.root, "daemon.lock").read_text(encoding="ascii").strip())
    mounts = process.joinpath("mountinfo").read_text().count("\n")
    pages = int(process.joinpath("statm").read_text().split()[1])
    return len(list(process.joinpath("fd").iterdir())), mounts, pages * os.sysconf("SC_PAGE_SIZE")


# pulls that are disturbed


def test_a_pull_whose_client_is_killed(engine: Engine, images: dict[str, Made]) -> None:
    """Twenty clients are killed one after the other: what has come stays, and the last one gets the image."""
    host, name, made = large(engine, images)
    dice = random.Random("killed")
    with Way(engine, PORT, pace=PACE) as way:
        remote = name.replace(host, way.host)
        for count in sorted(dice.randrange(SIZE) for _ in range(KILLS)):
            program = dice.choice(("docker", str(BIN / "corten")))
            with client_of(engine, program, "pull", remote) as process:
                until(lambda count=count: way.down > count, "a part of the image")  # type: ignore[misc]
                process.kill()
            assert engine.api("GET", "/images/json")[1] == []
        engine.docker("pull", remote)
        stored = sum(
            path.stat().st_size for path in Path(engine.root, "content/blobs").rglob("*") if path.is_file()
        )
        assert way.down < stored * 1.25  # what was on its way when a client died may come again
    status, data = engine.api("GET", f"/images/{made.id}/get")
    assert status == 200
    assert check_archive(data) == {made.id}
    clear(engine)


@contextmanager
def client_of(engine: Engine, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a client that says nothing; what still runs in the end is killed."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(argv, env=engine.environment, stdout=quiet, stderr=quiet) as process:
        try:
            yield process
        finally:
            process.kill()


def large(engine: Engine, images: dict[str, Made]) -> tuple[str, str, Made]:
    """Publish an image with the layers of one of the family and four large ones; return host, name, image."""
    host = next(iter(images)).partition("/")[0]
    base = images[f"{host}/app/d:1"].layers
    more = [tar({f"large/{number}": noise(str(number), SIZE // 4)}) for number in range(4)]
    made, name = image_of((*base, *more)), f"{host}/app/large:1"
    publish(engine, {name: made})
    return host, name, made


@pytest.mark.parametrize("verb", ["rmi", "prune", "both"])
def test_a_pull_beside_removals(engine: Engine, images: dict[str, Made], verb: str) -> None:
    """Images with the same layers are removed while it goes on: it completes, and fetches nothing twice."""
    host, name, made = large(engine, images)
    relatives = list(images)
    for relative in relatives:
        engine.docker("pull", "-q", relative)
    with Way(engine, PORT, pace=PACE) as way:
        remote = name.replace(host, way.host)
        with client_of(engine, "docker", "pull", remote) as process:
            until(lambda: way.down > SIZE // 8, "a part of the image")
            while process.poll() is None:
                if verb != "prune" and relatives:
                    engine.docker("rmi", "-f", relatives.pop())
                if verb != "rmi":
                    engine.docker("image", "prune", "-a", "-f")
            assert process.returncode == 0
        assert way.down < SIZE * 1.05
        assert engine.docker("run", "--rm", *ALONE, remote, "sh", "-c", SHOW).stdout == shown("wxy")
    status, data = engine.api("GET", f"/images/{made.id}/get")
    assert status == 200
    assert check_archive(data) == {made.id}
    clear(engine)
