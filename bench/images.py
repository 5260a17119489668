"""bench/images: how long images take to travel: load, save, push, pull, share, delete, beside the peers.

Every engine does the same in turn within one round, each on folders of its own
on the same disk; medians, and ratios to corten. The registry is Debian's
docker-registry on loopback. Run as root, in a network namespace of its own:
``unshare --net sh -c 'ip link set lo up; .venv/bin/python -m bench.images'``.

The limit is what the work costs at least: the bytes from the registry, hashed
and written to one file per layer, and nothing else.
"""

import argparse
import gzip
import hashlib
import http.client
import io
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from bench.peers import HERE, Cost, Peer, corten, dockerd, podman

PORT = 5000
HOST = f"localhost:{PORT}"
MB = 1 << 20
CONFIG = """version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/{port}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
WORDS = [f"{number:x}{'lorem ipsum dolor sit amet'[number % 20 :]}" for number in range(4000)]
IMAGES = {"debian": "debian-300", "tiny": "tiny", "large": "large", "second": "second"}
Samples = dict[str, dict[str, list[Cost]]]


class Maker:
    """Image archives in Docker's form, the same bytes on every machine but for the Debian base."""

    def __init__(self, folder: Path, base: str) -> None:
        self._folder = folder
        self._random = random.Random(1)
        self._base = list(self._layers(Path(base)))

    def _layers(self, archive: Path) -> Iterator[Path]:
        """Unpack the layers of *archive*, lowest first."""
        with tarfile.open(archive) as found:
            manifest = found.extractfile("manifest.json")
            assert manifest is not None
            for number, name in enumerate(json.load(manifest)[0]["Layers"]):
                path = self._folder / f"base-{number}.tar"
                data = found.extractfile(name)
                assert data is not None
                with path.open("wb") as out:
                    shutil.copyfileobj(data, out)
                yield path

    def layer(self, name: str, sizes: list[int]) -> Path:
        """Write a layer of files of these *sizes* in bytes, a hundred to a folder, text that shrinks to a third."""
        path = self._folder / f"{name}.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as out:
            for number, size in enumerate(sizes):
                member = tarfile.TarInfo(f"srv/{name}/{number // 100}/{number}")
                member.size, member.mode, member.mtime = size, 0o644, 1_700_000_000
                out.addfile(member, io.BytesIO(self._text(size)))
        return path

    def _text(self, size: int) -> bytes:
        words = " ".join(self._random.choices(WORDS, k=size // 20 + 1)) if size < MB else ""
        return (words.encode() if words else self._random.randbytes(MB) * (size // MB + 1))[:size].ljust(size)

    def archive(self, name: str, layers: list[Path], with_base: bool) -> Path:
        """Write the archive of an image of *layers*, on the Debian base or not."""
        path = self._folder / f"{name}-archive.tar"
        used = [*(self._base if with_base else []), *layers]
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "created": "2024-01-01T00:00:00Z",
                "config": {"Cmd": ["true"]},
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_sha256(layer)}" for layer in used]},
                "history": [{"created": "2024-01-01T00:00:00Z"} for _ in used],
            }
        ).encode()
        manifest = [
            {
                "Config": "config.json",
                "RepoTags": [f"{HOST}/{name}:latest"],
                "Layers": [_sha256(p) + ".tar" for p in used],
            }
        ]
        with tarfile.open(path, "w") as out:
            for layer in used:
                out.add(layer, _sha256(layer) + ".tar")
            for entry, data in (("config.json", config), ("manifest.json", json.dumps(manifest).encode())):
                member = tarfile.TarInfo(entry)
                member.size = len(data)
                out.addfile(member, io.BytesIO(data))
        return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def corpora(folder: Path, base: str) -> None:
    """Make the archives: many small files on Debian, tiny files, one large file, a second image on the base."""
    maker = Maker(folder, base)
    chance = random.Random(2)
    small = [min(int(chance.lognormvariate(8.2, 1.6)), 4 * MB) for _ in range(12_000)]
    files = maker.layer("small", small)
    tiny = maker.layer("tiny", [chance.randrange(1, 200) for _ in range(40_000)])
    maker.archive(IMAGES["debian"], [files], with_base=True)
    maker.archive(IMAGES["tiny"], [tiny], with_base=False)
    maker.archive(IMAGES["large"], [maker.layer("large", [500 * MB])], with_base=False)
    maker.archive(IMAGES["second"], [files, maker.layer("app", [100_000] * 20)], with_base=True)


def made(folder: Path, base: str) -> dict[str, Path]:
    """Make the archives in a process of its own: a child begins with the memory of its parent as its peak."""
    program = "import sys, pathlib; from bench.images import corpora; corpora(pathlib.Path(sys.argv[1]), sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, str(folder), base], check=True, cwd=HERE.parent)
    return {name: folder / f"{image}-archive.tar" for name, image in IMAGES.items()}


@contextmanager
def registry(folder: Path, port: int = PORT) -> Iterator[None]:
    """Debian's registry on loopback."""
    program = shutil.which("docker-registry")
    if program is None:
        raise SystemExit(
            "bench/images needs Debian's docker-registry: apt-get install docker-registry skopeo"
        )
    config = folder / f"registry-{port}.yml"
    config.write_text(CONFIG.format(folder=folder / "registry", port=port))
    server = subprocess.Popen(
        [program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            try:
                http.client.HTTPConnection("127.0.0.1", port, timeout=1).request("GET", "/v2/")
                break
            except OSError:
                time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait()


def limit(name: str, folder: Path) -> Cost:
    """Fetch the layers of an image one after another: network, sha256, write, fsync."""
    begin, cpu = time.perf_counter(), time.process_time()
    connection = http.client.HTTPConnection("127.0.0.1", PORT)
    connection.request(
        "GET",
        f"/v2/{name}/manifests/latest",
        headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
    )
    for layer in json.load(connection.getresponse())["layers"]:
        connection.request("GET", f"/v2/{name}/blobs/{layer['digest']}")
        answer, digest = connection.getresponse(), hashlib.sha256()
        with (folder / "limit").open("wb") as out:
            while data := answer.read(MB):
                digest.update(data)
                out.write(data)
            os.fsync(out.fileno())
        assert f"sha256:{digest.hexdigest()}" == layer["digest"]
    connection.close()
    return Cost(time.perf_counter() - begin, time.process_time() - cpu, 0)


def remove(peer: Peer, *images: str) -> None:
    """Remove images, which may not be there where a step failed."""
    with suppress(RuntimeError):
        peer.run("rmi", *images)


def copied(name: str, folder: Path) -> Cost:
    """Copy an image into a folder by skopeo, which unpacks nothing."""
    place = folder / "skopeo"
    skopeo = Peer("skopeo", forgetful(["skopeo"]), list)
    cost = skopeo.cost(
        "copy", "-q", "--src-tls-verify=false", f"docker://{HOST}/{name}:latest", f"oci:{place}"
    )
    shutil.rmtree(place)
    return cost


def steps(
    peer: Peer, name: str, plain: Path, folder: Path, number: int
) -> Iterator[tuple[str, Callable[[], Cost]]]:
    """What one engine does with one image in round *number*, in this order."""
    packed = plain.with_suffix(".tar.gz")
    image, pushed = (
        f"{HOST}/{plain.name.removesuffix('-archive.tar')}:latest",
        f"localhost:{PORT + 1 + number}/{peer.name}/{name}:latest",
    )
    out = folder / f"{peer.name}.saved"

    def save() -> Cost:
        out.unlink(missing_ok=True)
        return peer.cost("save", "-o", str(out), image)

    def push() -> Cost:
        peer.run("tag", image, pushed)
        cost = peer.cost("push", pushed)
        peer.run("rmi", pushed)
        return cost

    if name == "second":
        peer.run("pull", f"{HOST}/debian-300:latest")
        yield "pull on a shared base", lambda: peer.cost("pull", image)
        peer.run("rmi", image, f"{HOST}/debian-300:latest")
        return
    yield "load, plain", lambda: peer.cost("load", "-i", str(plain))
    yield "save", save
    yield "push", push
    yield "delete", lambda: peer.cost("rmi", image)
    yield "load, gzip", lambda: peer.cost("load", "-i", str(packed))
    remove(peer, image)
    yield "pull", lambda: peer.cost("pull", image)
    remove(peer, image)


def measure(
    peers: list[Peer], archives: dict[str, Path], folder: Path, rounds: int, stack: ExitStack
) -> Samples:
    """Samples by figure and engine, the engines taking turns; each round pushes to a registry that is empty."""
    samples: Samples = {}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        stack.enter_context(registry(folder, PORT + 1 + number))
        for name, plain in archives.items():
            shown = plain.name.removesuffix("-archive.tar")
            samples.setdefault(f"{name}: pull", {}).setdefault("limit", []).append(limit(shown, folder))
            samples[f"{name}: pull"].setdefault("skopeo", []).append(copied(shown, folder))
            for peer in peers[number % len(peers) :] + peers[: number % len(peers)]:
                os.sync()
                for figure, step in steps(peer, name, plain, folder, number):
                    try:
                        taken = step()
                    except RuntimeError as failure:
                        if number == 0:
                            print(
                                f"  {peer.name}: {name}: {figure}: does not work here: {str(failure)[-100:]}"
                            )
                        continue
                    samples.setdefault(f"{name}: {figure}", {}).setdefault(peer.name, []).append(taken)
    return samples


def show(samples: Samples, names: list[str]) -> None:
    """Print medians: seconds by the clock with ratios, processor seconds, MB."""
    columns = [*names, "skopeo", "limit"]
    print("\n| median | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 1))
    for figure, by_name in samples.items():
        ours = statistics.median([cost.wall for cost in by_name.get("corten", [])] or [float("nan")])
        cells = []
        for name in columns:
            taken = by_name.get(name, [])
            if not taken:
                cells.append("-")
                continue
            wall, cpu, peak = (statistics.median(values) for values in zip(*taken, strict=True))
            ratio = "" if name in ("corten", "limit") else f" ({wall / ours:.1f}x)"
            cells.append(f"{wall:.2f} s{ratio}, cpu {cpu:.2f} s" + (f", {peak:.0f} MB" if peak else ""))
        print(f"| {figure} | " + " | ".join(cells) + " |")


def forgetful(command: list[str]) -> list[str]:
    """Run containers' tools without what they remember of registries: every push is a first one."""
    script = (
        'mkdir -p /var/lib/containers/cache && mount -t tmpfs none /var/lib/containers/cache && exec "$@"'
    )
    return ["unshare", "--mount", "sh", "-c", script, "sh", *command]


def seed(archives: dict[str, Path]) -> None:
    """Put the images into the registry, and a gzipped archive beside each plain one."""
    for path in archives.values():
        name = path.name.removesuffix("-archive.tar")
        subprocess.run(
            [
                *forgetful(["skopeo"]),
                "copy",
                "-q",
                "--dest-tls-verify=false",
                f"docker-archive:{path}",
                f"docker://{HOST}/{name}:latest",
            ],
            check=True,
        )
        with path.open("rb") as plain, gzip.open(path.with_suffix(".tar.gz"), "wb", 6) as packed:
            shutil.copyfileobj(plain, packed, MB)


def main() -> int:
    """Take all figures and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--image", default=str(HERE.parent / ".cache" / "debian.tar"), help="archive of the base"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of images: debian tiny large second")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corten-bench-")))
        insecure = folder / "registries.conf"
        hosts = [f"localhost:{PORT + number}" for number in range(given.rounds + 1)]
        insecure.write_text(
            "".join(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n' for host in hosts)
        )
        os.environ["CONTAINERS_REGISTRIES_CONF"] = str(insecure)
        print("making the images (about a minute)", file=sys.stderr)
        archives = made(folder, given.image)
        stack.enter_context(registry(folder))
        seed(archives)
        chosen = {name: path for name, path in archives.items() if not given.only or name in given.only}
        engines = [stack.enter_context(make(folder, given.image)) for make in (corten, dockerd, podman)]
        peers = [peer for peer in engines if peer is not None]
        for peer in peers:
            peer.run("rmi", "debian")  # the base is a part of what is measured
            if peer.name == "podman":
                peer.command = forgetful(peer.command)
        show(measure(peers, chosen, folder, given.rounds, stack), [peer.name for peer in peers])
    return 0


if __name__ == "__main__":
    sys.exit(main())
