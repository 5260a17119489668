"""Networks under many hands and a daemon that is killed: afterwards the kernel has what the records say, and no more.

Several threads create, connect, publish and remove through the API while the
daemon is killed every moment. Then the last daemon's records are read from its
database and compared with what is in the kernel, object by object.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import socket
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPException
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from corten.core.networks.firewall.elements import elements
from corten.core.networks.firewall.listing import parse
from corten.core.networks.guard import Guard
from corten.engine.networks.fabric import side_of
from corten.engine.networks.publishing import Publishing
from corten.engine.records.container import Container, Endpoint
from corten.engine.records.network import Network
from corten.errors import NotFound
from corten.linux.netlink import Netlink
from corten.serve.daemon.networks import STOCK
from tests.e2e.conftest import until
from tests.e2e.hosts import SERVICE, ask
from tests.kernel.isolated import inside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from corten.engine.networks.fabric import Fabric
    from corten.engine.records.networks import NetworkRepository
    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

SECONDS = float(os.environ.get("CORTEN_SOAK_SECONDS", "20"))
ACTS = 200  # at least so many before it ends
THREADS = 4
PORTS = range(20000, 20012)  # of the host; few, so that they are fought for
NETWORKS, CONTAINERS, VOLUMES = 6, 10, 3  # names in use at a time
SETTLED = 20.0  # seconds until what is done in the background is done


@dataclass
class Chaos:
    """Clients that do with networks, containers and volumes what can be done; errors are for others to look at."""

    engine: Engine
    done: Counter[str]
    ended: threading.Event

    def work(self, dice: random.Random) -> None:
        """Act until told to end."""
        while not self.ended.is_set():
            act = dice.choice(ACTIONS)
            if act(self, dice):
                self.done[act.__name__] += 1

    def ask(self, method: str, path: str, body: object = None, **query: str) -> bool:
        """Send a request; tell whether it was carried out."""
        try:
            status, _ = self.engine.api(method, path, body, None, **query)
        except (OSError, HTTPException):
            self.ended.wait(0.02)  # the next daemon takes a moment
            return False
        return status < 300

    def create_network(self, dice: random.Random) -> bool:
        """Make a network; one in three has IPv6, one in five is internal."""
        wishes = {"EnableIPv6": dice.random() < 0.3, "Internal": dice.random() < 0.2}
        return self.ask("POST", "/networks/create", {"Name": _network(dice), **wishes})

    def remove_network(self, dice: random.Random) -> bool:
        """Remove one, if nobody is there."""
        return self.ask("DELETE", f"/networks/{_network(dice)}")

    def create(self, dice: random.Random) -> bool:
        """Create a container with some of all that there is, and start it."""
        name, mode = _container(dice), dice.choice((_network(dice), _network(dice), "bridge", "none"))
        host: dict[str, Any] = {"NetworkMode": mode, "AutoRemove": dice.random() < 0.1}
        if mode != "none" and dice.random() < 0.6:
            port = dice.choice(("", str(dice.choice(PORTS)), f"{PORTS[0]}-{PORTS[-1]}"))
            host["PortBindings"] = {"80/tcp": [{"HostPort": port}]}
        if dice.random() < 0.4:
            host["Binds"] = [f"{_volume(dice)}:/data"]
        if not host["AutoRemove"] and dice.random() < 0.3:
            host["RestartPolicy"] = {"Name": dice.choice(("always", "unless-stopped", "on-failure"))}
        body = {"Image": "debian", "Cmd": ["perl", "-e", SERVICE, name, "80"], "HostConfig": host}
        return self.ask("POST", "/containers/create", body, name=name) and self.start(dice, name)

    def start(self, dice: random.Random, name: str = "") -> bool:
        """Start a container."""
        return self.ask("POST", f"/containers/{name or _container(dice)}/start")

    def stop(self, dice: random.Random) -> bool:
        """Stop a container, or have it end by itself."""
        if dice.random() < 0.5:
            return self.ask("POST", f"/containers/{_container(dice)}/kill", signal="KILL")
        return self.ask("POST", f"/containers/{_container(dice)}/stop", t="0")

    def restart(self, dice: random.Random) -> bool:
        """Stop and start."""
        return self.ask("POST", f"/containers/{_container(dice)}/restart", t="0")

    def remove(self, dice: random.Random) -> bool:
        """Remove a container, whatever it does."""
        return self.ask("DELETE", f"/containers/{_container(dice)}", force="1", v="1")

    def rename(self, dice: random.Random) -> bool:
        """Give a container the name of another one, if that is free."""
        return self.ask("POST", f"/containers/{_container(dice)}/rename", name=_container(dice))

    def connect(self, dice: random.Random) -> bool:
        """Join a network."""
        body = {"Container": _container(dice), "EndpointConfig": {"Aliases": [f"alias{dice.randrange(3)}"]}}
        return self.ask("POST", f"/networks/{_network(dice)}/connect", body)

    def disconnect(self, dice: random.Random) -> bool:
        """Leave a network."""
        network = dice.choice((_network(dice), "bridge"))
        return self.ask("POST", f"/networks/{network}/disconnect", {"Container": _container(dice)})

    def create_volume(self, dice: random.Random) -> bool:
        """Make a volume that is mounted while it is used."""
        options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
        return self.ask("POST", "/volumes/create", {"Name": _volume(dice), "DriverOpts": options})

    def remove_volume(self, dice: random.Random) -> bool:
        """Remove one that nobody uses."""
        return self.ask("DELETE", f"/volumes/{_volume(dice)}")


ACTIONS = (
    *(Chaos.create_network, Chaos.remove_network, Chaos.create, Chaos.create, Chaos.create, Chaos.start),
    *(Chaos.stop, Chaos.restart, Chaos.remove, Chaos.rename, Chaos.create_volume, Chaos.remove_volume),
    *(Chaos.connect, Chaos.connect, Chaos.connect, Chaos.disconnect, Chaos.disconnect),
)


def _network(dice: random.Random) -> str:
    return f"net{dice.randrange(NETWORKS)}"


def _container(dice: random.Random) -> str:
    return f"box{dice.randrange(CONTAINERS)}"


def _volume(dice: random.Random) -> str:
    return f"vol{dice.randrange(VOLUMES)}"


class Records:
    """What an engine has on record, as its database says."""

    def __init__(self, engine: Engine) -> None:
        with closing(sqlite3.connect(f"file:{engine.root}/engine.db?mode=ro", uri=True)) as database:
            self.containers = _read(database, "containers", Container)
            networks: list[Network] = _read(database, "networks", Network)
            self.networks = {network.id: network for network in networks}
            self.volumes = [json.loads(body) for (body,) in database.execute("SELECT body FROM volumes")]
        self.running = [c for c in self.containers if c.state.status in ("running", "paused")]
        self._bridge = engine.settings.bridge

    def find(self, reference: str) -> Network:
        """Return a network by its id."""
        if reference not in self.networks:
            raise NotFound("network", reference)
        return self.networks[reference]

    @property
    def bridges(self) -> dict[str, Network]:
        """The networks that are bridges, by link."""
        return {self.link(n): n for n in self.networks.values() if n.driver == "bridge"}

    def link(self, network: Network) -> str:
        """Return the bridge of a network."""
        return self._bridge if network.name == "bridge" else f"br-{network.id[:12]}"

    def bridge_of(self, network_id: str) -> str:
        """Return the bridge that ports are published through."""
        network = self.networks[network_id]
        return "" if network.internal or network.driver != "bridge" else self.link(network)

    @property
    def plugged(self) -> list[tuple[Container, Endpoint]]:
        """The endpoints of running containers that are links."""
        return [(c, e) for c in self.running for e in c.endpoints if e.network not in ("host", "none")]


def _read(database: sqlite3.Connection, table: str, kind: type[Any]) -> list[Any]:
    return [msgspec.json.decode(body, type=kind) for (body,) in database.execute(f"SELECT body FROM {table}")]


def disagreements(engine: Engine) -> Iterator[str]:
    """Yield, in lines, where kernel and records differ."""
    records = Records(engine)
    yield from _states(records)
    yield from _links(engine, records)
    yield from _insides(records)
    yield from _firewall(engine, records)
    yield from _guard(engine, records)
    yield from _ports(engine, records)
    yield from _mounts(engine, records)


def _differ(what: str, found: set[Any], wanted: set[Any]) -> Iterator[str]:
    if found != wanted:
        yield f"{what}: unclaimed {found - wanted}, missing {wanted - found}"


def _states(records: Records) -> Iterator[str]:
    """What runs has a process; attachments have their facts while it runs, and none while it does not."""
    for c in records.containers:
        if c not in records.running:
            facts = [e for e in c.endpoints if e.endpoint_id or e.address or e.host_link]
            if facts or c.published:
                yield f"{c.name} is {c.state.status} and has {facts} {c.published}"
        elif not Path(f"/proc/{c.state.pid}").exists():
            yield f"{c.name} is said to run"
    yield from (f"{c.name} is half on {e.network}" for c, e in records.plugged if not e.endpoint_id)
    taken = Counter((e.network_id, e.address) for _, e in records.plugged)
    yield from (f"{place} is given {count} times" for place, count in taken.items() if count > 1)


def _links(engine: Engine, records: Records) -> Iterator[str]:
    """Each bridge is there with its gateways, each endpoint on it; but for those in stock there are no others."""
    tag = engine.settings.tag
    shown = {link["ifname"]: link for link in json.loads(engine.inside("ip", "-json", "address", "show"))}
    ours = inside(engine.netns, lambda: _aliases(f"{tag} "))
    bridges = {name: f"{tag} network {network.id[:12]}" for name, network in records.bridges.items()}
    claimed = {e.host_link: f"{tag} endpoint {e.network_id[:12]}" for _, e in records.plugged}
    stock = {name: alias for name, alias in ours.items() if name not in bridges | claimed}
    yield from _differ("links", set(ours.keys() - stock.keys()), set(bridges | claimed))
    yield from (f"{n} is {ours[n]}" for n, a in (bridges | claimed).items() if ours.get(n, a) != a)
    ready = Counter(stock.values())
    for name, network in records.bridges.items():
        most = STOCK if network.name == "bridge" else 1
        if ready.pop(f"{tag} endpoint {network.id[:12]}", 0) > most:
            yield f"more than {most} in stock on {name}"
        gateways = {s.gateway for s in network.subnets if ":" not in s.gateway or not network.internal}
        found = (
            {a["local"] for a in shown[name]["addr_info"] if a["local"][:4] != "fe80"}
            if name in shown
            else set()
        )
        yield from _differ(f"addresses of {name}", found, gateways)
    if ready:
        yield f"in stock for nobody: {ready}"
    for _, e in records.plugged:
        if e.host_link in shown and shown[e.host_link].get("master") != records.link(
            records.find(e.network_id)
        ):
            yield f"{e.host_link} is not on its bridge"


def _aliases(prefix: str) -> dict[str, str]:
    """Return the links here whose alias begins so."""
    with Netlink() as netlink:
        return {link.name: link.alias for link in netlink.links() if link.alias.startswith(prefix)}


def _insides(records: Records) -> Iterator[str]:
    """A running container has the links of its record, with their addresses, and a name server where there are names."""
    for c in records.running:
        try:
            namespace = os.open(f"/proc/{c.state.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            yield f"{c.name} has no namespace"
            continue
        with os.fdopen(namespace) as held:
            names = inside(held.fileno(), lambda: {name for _, name in socket.if_nameindex()})
        wanted = [e for e in c.endpoints if e.network not in ("host", "none")]
        yield from _differ(f"links of {c.name}", names - {"lo"}, {e.interface for e in wanted})
        local = Path(f"/proc/{c.state.pid}/net/fib_trie").read_text()
        yield from (f"{c.name} lacks {e.address}" for e in wanted if f"{e.address}\n" not in local)
        listening = [
            kind
            for kind in ("tcp", "udp")
            if "0B00007F:" in Path(f"/proc/{c.state.pid}/net/{kind}").read_text()
        ]
        if listening != (["tcp", "udp"] if any(e.names for e in wanted) else []):
            yield f"name server of {c.name}: {listening}"


def _firewall(engine: Engine, records: Records) -> Iterator[str]:
    """Every element of the table, and nothing else."""
    publishing = Publishing(cast("Fabric", records), cast("Any", None), cast("NetworkRepository", records))
    openings = [opening for c in records.running for opening in publishing.openings(c)]
    wanted = elements([side_of(n, link) for link, n in records.bridges.items()], openings)
    listing = parse(engine.inside("nft", "-j", "list", "table", "inet", engine.settings.table))
    yield from _differ("firewall", set(listing.elements), set(wanted))


def _guard(engine: Engine, records: Records) -> Iterator[str]:
    """A blackhole for each subnet, and the rules that lead there."""
    table = str(Guard(engine.settings.tag).table)
    for version, flag in ((4, "-4"), (6, "-6")):
        wanted = {
            s.subnet
            for n in records.bridges.values()
            for s in n.subnets
            if ip_network(s.subnet).version == version
        }
        lines = engine.inside("ip", flag, "-json", "route", "show", "table", "all", "type", "blackhole")
        routes = json.loads(lines or "[]")
        yield from _differ(
            f"blackholes of IPv{version}", {r["dst"] for r in routes if r.get("table") == table}, wanted
        )
        rules = [
            r
            for r in json.loads(engine.inside("ip", flag, "-json", "rule") or "[]")
            if r.get("table") == table
        ]
        if bool(rules) != bool(wanted):
            yield f"rules of IPv{version}: {rules}"


def _ports(engine: Engine, records: Records) -> Iterator[str]:
    """The ports on record are held, and no others."""
    published = [p for c in records.running for p in c.published]
    doubled = [place for place, n in Counter((p.host_ip, p.host_port) for p in published).items() if n > 1]
    yield from (f"published twice: {place}" for place in doubled)
    wanted = {p.host_port for p in published if p.host_ip == "0.0.0.0"}
    candidates = {*PORTS, *wanted}
    held = inside(engine.netns, lambda: {port for port in candidates if _is_held(port)})
    yield from _differ("held ports", held, wanted)


def _is_held(port: int) -> bool:
    with socket.socket() as made:
        try:
            made.bind(("0.0.0.0", port))
        except OSError as failure:
            return failure.errno == errno.EADDRINUSE
    return False


def _mounts(engine: Engine, records: Records) -> Iterator[str]:
    """What is mounted are the volumes that running containers use and that are to be mounted."""
    used = {point.name for c in records.running for point in c.mounts if point.type == "volume"}
    wanted = {v["mountpoint"] for v in records.volumes if v["name"] in used and v.get("options")}
    places = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    yield from _differ("mounts", {p for p in places if p.startswith(f"{engine.root}/volumes/")}, wanted)


def check(engine: Engine) -> None:
    """Kernel and records agree, soon if not at once."""
    found: list[str] = []

    def agree() -> bool:
        found[:] = disagreements(engine)
        return not found

    with suppress(AssertionError):
        until(agree, "kernel and records to agree", SETTLED)
    assert found == [], "\n".join((*found, engine.logs[-6000:]))


def test_killed_again_and_again(engine: Engine) -> None:
    """Killed every moment for as long as it goes on: at last the kernel is what the records say, and all can go."""
    chaos = Chaos(engine, Counter(), threading.Event())
    seed = os.environ.get("CORTEN_SOAK_SEED", "networks")
    threads = [
        threading.Thread(target=chaos.work, args=(random.Random(f"{seed}{number}"),))
        for number in range(THREADS)
    ]
    dice, deadline, kills = random.Random(seed), time.monotonic() + SECONDS, 0
    for thread in threads:
        thread.start()
    try:
        while time.monotonic() < deadline or chaos.done.total() < ACTS:
            chaos.ended.wait(dice.uniform(0.2, 1))
            engine.restart_daemon(signal.SIGKILL)
            kills += 1
    finally:
        chaos.ended.set()
        for thread in threads:
            thread.join()
    check(engine)
    check_answers(engine)
    engine.restart_daemon(signal.SIGKILL)
    check(engine)
    clear(engine)
    check(engine)
    records = Records(engine)
    assert (records.containers, len(records.networks)) == ([], 3)


def check_answers(engine: Engine) -> None:
    """What runs answers by its published port and, on its network, by its name."""
    records = Records(engine)
    for c in records.running:
        for p in c.published:
            if p.host_ip == "0.0.0.0":
                until(lambda p=p: _answers(engine, p.host_port), f"{c.name} at {p}")  # type: ignore[misc]
    for c, e in records.plugged:
        fellow = next((f for f, o in records.plugged if o.network_id == e.network_id and f.id != c.id), None)
        if e.names and fellow:
            found = engine.docker("exec", fellow.id, "getent", "ahostsv4", f"{c.name}.{e.network}").stdout
            assert found.split()[0] == e.address, (c.name, fellow.name)


def _answers(engine: Engine, port: int) -> bool:
    with suppress(OSError):
        return bool(ask(engine.netns, "tcp", "127.0.0.1", port))
    return False


def clear(engine: Engine) -> None:
    """Remove all that there is."""
    for c in Records(engine).containers:
        status, answer = engine.api("DELETE", f"/containers/{c.id}", force="1", v="1")
        assert status == 204, answer
    for network in Records(engine).networks.values():
        if not network.predefined:
            status, answer = engine.api("DELETE", f"/networks/{network.id}")
            assert status == 204, answer
    for volume in Records(engine).volumes:
        status, answer = engine.api("DELETE", f"/volumes/{volume['name']}")
        assert status == 204, answer
