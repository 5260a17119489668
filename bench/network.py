"""bench/network: what the way to a container costs, beside the peers that are installed.

Throughput and latency of a published port (client on the host) and between
two containers, by iperf3 and plain connections; what the first and the 500th
published port add to a start; a start with ports and names beside one
without. Engines take turns within the run; medians, read ratios. The floor is
the same client against the container's own address: no translation at all.

Run as root in a network namespace of its own, so that engines meet nobody:
``unshare --net sh -c 'ip link set lo up; python -m bench network'``.
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
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from bench.peers import Peer, corten, dockerd, podman, timed

HERE = Path(__file__).resolve().parent
IMAGE = "debian"
PORT, ECHO = 5201, 7000
SERVER = (
    "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 7000, Listen => 512, ReuseAddr => 1); "
    "while (my $c = $s->accept) { close $c }"
)
MANY = 500

Samples = dict[str, dict[str, list[float]]]


def iperf_mounts() -> list[str]:
    """Binds that bring the host's iperf3 and its libraries into a container of the same Debian."""
    program = shutil.which("iperf3")
    if program is None:
        raise SystemExit("bench/network: iperf3 is missing: apt install iperf3")
    listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    places = [word for line in listing.splitlines() for word in line.split() if word.startswith("/")]
    wanted = [place for place in places if not place.startswith(("/lib64/", "/lib/x86_64-linux-gnu/libc."))]
    return [part for place in (program, *wanted) for part in ("-v", f"{place}:{place}:ro")]


class Pair:
    """A server with published ports and a client, of one engine."""

    def __init__(self, peer: Peer, base: int) -> None:
        self.peer, self.base = peer, base
        mounts = iperf_mounts()
        ports = ["-p", f"{base}:{PORT}", "-p", f"{base + 1}:{ECHO}"]
        peer.run("run", "-d", "--name", "bench-iperf", *ports[:2], *mounts, IMAGE, "iperf3", "-s")
        peer.run("run", "-d", "--name", "bench-echo", *ports[2:], IMAGE, "perl", "-e", SERVER)
        peer.run("run", "-d", "--name", "bench-client", *mounts, IMAGE, "sleep", "100000")
        self.iperf, self.echo = (self._address(name) for name in ("bench-iperf", "bench-echo"))
        for address, port in ((self.iperf, PORT), (self.echo, ECHO)):
            _until_open(address, port)

    def _address(self, name: str) -> str:
        found = self.peer.run("inspect", "-f", "{{.NetworkSettings.IPAddress}}", name)
        return found.strip()

    def close(self) -> None:
        """Remove the containers."""
        self.peer.run(*self.peer.removal, "bench-iperf", "bench-echo", "bench-client")

    def figures(self, seconds: float) -> dict[str, Callable[[], float]]:
        """What is measured of this engine, each a function that takes one sample."""
        client = ["bench-client", "iperf3"]
        return {
            "published port, Gbit/s": lambda: _gigabits(_iperf("127.0.0.1", self.base, seconds)),
            "container's address, Gbit/s": lambda: _gigabits(_iperf(self.iperf, PORT, seconds)),
            "between containers, Gbit/s": lambda: _gigabits(
                self.peer.run("exec", *client, *_client(self.iperf, PORT, seconds))
            ),
            "published port, connection us": lambda: _connection("127.0.0.1", self.base + 1),
            "container's address, connection us": lambda: _connection(self.echo, ECHO),
        }


def _client(address: str, port: int, seconds: float) -> list[str]:
    return ["-c", address, "-p", str(port), "-t", str(seconds), "-J"]


def _iperf(address: str, port: int, seconds: float) -> str:
    words = ["iperf3", *_client(address, port, seconds)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def _gigabits(report: str) -> float:
    return float(json.loads(report)["end"]["sum_received"]["bits_per_second"]) / 1e9


def _connection(address: str, port: int, count: int = 200) -> float:
    """Microseconds until a connection is there; the median of *count*."""
    taken = []
    for _ in range(count):
        begin = time.perf_counter()
        with socket.create_connection((address, port), 5):
            taken.append(time.perf_counter() - begin)
    return statistics.median(taken) * 1e6


def _until_open(address: str, port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((address, port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def starts(peer: Peer, base: int) -> dict[str, Callable[[], float]]:
    """What ports and names add to ``run -d``, in ms, each a function that takes one sample."""

    def run(*options: str) -> Callable[[], float]:
        def sample() -> float:
            names: list[str] = []
            words = ("run", "-d", *options, IMAGE, "sleep", "1000")
            taken = timed(lambda: names.append(peer.run(*words).splitlines()[-1]))
            peer.run(*peer.removal, names[0])
            return taken

        return sample

    return {
        "run -d, ms": run(),
        "run -d -p, ms": run("-p", f"{base}:80"),
        "run -d, own network, ms": run("--network", "bench-net"),
        "run -d -p, own network, ms": run("--network", "bench-net", "-p", f"{base}:80"),
    }


def many_ports(peer: Peer, base: int, rounds: int) -> dict[str, float]:
    """What a start with one port costs while nobody and while *MANY* others are published, in ms."""
    sample = starts(peer, base)["run -d -p, ms"]
    first = statistics.median(sample() for _ in range(rounds))
    span = f"{base + 10}-{base + 9 + MANY}:{base + 10}-{base + 9 + MANY}"
    taken = timed(lambda: peer.run("run", "-d", "--name", "bench-many", "-p", span, IMAGE, "sleep", "1000"))
    later = statistics.median(sample() for _ in range(rounds))
    peer.run(*peer.removal, "bench-many")
    return {
        "run -d -p as the 1st port, ms": first,
        f"run -d -p as port {MANY + 1}, ms": later,
        f"run -d with {MANY} ports, ms": taken,
    }


def interleaved(figures: dict[str, dict[str, Callable[[], float]]], rounds: int) -> Samples:
    """Samples by figure and engine, the engines taking turns."""
    samples: Samples = {}
    for number in range(rounds + 1):
        for figure in next(iter(figures.values())):
            for name, own in figures.items():
                try:
                    taken = own[figure]()
                except (
                    RuntimeError,
                    OSError,
                    subprocess.CalledProcessError,
                    KeyError,
                    ValueError,
                ) as failure:
                    if number == 0:
                        print(f"  {name}: {figure} does not work here: {str(failure)[-150:]}")
                    continue
                if number:  # the first round warms up
                    samples.setdefault(figure, {}).setdefault(name, []).append(taken)
    return samples


def show(samples: Samples, names: Iterable[str]) -> None:
    """Print medians as a table, a row for each figure."""
    print("| figure | " + " | ".join(names) + " |")
    print("| --- |" + " ---: |" * len(list(names)))
    for figure, by_name in samples.items():
        cells = [f"{statistics.median(by_name[name]):.1f}" if name in by_name else "" for name in names]
        print(f"| {figure} | " + " | ".join(cells) + " |")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench network", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each throughput sample")
    parser.add_argument("--image", default=str(HERE.parent / ".cache" / "debian.tar"))
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corten-bench")))
        made = []
        for make in (corten, dockerd, podman):
            place = folder / make.__name__
            place.mkdir()
            made.append(stack.enter_context(make(place, given.image)))
        peers = [peer for peer in made if peer is not None]
        names = [peer.name for peer in peers]
        pairs = {}
        for number, peer in enumerate(peers):
            peer.run("network", "create", "bench-net")
            stack.callback(peer.run, "network", "rm", "bench-net")  # podman's outlive its folders
            pairs[peer.name] = Pair(peer, 20000 + 1000 * number)
            stack.callback(pairs[peer.name].close)
        show(interleaved({n: p.figures(given.seconds) for n, p in pairs.items()}, given.rounds), names)
        ways = {peer.name: starts(peer, 20100 + 1000 * n) for n, peer in enumerate(peers)}
        show(interleaved(ways, given.rounds), names)
        for number, peer in enumerate(peers):
            for figure, value in many_ports(peer, 20200 + 1000 * number, given.rounds).items():
                print(f"| {figure} | {peer.name} {value:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
