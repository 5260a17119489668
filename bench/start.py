"""bench/start: how long a container takes to start, beside the peers that are installed.

Every figure of every engine is taken in turn within one run, so that what the
machine does besides falls on all alike; medians, and ratios to corten. Run
as root: ``make bench`` or ``.venv/bin/python bench/start.py --help``.

The C limit is what a small C program needs that forks into new namespaces,
mounts an overlay, pivots, execs and waits: the kernel's own cost.
"""

import argparse
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.peers import Peer, corten, dockerd, podman, proportional, timed

HERE = Path(__file__).resolve().parent
IMAGE = "debian"
# milliseconds, memory in MB: the project's own goals
BUDGETS = {
    "run --rm, no network": 20.0,
    "run --rm, bridge": 25.0,
    "start at the API, no network": 5.0,
    "start at the API, bridge": 7.0,
    "run -d": 20.0,
    "rm -f": 18.0,
    "exec": 18.0,
}


def commands(peer: Peer) -> dict[str, Callable[[], float]]:
    """The figures of one engine, each a function that takes one sample in ms."""

    def removed() -> float:
        name = peer.run("run", "-d", "--network", "none", IMAGE, "sleep", "1000").splitlines()[-1]
        return timed(lambda: peer.run(*peer.removal, name))

    def detached() -> float:
        names: list[str] = []
        taken = timed(
            lambda: names.append(peer.run("run", "-d", "--network", "none", IMAGE, "sleep", "1000"))
        )
        peer.run(*peer.removal, names[0].splitlines()[-1])
        return taken

    return {
        "run --rm, no network": lambda: timed(
            lambda: peer.run("run", "--rm", "--network", "none", IMAGE, "true")
        ),
        "run --rm, bridge": lambda: timed(lambda: peer.run("run", "--rm", IMAGE, "true")),
        "run -d": detached,
        "rm -f": removed,
        "exec": lambda: timed(lambda: peer.run("exec", "bench-exec", "true")),
    }


def interleaved(peers: list[Peer], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Samples by figure and engine, the engines taking turns."""
    samples: dict[str, dict[str, list[float]]] = {}
    for peer in peers:
        peer.run("run", "-d", "--name", "bench-exec", "--network", "none", IMAGE, "sleep", "1000")
    figures = {peer.name: commands(peer) for peer in peers}
    for number in range(rounds + 1):
        for figure in figures[peers[0].name]:
            for peer in peers:
                try:
                    taken = figures[peer.name][figure]()
                except RuntimeError as failure:
                    if number == 0:
                        print(f"  {peer.name}: {figure} does not work here: {str(failure)[-150:]}")
                    continue
                if number:  # the first round warms up
                    samples.setdefault(figure, {}).setdefault(peer.name, []).append(taken)
    for peer in peers:
        peer.run(*peer.removal, "bench-exec")
    return samples


class Api:
    """The Engine API over its socket, one connection, as bare as a client can be."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._file = self._socket.makefile("rb")

    def call(self, method: str, path: str, body: object = None) -> bytes:
        """One request; the body of its answer."""
        data = json.dumps(body).encode() if body is not None else b""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        self._socket.sendall(head.encode() + data)
        status = self._file.readline()
        length, chunked = 0, False
        while (line := self._file.readline()) not in (b"\r\n", b""):
            key, _, value = line.decode().partition(":")
            length = int(value) if key.lower() == "content-length" else length
            chunked = chunked or (key.lower() == "transfer-encoding" and "chunked" in value)
        answer = self._file.read(length)
        while chunked:
            size = int(self._file.readline(), 16)
            answer += self._file.read(size)
            self._file.readline()
            chunked = size > 0
        if not status.split()[1].startswith(b"2"):
            raise RuntimeError(f"{method} {path}: {status.decode().strip()} {answer.decode()}")
        return answer


def api_starts(path: str, rounds: int) -> tuple[dict[str, list[float]], float]:
    """Milliseconds of POST start at the API by network, and full life cycles per second."""
    api = Api(path)
    samples: dict[str, list[float]] = {}
    for label, mode in (("no network", "none"), ("bridge", "bridge")):
        taken = samples.setdefault(f"start at the API, {label}", [])
        for number in range(rounds + 1):
            body = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": mode}}
            name = json.loads(api.call("POST", "/v1.47/containers/create", body))["Id"]
            time.sleep(0.05)  # what a start leaves to be done in quiet moments is done
            spent = timed(lambda: api.call("POST", f"/v1.47/containers/{name}/start"))  # noqa: B023
            api.call("POST", f"/v1.47/containers/{name}/wait")
            api.call("DELETE", f"/v1.47/containers/{name}")
            if number:
                taken.append(spent)
    names, begin = [], time.perf_counter()
    for _ in range(rounds * 3):
        body = {"Image": IMAGE, "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}}
        names.append(json.loads(api.call("POST", "/v1.47/containers/create", body))["Id"])
        api.call("POST", f"/v1.47/containers/{names[-1]}/start")
    rate = len(names) / (time.perf_counter() - begin)
    for name in names:
        api.call("DELETE", f"/v1.47/containers/{name}?force=1")
    return samples, rate


def memory(peer: Peer, counts: list[int]) -> dict[int, float]:
    """Memory of the engine's own processes in MB, with so many idle containers."""
    found: dict[int, float] = {}
    names: list[str] = []
    for count in counts:
        while len(names) < count:
            names.append(peer.run("run", "-d", "--network", "none", IMAGE, "sleep", "1000").splitlines()[-1])
        time.sleep(1)
        found[count] = proportional(peer.pids())
    for start in range(0, len(names), 50):
        peer.run(*peer.removal, *names[start : start + 50])
    return found


def c_limit(rounds: int) -> list[float]:
    """Samples of the C program in ms; none without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/limit"
        subprocess.run([compiler, "-O2", "-static", "-o", program, str(HERE / "limit.c")], check=True)
        output = subprocess.run([program, str(rounds)], capture_output=True, text=True, check=False)
        return [float(line) for line in output.stdout.split()]


def show(samples: dict[str, dict[str, list[float]]], names: list[str]) -> None:
    """Print medians, and how many times corten's the others take."""
    print(f"\n| {'median ms':32} | " + " | ".join(f"{name:>16}" for name in names) + " |  budget |")
    print("|" + "---|" * (len(names) + 2))
    for figure, by_name in samples.items():
        ours = statistics.median(by_name.get("corten", [float("nan")]))
        cells = []
        for name in names:
            if name not in by_name:
                cells.append(f"{'-':>16}")
                continue
            median = statistics.median(by_name[name])
            ratio = "" if name == "corten" else f" ({median / ours:4.1f}x)"
            cells.append(f"{median:8.1f}{ratio:>8}")
        print(f"| {figure:32} | " + " | ".join(cells) + f" | {BUDGETS.get(figure, float('nan')):7.0f} |")


def main() -> int:
    """Take all figures and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--image", default=str(HERE.parent / ".cache" / "debian.tar"), help="docker archive of debian"
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--counts", type=int, nargs="*", default=[0, 50, 200], help="idle containers for memory"
    )
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corten-bench-")))
        ours = stack.enter_context(corten(folder, given.image))
        others = [stack.enter_context(make(folder, given.image)) for make in (dockerd, podman)]
        peers = [ours, *(peer for peer in others if peer is not None)]
        samples = interleaved(peers, given.rounds)
        api, rate = api_starts(f"{folder}/run/corten.sock", given.rounds)
        samples |= {figure: {"corten": taken} for figure, taken in api.items()}
        limit = c_limit(given.rounds * 3)
        if limit:
            samples["C limit: overlay, no network"] = {"corten": limit}
        show(samples, [peer.name for peer in peers])
        print(f"\nstart rate, one client at the API: {rate:.0f} per second (budget 150)")
        print("\nmemory of the engine's own processes, MB (proportional), by idle containers:")
        for peer in peers:
            found = memory(peer, given.counts if peer is ours else [c for c in given.counts if c <= 50])
            last = max(found)
            each = (found[last] - found[0]) / last if last and 0 in found else float("nan")
            print(
                f"  {peer.name:8} "
                + "  ".join(f"{c}: {mb:.1f}" for c, mb in found.items())
                + f"  each {each:.3f}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
