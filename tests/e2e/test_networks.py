"""Networks of users: who reaches whom over them, joining and leaving while a container lives, macvlan, shared ones.

The engine's host has two neighbours (``hosts``). What is on a network is asked
by sockets made in the namespaces of containers, and by the kernel's own files
inside of them.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import until
from tests.e2e.hosts import (
    HOST,
    KINDS,
    OUTSIDE,
    Neighbours,
    address,
    ask,
    at,
    greeter,
    identifier,
    idler,
    kernel_objects,
    links_in,
    looked_up,
    namespace_of,
    neighbours,
    network,
    networks_of,
    pid_of,
    place,
    ready,
    refused,
    service,
    settled,
    silent,
)
from tests.e2e.tools import state, unique
from tests.kernel.isolated import new_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

PREFIX = "com.docker.network"


@pytest.fixture(scope="module")
def around(engine: Engine) -> Iterator[Neighbours]:
    """The neighbours of the engine's host."""
    with neighbours(engine) as made:
        yield made


# who reaches whom


def test_fellows_talk_and_networks_are_apart(engine: Engine) -> None:
    """Both families and protocols: on one network everybody is reached by their own address, from another nobody is."""
    with ExitStack() as stack:
        one, two = (stack.enter_context(network(engine, "--ipv6")) for _ in range(2))
        here = stack.enter_context(service(engine, "--network", one))
        there = stack.enter_context(service(engine, "--network", two))
        fellow = stack.enter_context(idler(engine, "--network", one))
        asking = stack.enter_context(namespace_of(engine, fellow))
        beyond = stack.enter_context(namespace_of(engine, there))
        for protocol in KINDS:
            for version in (4, 6):
                target, own = address(engine, here, one, version), address(engine, fellow, one, version)
                assert ask(asking, protocol, target, 80) == f"{here} {own}"
                assert silent(beyond, protocol, target, 80)
                assert silent(asking, protocol, address(engine, there, two, version), 80)


def test_the_default_bridge_and_user_networks_are_apart(engine: Engine) -> None:
    """Neither reaches the other, by either protocol."""
    with ExitStack() as stack:
        own = stack.enter_context(network(engine))
        inner = stack.enter_context(service(engine, "--network", own))
        plain = stack.enter_context(service(engine))
        asking, other = (stack.enter_context(namespace_of(engine, name)) for name in (inner, plain))
        for protocol in KINDS:
            assert silent(asking, protocol, address(engine, plain, "bridge"), 80)
            assert silent(other, protocol, address(engine, inner, own), 80)


def test_the_way_out(engine: Engine, around: Neighbours) -> None:
    """What leaves a network of both families carries the host's address, whichever the family."""
    with (
        network(engine, "--ipv6") as own,
        service(engine, "--network", own) as name,
        namespace_of(engine, name) as asking,
        greeter(around.outside) as server,
    ):
        for target, seen in ((OUTSIDE, HOST), ("2001:db8:1::2", "2001:db8:1::1")):
            assert ask(asking, "tcp", target, server) == f"neighbour {seen}"


def test_no_masquerading(engine: Engine, around: Neighbours) -> None:
    """With ip_masquerade off the outside sees the container's own address."""
    with (
        network(engine, "-o", f"{PREFIX}.bridge.enable_ip_masquerade=false") as own,
        idler(engine, "--network", own) as name,
        namespace_of(engine, name) as asking,
        greeter(around.outside) as server,
    ):
        theirs = looked_up(engine, own)["IPAM"]["Config"][0]["Subnet"]
        at(around.outside, "ip", "route", "add", theirs, "via", HOST)
        assert ask(asking, "tcp", OUTSIDE, server) == f"neighbour {address(engine, name, own)}"
        at(around.outside, "ip", "route", "del", theirs)


def test_containers_kept_from_each_other(engine: Engine, around: Neighbours) -> None:
    """With icc off, fellows reach no address of each other, but the outside, and published ports by the host."""
    flags = ("--ipv6", "-o", f"{PREFIX}.bridge.enable_icc=false")
    with ExitStack() as stack:
        own = stack.enter_context(network(engine, *flags))
        name = stack.enter_context(service(engine, "--network", own, "-p", "8500:80", "-p", "8500:80/udp"))
        fellow = stack.enter_context(idler(engine, "--network", own))
        asking = stack.enter_context(namespace_of(engine, fellow))
        port = stack.enter_context(greeter(around.outside))
        for protocol in KINDS:
            for version in (4, 6):
                assert silent(asking, protocol, address(engine, name, own, version), 80)
            assert ask(asking, protocol, HOST, 8500).startswith(name)
            assert ask(around.outside, protocol, HOST, 8500) == f"{name} {OUTSIDE}"
        assert ask(asking, "tcp", OUTSIDE, port) == f"neighbour {HOST}"


def test_internal_networks(engine: Engine, around: Neighbours) -> None:
    """Containers of an internal network talk to each other; nothing leads in or out, and there is no default route."""
    with ExitStack() as stack:
        hidden = stack.enter_context(network(engine, "--internal", "--ipv6"))
        name = stack.enter_context(service(engine, "--network", hidden))
        fellow = stack.enter_context(idler(engine, "--network", hidden))
        asking = stack.enter_context(namespace_of(engine, fellow))
        port = stack.enter_context(greeter(around.outside))
        assert looked_up(engine, hidden)["Internal"] is True
        assert at(asking, "ip", "route", "show", "default") == ""
        assert at(asking, "ip", "-6", "route", "show", "default") == ""
        for version in (4, 6):
            target = address(engine, name, hidden, version)
            assert ask(asking, "tcp", target, 80).startswith(name)
            assert silent(around.intruder, "tcp", target, 80)
            assert silent(around.intruder, "udp", target, 80)
        gateway = str(ip_network(looked_up(engine, hidden)["IPAM"]["Config"][0]["Subnet"])[1])
        at(asking, "ip", "route", "add", "default", "via", gateway, "onlink", "dev", "eth0")
        assert silent(asking, "tcp", OUTSIDE, port)  # not even with a route of its own making


# many networks, one container


def test_join_and_leave_while_it_runs(engine: Engine) -> None:
    """A living container gets a link for each network it joins, and loses it when it leaves; it stays the same process."""
    with ExitStack() as stack:
        first, second = (stack.enter_context(network(engine, "--ipv6")) for _ in range(2))
        there = stack.enter_context(service(engine, "--network", second))
        name = stack.enter_context(service(engine, "--network", first))
        pid = pid_of(engine, name)
        asking, other = (stack.enter_context(namespace_of(engine, one)) for one in (name, there))
        target = address(engine, there, second)
        assert silent(asking, "tcp", target, 80)
        engine.docker("network", "connect", second, name)
        assert ask(asking, "tcp", target, 80) == f"{there} {address(engine, name, second)}"
        for version in (4, 6):
            assert ask(other, "udp", address(engine, name, second, version), 80).startswith(name)
        assert links_in(asking) == {"lo", "eth0", "eth1"}
        assert set(looked_up(engine, second)["Containers"]) == {identifier(engine, n) for n in (name, there)}
        engine.docker("network", "disconnect", second, name)
        assert links_in(asking) == {"lo", "eth0"}
        assert silent(asking, "tcp", target, 80)
        assert set(looked_up(engine, second)["Containers"]) == {identifier(engine, there)}
        assert pid_of(engine, name) == pid
        assert networks_of(engine, name) == {first}


def test_the_way_out_moves(engine: Engine, around: Neighbours) -> None:
    """The default route leads through one network, and through another when that is left; gw-priority chooses."""
    with ExitStack() as stack:
        first, second = (stack.enter_context(network(engine, name=f"{unique(p)}")) for p in ("a", "b"))
        hidden = stack.enter_context(network(engine, "--internal"))
        port = stack.enter_context(greeter(around.outside))
        name = stack.enter_context(
            idler(
                engine, "--network", hidden, "--network", f"name={second},gw-priority=1", "--network", first
            )
        )
        asking = stack.enter_context(namespace_of(engine, name))
        assert gateway_of(asking) == place(engine, name, second)["Gateway"]
        assert ask(asking, "tcp", OUTSIDE, port) == f"neighbour {HOST}"
        engine.docker("network", "disconnect", second, name)
        assert gateway_of(asking) == place(engine, name, first)["Gateway"]
        assert ask(asking, "tcp", OUTSIDE, port) == f"neighbour {HOST}"
        engine.docker("network", "disconnect", first, name)
        assert at(asking, "ip", "route", "show", "default") == ""
        engine.docker("network", "connect", second, name)
        assert ask(asking, "tcp", OUTSIDE, port) == f"neighbour {HOST}"


def gateway_of(namespace: int) -> str:
    """Return the gateway of the one default route in *namespace*."""
    (route,) = json.loads(at(namespace, "ip", "-json", "route", "show", "default"))
    return str(route["gateway"])


def test_attachments_of_a_stopped_container(engine: Engine) -> None:
    """A container that does not run joins and leaves too; its next start follows, with the wishes kept."""
    with (
        network(engine, "--subnet", "10.71.0.0/24") as first,
        network(engine) as second,
        idler(engine, "--network", second) as name,
    ):
        engine.docker("stop", "-t", "0", name)
        engine.docker("network", "connect", "--ip", "10.71.0.71", first, name)
        engine.docker("network", "disconnect", second, name)
        assert networks_of(engine, name) == {first}
        for _ in range(2):
            engine.docker("start", name)
            assert address(engine, name, first) == "10.71.0.71"
            engine.docker("stop", "-t", "0", name)
        assert place(engine, name, first)["IPAMConfig"]["IPv4Address"] == "10.71.0.71"
        assert address(engine, name, first) == ""


def test_joining_the_second_time(engine: Engine) -> None:
    """What is joined already, left already, the host's or nobody's is refused in one line, and changes nothing."""
    with network(engine) as own, network(engine) as other, idler(engine, "--network", own) as name:
        joined = refused(engine, 1, "network", "connect", own, name)
        assert joined == f"endpoint with name {name} already exists in network {own}"
        left = refused(engine, 1, "network", "disconnect", other, name)
        assert left.endswith(f"is not connected to network {other}")
        assert "host network" in refused(engine, 1, "network", "connect", "host", name)
        assert "(none)" in refused(engine, 1, "network", "connect", "none", name)
        assert refused(engine, 1, "network", "connect", "nosuch", name) == "network nosuch not found"
        assert refused(engine, 1, "network", "connect", own, "nosuch") == "No such container: nosuch"
        assert networks_of(engine, name) == {own}


# other kinds


def test_macvlan(engine: Engine, around: Neighbours) -> None:
    """Containers on a parent link reach each other and the neighbour on that cable; nothing is translated."""
    parent = "mac0"
    beyond = new_namespace()
    try:
        in_fd = f"/proc/{os.getpid()}/fd/{beyond}"
        engine.inside("ip", "link", "add", parent, "type", "veth", "peer", "name", "eth0", "netns", in_fd)
        engine.inside("ip", "link", "set", parent, "up")
        at(beyond, "ip", "address", "add", "10.75.0.1/24", "dev", "eth0")
        at(beyond, "ip", "link", "set", "eth0", "up")
        flags = (
            "-d",
            "macvlan",
            "--subnet",
            "10.75.0.0/24",
            "--gateway",
            "10.75.0.1",
            "-o",
            f"parent={parent}",
        )
        with (
            network(engine, *flags) as own,
            service(engine, "--network", own) as one,
            service(engine, "--network", own, "--ip", "10.75.0.75") as two,
            namespace_of(engine, one) as asking,
            greeter(beyond) as port,
        ):
            mine = address(engine, one, own)
            for protocol in KINDS:
                assert ask(asking, protocol, "10.75.0.75", 80) == f"{two} {mine}"
                assert ask(beyond, protocol, mine, 80) == f"{one} 10.75.0.1"
            assert ask(asking, "tcp", "10.75.0.1", port) == f"neighbour {mine}"
            assert looked_up(engine, own)["Driver"] == "macvlan"
            assert looked_up(engine, own)["Options"] == {"parent": parent}
    finally:
        engine.inside("ip", "link", "del", parent)
        os.close(beyond)


def test_macvlan_without_a_parent(engine: Engine, around: Neighbours) -> None:
    """Its containers reach each other and nobody else; the link that it made goes with it."""
    before = links_in(engine.netns)
    with (
        network(engine, "-d", "macvlan", "--subnet", "10.76.0.0/24") as own,
        service(engine, "--network", own) as one,
        service(engine, "--network", own) as two,
        namespace_of(engine, one) as asking,
    ):
        assert ask(asking, "tcp", address(engine, two, own), 80).startswith(two)
        assert silent(around.intruder, "tcp", address(engine, two, own), 80)
    until(lambda: links_in(engine.netns) <= before, "the parent to be gone")


def test_the_network_of_another_container(engine: Engine) -> None:
    """``container:NAME`` shares links, loopback and names; it needs one that runs, and may publish nothing itself."""
    with (
        network(engine) as own,
        service(engine, "--network", own, name=unique()) as owner,
        idler(engine, "--network", f"container:{owner}") as guest,
        namespace_of(engine, owner) as first,
        namespace_of(engine, guest) as second,
    ):
        assert os.fstat(first).st_ino == os.fstat(second).st_ino
        assert ask(second, "tcp", "127.0.0.1", 80) == f"{owner} 127.0.0.1"
        hosts, names = (
            engine.docker("exec", n, "cat", "/etc/hosts", "/etc/resolv.conf").stdout for n in (owner, guest)
        )
        assert hosts == names
        mode = f"container:{owner}"
        assert "port publishing" in refused(
            engine, 125, "run", "--rm", "--network", mode, "-p", "80:80", "debian", "true"
        )
        with network(engine) as other:
            assert "sharing network namespace" in refused(engine, 1, "network", "connect", other, guest)
        engine.docker("kill", owner)
        until(lambda: state(engine, owner) == "exited", "the owner to end")
        assert "non running container" in refused(
            engine, 125, "run", "--rm", "--network", mode, "debian", "true"
        )
        assert state(engine, guest) == "running"
        engine.docker("start", owner)
        ready(engine, owner)


def test_the_hosts_own_network(engine: Engine, around: Neighbours) -> None:
    """A service on ``host`` is reached at the host's addresses without a port published."""
    with service(engine, "--network", "host", ports=(8700,)) as name:
        assert ask(around.outside, "tcp", HOST, 8700) == f"{name} {OUTSIDE}"
        assert ask(engine.netns, "udp", "127.0.0.1", 8700) == f"{name} 127.0.0.1"
        assert networks_of(engine, name) == {"host"}


def test_no_network(engine: Engine) -> None:
    """On ``none`` there is loopback alone; a container may join a network from there while it lives."""
    with (
        network(engine) as own,
        service(engine, "--network", "none") as name,
        namespace_of(engine, name) as there,
    ):
        assert links_in(there) == {"lo"}
        assert ask(there, "tcp", "127.0.0.1", 80) == f"{name} 127.0.0.1"
        engine.docker("network", "connect", own, name)
        assert links_in(there) == {"lo", "eth0"}
        assert ask(engine.netns, "tcp", address(engine, name, own), 80).startswith(name)


# what becomes of them


def test_after_a_new_daemon(engine: Engine) -> None:
    """Killed and started again it has the same networks, members and ways; nothing is made twice."""
    with (
        network(engine, "--ipv6") as own,
        network(engine) as empty,
        service(engine, "--network", own) as name,
        idler(engine, "--network", own) as fellow,
    ):
        engine.docker("network", "connect", empty, fellow)
        settled(engine)
        before, objects = [looked_up(engine, one) for one in (own, empty, "bridge")], kernel_objects(engine)
        engine.restart_daemon(9)
        settled(engine)
        assert [looked_up(engine, one) for one in (own, empty, "bridge")] == before
        assert kernel_objects(engine) == objects
        with namespace_of(engine, fellow) as asking:
            assert ask(asking, "tcp", address(engine, name, own, 6), 80).startswith(name)
        with idler(engine, "--network", own) as newer, namespace_of(engine, newer) as asking:
            taken = {address(engine, one, own) for one in (name, fellow)}
            assert address(engine, newer, own) not in taken
            assert ask(asking, "tcp", address(engine, name, own), 80).startswith(name)
        engine.docker("network", "disconnect", empty, fellow)
        assert looked_up(engine, empty)["Containers"] == {}


def test_a_link_deleted_by_hand(engine: Engine, around: Neighbours) -> None:
    """A bridge that somebody deleted comes back with its containers on it, and they are reached again."""
    with network(engine, "-o", f"{PREFIX}.bridge.name=brhand") as own, ExitStack() as stack:
        name = stack.enter_context(service(engine, "--network", own, "-p", "8800:80"))
        fellow = stack.enter_context(idler(engine, "--network", own))
        asking = stack.enter_context(namespace_of(engine, fellow))
        engine.inside("ip", "link", "del", "brhand")
        target = address(engine, name, own)
        until(lambda: not silent(asking, "tcp", target, 80), "the fellow to be reached again")
        until(lambda: not silent(around.outside, "tcp", HOST, 8800), "the port to answer again")
