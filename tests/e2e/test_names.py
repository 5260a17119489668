"""Names: how containers find each other and the world, what is told to whom, and what never leaves.

Questions are asked inside of containers by the C library (``getent``), as
programs do. Name servers outside are recorded: what they were asked is known.
"""

from __future__ import annotations

import re
import signal
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import until
from tests.e2e.hosts import (
    OUTSIDE,
    Neighbours,
    address,
    greeter,
    idler,
    looked_up,
    neighbours,
    network,
    pid_of,
    place,
    refused,
    service,
)
from tests.e2e.tools import state, unique
from tests.kernel.isolated import inside
from tests.unit.core.networks.dns.nameservers import Recording, always

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

ANSWER = "192.0.2.80"  # what name servers outside say of every name
GREETING = 'exec 3<>"/dev/tcp/$1/$2" && cat <&3'


@pytest.fixture(scope="module")
def around(engine: Engine) -> Iterator[Neighbours]:
    """The neighbours of the engine's host."""
    with neighbours(engine) as made:
        yield made


@contextmanager
def recording(namespace: int, address: str) -> Iterator[Recording]:
    """Lend a name server in *namespace* that has an answer to everything."""
    server = Recording(always(ANSWER), address, 53)
    inside(namespace, server.start)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def the_hosts(engine: Engine) -> Iterator[Recording]:
    """Lend the first name server of the host's own configuration, recorded, on the engine's host."""
    found = re.search(r"^nameserver\s+([\d.]+)$", Path("/etc/resolv.conf").read_text(), re.MULTILINE)
    if found is None:
        pytest.skip("the host has no name server of IPv4")
    loopback = found[1].startswith("127.")
    if not loopback:
        engine.inside("ip", "address", "add", f"{found[1]}/32", "dev", "lo")
    try:
        with recording(engine.netns, found[1]) as server:
            yield server
    finally:
        if not loopback:
            engine.inside("ip", "address", "del", f"{found[1]}/32", "dev", "lo")


def found(engine: Engine, asking: str, name: str, version: int = 4) -> set[str]:
    """Return the addresses that *asking* gets for *name*, none when it has none."""
    done = engine.docker("exec", asking, "getent", f"ahostsv{version}", name, check=False)
    assert done.returncode in (0, 2), done.stderr
    addresses = {line.split()[0] for line in done.stdout.splitlines()}
    return {one for one in addresses if not one.startswith("::ffff:")}


def name_of(engine: Engine, asking: str, address: str) -> str:
    """Return the name that *asking* gets for *address*."""
    done = engine.docker("exec", asking, "getent", "hosts", address, check=False)
    return str(done.stdout.split()[1]) if done.returncode == 0 else ""


def read(engine: Engine, name: str, path: str) -> str:
    """Return the text of a file in a container."""
    return str(engine.docker("exec", name, "cat", path).stdout)


def test_every_name_of_a_container(engine: Engine) -> None:
    """Name, short id, hostname, aliases, all in any case, with the network's name or a dot behind: both families."""
    with (
        network(engine, "--ipv6") as own,
        idler(
            engine, "--network", own, "--hostname", "inner", "--network-alias", "db", "--network-alias", "sql"
        ) as name,
        idler(engine, "--network", own) as asking,
    ):
        short = state(engine, name, "{{.Id}}")[:12]
        assert set(place(engine, name, own)["DNSNames"]) == {name, "db", "sql", short, "inner"}
        assert {"db", "sql"} <= set(place(engine, name, own)["Aliases"])
        for version in (4, 6):
            target = {address(engine, name, own, version)}
            for text in (name, short, "inner", "db", "sql", name.upper(), f"{name}.", f"{name}.{own}"):
                assert found(engine, asking, text, version) == target, text
        assert found(engine, asking, asking) == {address(engine, asking, own)}


def test_services_are_reached_by_name(engine: Engine) -> None:
    """A program connects to a name, and to its alias."""
    with (
        network(engine) as own,
        service(engine, "--network", own, "--network-alias", "web") as name,
        idler(engine, "--network", own) as asking,
    ):
        for text in (name, "web"):
            done = engine.docker("exec", asking, "bash", "-c", GREETING, "-", text, "80")
            assert done.stdout == f"{name} {address(engine, asking, own)}\n"


def test_reverse(engine: Engine) -> None:
    """An address of a fellow has its name, with the network's; one on another network has none."""
    with (
        network(engine, "--ipv6") as own,
        network(engine) as other,
        idler(engine, "--network", own) as name,
        idler(engine, "--network", other) as stranger,
        idler(engine, "--network", own, "--dns", "192.0.2.53") as asking,
    ):
        for version in (4, 6):
            assert name_of(engine, asking, address(engine, name, own, version)) == f"{name}.{own}"
        engine.docker("network", "connect", other, name)
        assert name_of(engine, stranger, address(engine, name, other)) == f"{name}.{other}"


def test_names_stay_on_their_network(engine: Engine, around: Neighbours) -> None:
    """Who is on another network, or on the default bridge, does not find it."""
    with (
        recording(around.outside, OUTSIDE) as server,
        network(engine) as own,
        network(engine) as other,
        idler(engine, "--network", own, "--network-alias", "hidden") as name,
        idler(engine, "--network", other, "--dns", OUTSIDE) as stranger,
        idler(engine, "--dns", OUTSIDE) as plain,
    ):
        for asking in (stranger, plain):
            for text in (name, "hidden"):
                assert found(engine, asking, text) == {ANSWER}  # that is the world's
        assert server.names()


def test_a_service_with_several_addresses(engine: Engine) -> None:
    """One alias of three containers has three addresses, each first in its turn; those that end are gone from it."""
    with ExitStack() as stack:
        own = stack.enter_context(network(engine))
        flags = ("--network", own, "--network-alias", "crowd")
        members = [stack.enter_context(idler(engine, *flags)) for _ in range(3)]
        asking = stack.enter_context(idler(engine, "--network", own))
        addresses = {address(engine, name, own) for name in members}
        assert found(engine, asking, "crowd") == addresses
        first = set[str]()

        def all_first() -> bool:
            first.add(engine.docker("exec", asking, "getent", "hosts", "crowd").stdout.split()[0])
            return first == addresses

        until(all_first, "each to be first")
        gone = address(engine, members[0], own)
        engine.docker("stop", "-t", "0", members[0])
        assert found(engine, asking, "crowd") == addresses - {gone}
        engine.docker("start", members[0])
        assert len(found(engine, asking, "crowd")) == 3


def test_names_follow_joining_and_leaving(engine: Engine) -> None:
    """A living container is found on a network from when it joins, by the aliases given, until it leaves; so is what it finds."""
    with (
        network(engine) as first,
        network(engine) as second,
        idler(engine, "--network", first, "--dns", "192.0.2.53") as name,
        idler(engine, "--network", second, "--dns", "192.0.2.53", "--dns-option", "timeout:1") as asking,
    ):
        pid = pid_of(engine, name)
        engine.docker("network", "connect", "--alias", "visitor", second, name)
        target = {address(engine, name, second)}
        assert found(engine, asking, name) == found(engine, asking, "visitor") == target
        assert found(engine, name, asking) == {address(engine, asking, second)}
        engine.docker("network", "disconnect", second, name)
        assert looked_up(engine, second)["Containers"].keys() == {state(engine, asking, "{{.Id}}")}
        engine.docker("network", "connect", second, name)
        assert found(engine, asking, name) == {address(engine, name, second)}
        assert pid_of(engine, name) == pid
        with recording(engine.netns, gateway(engine, second)) as server:
            engine.docker("network", "disconnect", second, name)
            with idler(engine, "--network", second, "--dns", gateway(engine, second)) as late:
                assert found(engine, late, name) == {ANSWER}
                assert server.names() == [name]


def gateway(engine: Engine, network: str) -> str:
    """Return the host's address on a network."""
    return str(looked_up(engine, network)["IPAM"]["Config"][0]["Gateway"])


def test_from_the_default_bridge_to_names(engine: Engine) -> None:
    """A container of the default bridge, which has no names, gets them when it joins a user's network, and loses them again."""
    with network(engine) as own, idler(engine, "--network", own) as name, idler(engine) as asking:
        before = read(engine, asking, "/etc/resolv.conf")
        assert "127.0.0.11" not in before
        engine.docker("network", "connect", own, asking)
        assert read(engine, asking, "/etc/resolv.conf").splitlines()[0] == "nameserver 127.0.0.11"
        assert found(engine, asking, name) == {address(engine, name, own)}
        engine.docker("network", "disconnect", own, asking)
        assert read(engine, asking, "/etc/resolv.conf") == before


def test_a_new_name(engine: Engine) -> None:
    """A renamed container is found by its new name, and by the old one no longer."""
    with (
        network(engine, "--internal") as own,
        idler(engine, "--network", own) as name,
        idler(engine, "--network", own) as asking,
    ):
        newer = unique()
        engine.docker("rename", name, newer)
        try:
            assert found(engine, asking, newer) == {address(engine, newer, own)}
            assert found(engine, asking, name) == set()
        finally:
            engine.docker("rename", newer, name)


def test_the_words_of_resolv_conf(engine: Engine) -> None:
    """User networks name the engine's server and who it asks; the default bridge names those themselves."""
    flags = ("--dns", "192.0.2.53", "--dns-search", "example.test", "--dns-option", "timeout:1")
    with (
        network(engine) as own,
        idler(engine, "--network", own, *flags) as name,
        idler(engine, *flags) as plain,
    ):
        lines = read(engine, name, "/etc/resolv.conf").splitlines()
        assert lines[:3] == ["nameserver 127.0.0.11", "search example.test", "options timeout:1 ndots:0"]
        assert "# ExtServers: [192.0.2.53]" in lines
        assert read(engine, plain, "/etc/resolv.conf").splitlines() == [
            "nameserver 192.0.2.53",
            "search example.test",
            "options timeout:1",
        ]


def test_the_world_is_asked(engine: Engine, around: Neighbours) -> None:
    """What is no container's name goes to the servers of ``--dns``, with the search domains; names of fellows never do."""
    with (
        recording(around.outside, OUTSIDE) as server,
        network(engine) as own,
        idler(engine, "--network", own, "--dns", OUTSIDE, "--dns-search", "example.test") as asking,
        idler(engine, "--network", own) as name,
    ):
        assert found(engine, asking, "www.example.org") == {ANSWER}
        assert set(server.names()) == {"www.example.org"}
        assert found(engine, asking, name) == {address(engine, name, own)}
        assert not any(name in text for text in server.names())
        assert ("udp", "www.example.org") in server.asked


def test_search_domains(engine: Engine, around: Neighbours) -> None:
    """A name without a dot is looked for in the search domains, when nobody has it as it is."""
    refusing = Recording(always(rcode=3), OUTSIDE, 53)
    inside(around.outside, refusing.start)
    flags = ("--dns", OUTSIDE, "--dns-search", "one.test", "--dns-search", "two.test")
    try:
        with network(engine) as own, idler(engine, "--network", own, *flags) as asking:
            assert found(engine, asking, "host") == set()
        assert {"host.one.test", "host.two.test"} <= set(refusing.names())
    finally:
        refusing.stop()


def test_the_hosts_servers(engine: Engine) -> None:
    """Without ``--dns`` the servers of the host are asked, from a user's network and from the default bridge."""
    with (
        the_hosts(engine) as server,
        network(engine) as own,
        idler(engine, "--network", own) as asking,
        idler(engine) as plain,
    ):
        assert found(engine, asking, "a.example.org") == {ANSWER}
        assert found(engine, plain, "b.example.org") == {ANSWER}
        assert {"a.example.org", "b.example.org"} <= set(server.names())


def test_internal_networks_ask_nobody_outside(engine: Engine, around: Neighbours) -> None:
    """On an internal network no name of the world is resolved, nobody is asked, by ``--dns``, search or the host's servers."""
    tried = ("www.example.org", "single", "secret.attacker.test", "192.0.2.99", "2001:db8:ffff::1")
    with ExitStack() as stack:
        servers = [stack.enter_context(recording(around.outside, OUTSIDE))]
        servers.append(stack.enter_context(the_hosts(engine)))
        hidden = stack.enter_context(network(engine, "--internal"))
        servers.append(stack.enter_context(recording(engine.netns, gateway(engine, hidden))))
        fellow = stack.enter_context(idler(engine, "--network", hidden))
        for flags in (
            (),
            ("--dns", OUTSIDE, "--dns-search", "attacker.test"),
            ("--dns", gateway(engine, hidden)),
        ):
            asking = stack.enter_context(
                idler(engine, "--network", hidden, "--dns-option", "timeout:1", *flags)
            )
            for name in tried[:3]:
                assert found(engine, asking, name) == set()
            for name in tried[3:]:
                assert name_of(engine, asking, name) == ""
            assert found(engine, asking, fellow) == {address(engine, fellow, hidden)}
        assert [server.names() for server in servers] == [[], [], []]


def test_a_second_network_opens_the_world(engine: Engine, around: Neighbours) -> None:
    """A container of an internal network that joins another one may ask the world, until it leaves that."""
    with (
        recording(around.outside, OUTSIDE) as server,
        network(engine, "--internal") as hidden,
        network(engine) as own,
        idler(engine, "--network", hidden, "--dns", OUTSIDE) as asking,
    ):
        assert found(engine, asking, "one.example.org") == set()
        engine.docker("network", "connect", own, asking)
        assert found(engine, asking, "two.example.org") == {ANSWER}
        engine.docker("network", "disconnect", own, asking)
        assert found(engine, asking, "three.example.org") == set()
        assert set(server.names()) == {"two.example.org"}


def test_hosts_of_the_users(engine: Engine) -> None:
    """``--add-host`` entries are found on every kind of network; ``host-gateway`` leads to a server of the host."""
    flags = ("--add-host", "host.docker.internal:host-gateway", "--add-host", "fixed:192.0.2.7")
    with network(engine) as own, greeter(engine.netns) as port:
        for on in (own, "bridge"):
            with idler(engine, "--network", on, *flags, "--add-host", "six=[2001:db8::7]") as name:
                done = engine.docker(
                    "exec", name, "bash", "-c", GREETING, "-", "host.docker.internal", str(port)
                )
                assert done.stdout == f"neighbour {address(engine, name, on)}\n"
                assert found(engine, name, "fixed") == {"192.0.2.7"}
                assert "2001:db8::7\tsix" in read(engine, name, "/etc/hosts").splitlines()
                hostname = state(engine, name, "{{.Config.Hostname}}")
                assert found(engine, name, hostname) == {address(engine, name, on)}


def test_links_on_the_default_bridge(engine: Engine) -> None:
    """``--link NAME:ALIAS`` gives entries of /etc/hosts there, as nothing else has names."""
    with service(engine, "--hostname", "inner") as name, idler(engine, "--link", f"{name}:other") as asking:
        target = {address(engine, name, "bridge")}
        for text in ("other", name, "inner"):
            assert found(engine, asking, text) == target
        done = engine.docker("exec", asking, "bash", "-c", GREETING, "-", "other", "80")
        assert done.stdout.startswith(name)


def test_links_on_a_users_network(engine: Engine) -> None:
    """The alias of a link is for the one that has it alone, and follows its container through a restart."""
    with (
        network(engine, "--internal") as own,
        idler(engine, "--network", own) as name,
        idler(engine, "--network", own, "--link", f"{name}:private") as asking,
        idler(engine, "--network", own) as other,
    ):
        assert found(engine, asking, "private") == {address(engine, name, own)}
        assert found(engine, other, "private") == set()
        engine.docker("restart", "-t", "0", name)
        assert found(engine, asking, "private") == {address(engine, name, own)}


def test_a_link_to_nobody(engine: Engine) -> None:
    """It is refused by the name."""
    assert "nosuch" in refused(engine, 125, "run", "--rm", "--link", "nosuch:x", "debian", "true")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_after_a_new_daemon(engine: Engine, around: Neighbours, number: int) -> None:
    """Running containers find each other and the world again, and are found by those that come later."""
    with (
        recording(around.outside, OUTSIDE) as server,
        network(engine) as own,
        idler(engine, "--network", own, "--network-alias", "db") as name,
        idler(engine, "--network", own, "--dns", OUTSIDE) as asking,
    ):
        engine.restart_daemon(number)
        assert found(engine, asking, "db") == found(engine, asking, name) == {address(engine, name, own)}
        assert found(engine, asking, "www.example.org") == {ANSWER}
        assert set(server.names()) == {"www.example.org"}
        with idler(engine, "--network", own) as late:
            assert found(engine, late, "db") == {address(engine, name, own)}
            assert found(engine, asking, late) == {address(engine, late, own)}


def test_a_container_with_a_name_server_of_its_own(engine: Engine) -> None:
    """It may serve port 53 on all addresses, and is still answered at 127.0.0.11."""
    with (
        network(engine) as own,
        service(engine, "--network", own, ports=(53,)) as name,
        idler(engine, "--network", own) as asking,
    ):
        assert found(engine, name, asking) == {address(engine, asking, own)}
        done = engine.docker("exec", asking, "bash", "-c", GREETING, "-", name, "53")
        assert done.stdout.startswith(name)


def test_who_shares_a_network_shares_its_names(engine: Engine) -> None:
    """A container in another's namespace finds what that one finds."""
    with (
        network(engine) as own,
        idler(engine, "--network", own) as name,
        idler(engine, "--network", own) as owner,
        idler(engine, "--network", f"container:{owner}") as guest,
    ):
        assert found(engine, guest, name) == {address(engine, name, own)}


def test_the_hosts_network_has_the_hosts_names(engine: Engine) -> None:
    """On ``host`` the resolver's file is the host's own, byte for byte."""
    with idler(engine, "--network", "host") as name:
        assert read(engine, name, "/etc/resolv.conf") == Path("/etc/resolv.conf").read_text()
