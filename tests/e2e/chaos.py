"""Many clients at once on a few images that share layers; what each of them may be told; what must hold at the end.

A client does at random whatever can be done to images, also halfway. Every
answer has to be success, or one clear line saying that something is gone or in
use: which is true of every one of these images at some moment.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import re
import socket
import tarfile
import threading
import time
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.tools import ALONE, until
from tests.unit.engine.images.samples import Made, docker_archive, make, tar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.e2e.conftest import Engine

FAMILY = {"a": "x", "b": "xy", "c": "z", "d": "xyw", "e": "zw"}  # the layers on the base, by image
SHOW = "cat /parts/*"
NOISE = 400_000  # bytes of each layer that do not compress
CLEAR = re.compile(
    r"No such (image|container): |cannot be forced|must be forced|must force|is not running|removal of container"
    r"|does not exist|An image does not exist locally|manifest .*unknown"
)
CUT = re.compile(r"EOF|connect|broken pipe|reset by peer|daemon running|context canceled", re.IGNORECASE)
WORK = 3  # names that images made here are given, again and again


class Gone(Exception):
    """The daemon did not answer, or not to the end."""


def family(host: str, base: bytes) -> dict[str, Made]:
    """Return the images of the family by the name that they have in the registry *host*."""
    layers = {
        letter: tar({f"parts/{letter}": f"{letter}\n".encode(), f"noise/{letter}": noise(letter)})
        for letter in "wxyz"
    }
    return {
        f"{host}/app/{name}:1": image_of((base, *(layers[letter] for letter in letters)))
        for name, letters in FAMILY.items()
    }


def noise(seed: str, size: int = NOISE) -> bytes:
    """Return bytes that do not compress, always the same."""
    return hashlib.shake_128(seed.encode()).digest(size)


def image_of(layers: tuple[bytes, ...]) -> Made:
    """Return an image of these tars."""
    ids = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in layers]
    return Made(make([], rootfs={"type": "layers", "diff_ids": ids}).config, layers)


def publish(engine: Engine, images: dict[str, Made]) -> None:
    """Put *images* into the registry that their names say; none stays here."""
    archive = Path(engine.base, "family.tar")
    archive.write_bytes(docker_archive(images))
    engine.load(archive)
    archive.unlink()
    for name in images:
        engine.docker("push", "-q", name)
    for name in images:
        engine.docker("rmi", name)


class Chaos:
    """What the clients of one engine share.

    ``mortal`` says that the daemon may die at any moment: then no answer is an
    answer too. ``parts`` are the files that an image shows, by its id.
    """

    def __init__(self, engine: Engine, images: dict[str, Made], *, mortal: bool = False) -> None:
        self.engine, self.mortal = engine, mortal
        self.names = list(images)
        self.parts = {str(made.id): frozenset(FAMILY[name[-3]]) for name, made in images.items()}
        self.pushed: set[str] = set()
        self.faults: list[str] = []
        self.done: dict[str, int] = {}
        self.ended = threading.Event()
        self._clients: list[threading.Thread] = []

    def begin(self, count: int, seed: str) -> None:
        """Set *count* clients to work."""
        for number in range(count):
            client = Client(self, random.Random(f"{seed}{number}"), number)
            self._clients.append(threading.Thread(target=client.work, name=f"client {number}"))
        for thread in self._clients:
            thread.start()

    def end(self) -> None:
        """Let the clients finish what they are at; nobody may have met a fault."""
        self.ended.set()
        for thread in self._clients:
            thread.join()
        assert self.faults == [], "\n".join((*self.faults[:20], self.engine.logs[-3000:]))


class Client:
    """One client, who throws *dice*."""

    def __init__(self, chaos: Chaos, dice: random.Random, number: int) -> None:
        self._chaos, self._dice, self._number = chaos, dice, number
        self._engine = chaos.engine
        self._archive = Path(self._engine.base, f"client{number}.tar")

    def work(self) -> None:
        """Do this and that until told to end."""
        while not self._chaos.ended.is_set():
            verb = self._dice.choice(VERBS)
            try:
                verb(self)
                self._chaos.done[verb.__name__] = self._chaos.done.get(verb.__name__, 0) + 1
            except Gone as failure:
                if not self._chaos.mortal:
                    self._fault(verb.__name__, failure)
                self._chaos.ended.wait(0.05)  # a client that tries again takes its time
            except Exception as failure:  # of the test itself
                self._fault(verb.__name__, repr(failure))
        self._archive.unlink(missing_ok=True)

    def _fault(self, what: str, why: object) -> None:
        self._chaos.faults.append(f"{what}: {why}")

    def _ask(
        self, method: str, path: str, body: object = None, file: Path | None = None, **query: str
    ) -> Any:
        """Send a request; return the answer's body, None for one that was refused as it may be.

        Raises:
            Gone: there was no whole answer.
        """
        try:
            status, answer = self._engine.api(method, path, body, file, **query)
        except (OSError, HTTPException) as failure:
            raise Gone(f"{method} {path}: {failure!r}") from failure
        if status >= 400 and not (status in (404, 409) and _is_clear(answer["message"])):
            self._fault(f"{method} {path} {query}", f"{status} {answer}")
        if status >= 400:
            return None
        return {} if answer is None else answer

    def _progress(self, path: str, file: Path | None = None, *, sure: bool = False, **query: str) -> bool:
        """Send a request that is answered by progress; tell whether it worked, which it has to when *sure*."""
        answer = self._ask("POST", path, None, file, **query)
        if answer is None:
            if sure:
                self._fault(path, f"refused {query}")
            return False
        lines = answer.splitlines() if isinstance(answer, bytes) else [json.dumps(answer)]
        said = json.loads(lines[-1]).get("error", "") if lines else ""
        if said and (sure or not _is_clear(said)):
            self._fault(path, f"{query}: {said}")
        return not said

    def _name(self) -> str:
        """Return what an image may be called just now."""
        work = [f"work:{number}" for number in range(WORK)]
        listed = [str(image["Id"]) for image in self._ask("GET", "/images/json", all="1") or ()]
        return self._dice.choice((*self._chaos.names, *work, *listed))

    # what a client does

    def pull(self) -> None:
        """Pull one of the family, which the registry always has."""
        self._progress("/images/create", sure=True, fromImage=self._dice.choice(self._chaos.names))

    def run(self) -> None:
        """Run a container by the real client, which pulls what is missing."""
        name = self._dice.choice(self._chaos.names)
        done = self._engine.docker("run", "--rm", *ALONE, name, "sh", "-c", SHOW, check=False)
        wanted = "".join(f"{part}\n" for part in sorted(FAMILY[name[-3]]))
        last = [line for line in done.stderr.splitlines() if line.startswith("docker: ")]
        if done.returncode == 0 and done.stdout == wanted:
            return
        if done.returncode == 125 and last and _is_clear(last[0]):
            return
        if self._chaos.mortal and (done.returncode == 125 or CUT.search(done.stderr)):
            raise Gone(done.stderr)
        self._fault("docker run", f"{name}: {done.returncode} {done.stdout!r} {done.stderr!r}")

    def commit(self) -> None:
        """Lead a container through its life, look at its files, and perhaps make an image of it."""
        mark = f"z{self._dice.randrange(10**9)}"
        command = ["sh", "-c", f"{SHOW}; echo {mark} > /parts/{mark}"]
        body = {"Image": self._name(), "Cmd": command, "HostConfig": {"NetworkMode": "none"}}
        made = self._ask("POST", "/containers/create", body)
        if made is None:
            return
        place = f"/containers/{made['Id']}"
        image = self._ask("GET", f"{place}/json")["Image"]
        if (
            self._ask("POST", f"{place}/start") is None
            or self._ask("POST", f"{place}/wait")["StatusCode"] != 0
        ):
            self._fault("start", self._ask("GET", f"{place}/json")["State"])
        said = _unframed(self._ask("GET", f"{place}/logs", stdout="1"))
        parts = self._chaos.parts.get(image)
        if parts is not None and said != shown(parts):
            self._fault("run", f"{image}: {said!r} instead of {shown(parts)!r}")
        if self._dice.random() < 0.6:
            query = {"container": made["Id"], "repo": "work", "tag": str(self._dice.randrange(WORK))}
            new = self._ask("POST", "/commit", **query)
            if new is not None and parts is not None:
                self._chaos.parts[new["Id"]] = parts | {mark}
        if self._ask("DELETE", place, force="1") is None:
            self._fault("rm", place)

    def tag(self) -> None:
        """Give an image one more name."""
        self._ask("POST", f"/images/{self._name()}/tag", repo="work", tag=str(self._dice.randrange(WORK)))

    def push(self) -> None:
        """Push an image under a name of the client's own."""
        host = self._chaos.names[0].partition("/")[0]
        repository = f"{host}/work/{self._number}"
        if self._ask("POST", f"/images/{self._name()}/tag", repo=repository, tag="1") is None:
            return
        compression = self._dice.choice(("gzip", "zstd"))
        if self._progress(f"/images/{repository}/push", tag="1", compression=compression):
            self._chaos.pushed.add(f"{repository}:1")
        self._ask("DELETE", f"/images/{repository}:1")

    def rmi(self) -> None:
        """Take a name or an image away."""
        self._ask("DELETE", f"/images/{self._name()}", force=self._dice.choice("01"))

    def prune(self) -> None:
        """Take all images away that no container uses."""
        if self._ask("POST", "/images/prune", filters=json.dumps({"dangling": ["false"]})) is None:
            self._fault("prune", "refused")

    def save(self) -> None:
        """Save what there is, one or two at once."""
        names = ",".join({self._name(), self._name()})
        data = self._ask("GET", "/images/get", names=names)
        if data is not None:
            check_archive(data)
            self._archive.write_bytes(data)

    def load(self) -> None:
        """Load what was saved before."""
        if self._archive.exists():
            self._progress("/images/load", self._archive, sure=True)

    def look(self) -> None:
        """Ask for all that can be known."""
        for image in self._ask("GET", "/images/json", manifests="1") or ():
            self._ask("GET", f"/images/{image['Id']}/json")
            self._ask("GET", f"/images/{image['Id']}/history")
        if self._ask("GET", "/system/df") is None:
            self._fault("df", "refused")

    def abandon(self) -> None:
        """Begin with something long, and go away in the middle."""
        name = self._dice.choice(self._chaos.names)
        pull = f"POST /images/create?fromImage={name} HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n"
        save = f"GET /images/{name}/get HTTP/1.1\r\nHost: here\r\n\r\n"
        data, count = self._dice.choice((pull, save)).encode(), self._dice.randrange(200_000)
        if self._archive.exists() and self._dice.random() < 0.4:
            whole = self._archive.read_bytes()
            head = f"POST /images/load HTTP/1.1\r\nHost: here\r\nContent-Length: {len(whole)}\r\n\r\n"
            data, count = head.encode() + whole[: self._dice.randrange(len(whole))], 1
        self._leave(data, count)

    def _leave(self, data: bytes, count: int) -> None:
        """Send *data*, take at most *count* bytes of the answer, and hang up."""
        deadline = time.monotonic() + self._dice.random() * 0.2
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(self._engine.socket)
                sock.sendall(data)
                while count > 0 and (left := deadline - time.monotonic()) > 0:
                    sock.settimeout(left)
                    count -= len(sock.recv(1 << 16)) or count
            except TimeoutError:
                return
            except OSError as failure:
                raise Gone(repr(failure)) from failure


VERBS: tuple[Callable[[Client], None], ...] = (
    *(Client.pull,) * 4,
    *(Client.run,) * 2,
    *(Client.commit,) * 3,
    *(Client.push,) * 2,
    *(Client.rmi,) * 3,
    *(Client.save,) * 2,
    Client.tag,
    Client.load,
    Client.prune,
    Client.look,
    Client.abandon,
)


def _is_clear(said: str) -> bool:
    """Tell whether an answer says in one line that something is gone or in use."""
    return "\n" not in said and CLEAR.search(said) is not None


def _unframed(data: Any) -> str:
    """Return what a container wrote, out of Docker's frames of stdout and stderr."""
    raw, text = data if isinstance(data, bytes) else b"", b""
    while raw:
        size = int.from_bytes(raw[4:8], "big")
        text, raw = text + raw[8 : 8 + size], raw[8 + size :]
    return text.decode()


def shown(parts: Iterable[str]) -> str:
    """Return what ``SHOW`` says in a container of an image with these files."""
    return "".join(f"{part}\n" for part in sorted(parts))


def check_archive(data: bytes) -> set[str]:
    """Check that a saved archive is whole, every blob the one of its name; return the ids of its images."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}  # type: ignore[union-attr]
    blobs = {name: content for name, content in files.items() if name.startswith("blobs/sha256/")}
    assert all(
        hashlib.sha256(content).hexdigest() == name.rpartition("/")[2] for name, content in blobs.items()
    )
    items = json.loads(files["manifest.json"])
    for item in items:
        config = json.loads(blobs[item["Config"]])
        assert len(config["rootfs"]["diff_ids"]) == len(item["Layers"])
        assert blobs.keys() >= set(item["Layers"])
    found = {f"sha256:{item['Config'].rpartition('/')[2]}" for item in items}
    assert found
    return found


# the end


def check_images(engine: Engine, chaos: Chaos) -> None:
    """Every image that is listed can be saved, whole, and run, and shows its files."""
    status, listed = engine.api("GET", "/images/json", all="1")
    assert status == 200
    for identifier in (str(image["Id"]) for image in listed):
        status, data = engine.api("GET", f"/images/{identifier}/get")
        assert status == 200, data
        assert check_archive(data) == {identifier}
        done = engine.docker("run", "--rm", *ALONE, identifier, "sh", "-c", SHOW)
        parts = chaos.parts.get(identifier)
        assert parts is None or done.stdout == shown(parts)


def check_pushed(engine: Engine, chaos: Chaos) -> None:
    """What was pushed is whole in the registry."""
    for name in sorted(chaos.pushed):
        engine.docker("pull", "-q", name)
        parts = chaos.parts.get(json.loads(engine.docker("image", "inspect", name).stdout)[0]["Id"])
        done = engine.docker("run", "--rm", *ALONE, name, "sh", "-c", SHOW)
        assert parts is None or done.stdout == shown(parts)


def clear(engine: Engine) -> None:
    """Remove all containers and images; then nothing of them may be left, and the engine says so."""
    for container in engine.api("GET", "/containers/json", all="1")[1]:
        assert engine.api("DELETE", f"/containers/{container['Id']}", force="1")[0] == 204
    status, answer = engine.api("POST", "/images/prune", filters=json.dumps({"dangling": ["false"]}))
    assert status == 200, answer
    assert engine.api("GET", "/images/json", all="1")[1] == []
    left: list[str] = []

    def is_empty() -> bool:
        left[:] = leftovers(engine)
        return not left

    try:
        until(is_empty, "all to be gone")
    except AssertionError:
        assert left == [], engine.logs[-3000:]
    found = engine.api("GET", "/system/df")[1]
    assert (found["Images"], found["Containers"], found["LayersSize"]) == ([], [], 0)
    rest = found["Corten"]
    assert [rest[key] for key in ("ContainerFiles", "RemovedImages", "Partial", "Trash")] == [0] * 4, rest


def leftovers(engine: Engine) -> list[str]:
    """Return what lies where blobs, partial blobs, snapshots, containers and what is removed are kept."""
    found = []
    for place in ("content", "snapshots", "containers", "images", "trash"):
        for folder, folders, files in os.walk(f"{engine.root}/{place}"):
            kept = ("snapshots/overlay", "snapshots/overlay/trash", "containers", "images", "trash")
            names = files + (folders if folder.removeprefix(f"{engine.root}/") in kept else [])
            found += [
                f"{folder}/{name}" for name in names if not (name == "trash" and folder.endswith("overlay"))
            ]
    return found
