"""Archives of images, ours and others': folders, compressed ones, those of docker, podman and skopeo; import from an address."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import threading
from contextlib import closing, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.changed import changed, committed, engine, facts, ids, occupied, other, run
from tests.e2e.registries import Docker, Podman, need, new_site
from tests.e2e.tools import unique
from tests.kernel.isolated import inside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Engine
    from tests.e2e.registries import Site

__all__ = ["changed", "engine", "other"]  # fixtures

pytestmark = [pytest.mark.root, pytest.mark.slow]


def test_folders_and_archives_hold_the_same(
    engine: Engine, other: Engine, changed: str, tmp_path: Path
) -> None:
    """A layout folder is loaded elsewhere and saved as the very bytes that the first engine saves."""
    images = [committed(engine, changed), committed(engine, changed, "-c", "USER 5"), "base"]
    engine.corten("save", "-o", f"{tmp_path}/layout/", *images)
    engine.docker("save", "-o", f"{tmp_path}/one.tar", *images)
    assert set(other.corten("load", "-i", f"{tmp_path}/layout").stdout.splitlines()) == {
        f"Loaded image: {name}" for name in (*images[:2], "base:latest")
    }
    other.corten("save", "-o", f"{tmp_path}/two.tar", *images)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    other.corten("save", "-o", f"{tmp_path}/again/", *images)
    done = subprocess.run(
        ["diff", "-r", tmp_path / "layout", tmp_path / "again"], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")
    assert run(other, images[0], "cat", "/etc/new") == "hi\n"


def test_compressed_archives(engine: Engine, changed: str, tmp_path: Path) -> None:
    """Both gzip and zstd are undone, from a file and from stdin."""
    image = committed(engine, changed)
    plain = engine.docker("save", image, input=b"").stdout
    engine.docker("rmi", image)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(plain, 1))
    assert engine.docker("load", "-i", str(tmp_path / "a.tar.gz")).stdout == f"Loaded image: {image}\n"
    engine.docker("rmi", image)
    if shutil.which("zstd") is None:
        pytest.skip("zstd is not installed")
    packed = subprocess.run(["zstd", "-c"], input=plain, capture_output=True, check=True).stdout
    assert engine.corten("load", input=packed).stdout == f"Loaded image: {image}\n".encode()


def test_save_refuses_a_terminal(engine: Engine, tmp_path: Path) -> None:
    """Neither a terminal nor a folder with something in it is written to."""
    done = subprocess.run(
        ["script", "-qec", f"{Path('.venv/bin/corten').resolve()} save base", "/dev/null"],
        env=engine.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "cowardly refusing to save to a terminal" in done.stdout
    (tmp_path / "mine").touch()
    refused = engine.corten("save", "-o", str(tmp_path), "base", check=False)
    assert "exists and is not an empty folder" in refused.stderr


@pytest.fixture(scope="module")
def site(engine: Engine) -> Iterator[Site]:
    """Where the tools of others live."""
    with new_site() as made:
        yield made


def test_docker_and_we_read_each_others_archives(
    engine: Engine, site: Site, changed: str, tmp_path: Path
) -> None:
    """Several images in one archive go to dockerd and come back as the same ids, and run."""
    images = [committed(engine, changed), committed(engine, changed, "-c", "LABEL a=b")]
    before = ids(engine, *images)
    engine.docker("save", "-o", f"{tmp_path}/ours.tar", *images)
    with closing(Docker(site)) as peer:
        assert f"Loaded image: {images[0]}\n" in peer("load", "-i", f"{tmp_path}/ours.tar")
        assert peer("image", "inspect", "-f", "{{.Id}}", *images).split() == before
        peer("save", "-o", f"{tmp_path}/theirs.tar", *images)
    engine.docker("rmi", "-f", *images)
    shown = engine.docker("load", "-i", f"{tmp_path}/theirs.tar").stdout
    assert sorted(shown.splitlines()) == sorted(f"Loaded image: {image}" for image in images)
    assert ids(engine, *images) == before
    assert run(engine, images[1], "cat", "/etc/new") == "hi\n"


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci-dir"])
def test_podman_and_we_read_each_others_archives(
    engine: Engine, site: Site, changed: str, tmp_path: Path, form: str
) -> None:
    """In each form that podman writes; a layout of one is a folder."""
    image = committed(engine, changed)
    engine.docker("save", "-o", f"{tmp_path}/ours.tar", image)
    podman, theirs = Podman(site), f"{tmp_path}/theirs"
    podman("load", "-q", "-i", f"{tmp_path}/ours.tar")
    podman("save", "-q", "--format", form, "-o", theirs, f"docker.io/library/{image}")
    layers, engine_id = facts(engine, image)["RootFS"]["Layers"], ids(engine, image)
    engine.docker("rmi", "-f", image)
    loaded = engine.corten("load", "-i", theirs).stdout
    name = loaded.rpartition(": ")[2].strip()
    assert facts(engine, name)["RootFS"]["Layers"] == layers
    assert run(engine, name, "cat", "/etc/new") == "hi\n"
    if form == "docker-archive":
        assert (name, ids(engine, name)) == (image, engine_id)
    podman("rmi", "-f", f"docker.io/library/{image}")


def test_podman_saves_several_images(engine: Engine, site: Site, changed: str, tmp_path: Path) -> None:
    """An archive of many images brings all of them."""
    images = [committed(engine, changed), committed(engine, changed, "-c", "LABEL a=b")]
    engine.docker("save", "-o", f"{tmp_path}/ours.tar", *images)
    podman = Podman(site)
    loaded = podman("load", "-q", "-i", f"{tmp_path}/ours.tar")
    names = [line.partition(": ")[2] for line in loaded.splitlines()]
    assert sorted(name.rpartition("/")[2] for name in names) == sorted(images)
    podman("save", "-q", "-m", "-o", f"{tmp_path}/theirs.tar", *names)
    before = sorted(ids(engine, *images))
    engine.docker("rmi", "-f", *images)
    engine.docker("load", "-i", f"{tmp_path}/theirs.tar")
    assert sorted(ids(engine, *names)) == before
    podman("rmi", "-f", *names)


def test_skopeo_reads_our_folder(engine: Engine, site: Site, changed: str, tmp_path: Path) -> None:
    """What ``save -o FOLDER/`` writes is an OCI layout to others, with the digests that we tell."""
    need("skopeo")
    image = committed(engine, changed)
    engine.corten("save", "-o", f"{tmp_path}/layout/", image)
    shown = json.loads(site.skopeo("inspect", f"oci:{tmp_path}/layout"))
    assert shown["Digest"] == facts(engine, image)["Descriptor"]["digest"]
    site.skopeo("copy", f"oci:{tmp_path}/layout", f"docker-archive:{tmp_path}/copied.tar:{image}")
    before = ids(engine, image)
    engine.docker("rmi", "-f", image)
    engine.docker("load", "-i", f"{tmp_path}/copied.tar")
    assert run(engine, image, "cat", "/etc/new") == "hi\n"
    assert ids(engine, image) == before


# import


@contextmanager
def served(engine: Engine, folder: Path) -> Iterator[str]:
    """Serve *folder* by HTTP where the daemon can reach it; gives the address."""

    class Quiet(SimpleHTTPRequestHandler):
        """Keeps its log to itself."""

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    def listen() -> ThreadingHTTPServer:
        return ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))

    server = inside(engine.netns, listen)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_import_from_an_address(engine: Engine, small_tar: Path) -> None:
    """The daemon fetches it; what is not there, or no archive, is one clear line."""
    with served(engine, small_tar.parent) as address:
        for verb in (engine.docker, engine.corten):
            name = unique("img")
            done = verb("import", "-c", 'CMD ["cat", "/etc/passwd"]', f"{address}/{small_tar.name}", name)
            assert facts(engine, name)["Id"] in done.stdout
            assert facts(engine, name)["Comment"] == f"Imported from {address}/{small_tar.name}"
            assert run(engine, name).startswith("root:x:0:0")
        gone = engine.docker("import", f"{address}/gone.tar", check=False)
        assert gone.returncode == 1
        assert f"{address}/gone.tar: check the address" in gone.stderr
    dead = engine.docker("import", f"{address}/{small_tar.name}", check=False)
    assert "cannot fetch http://127.0.0.1:" in dead.stderr
    metadata = engine.docker("import", "http://169.254.169.254/latest", check=False)
    assert "link-local or metadata address: refused" in metadata.stderr


def test_an_import_that_is_cut_leaves_nothing(engine: Engine, tmp_path: Path) -> None:
    """An archive that ends in the middle makes no image and takes no space."""
    (tmp_path / "half.tar.gz").write_bytes(gzip.compress(os.urandom(200_000))[:100_000])
    before = occupied(engine)["LayersSize"]
    with served(engine, tmp_path) as address:
        done = engine.docker("import", f"{address}/half.tar.gz", "half", check=False)
    assert done.returncode == 1
    assert engine.docker("images", "-q", "half").stdout == ""
    found = occupied(engine)
    assert (found["LayersSize"], found["Corten"]["RemovedImages"]) == (before, 0)
