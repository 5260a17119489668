"""Addresses and subnets: what is given, in which order, and what is refused."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.core.networks.ipam import (
    DEFAULT_POOLS,
    Pool,
    choose_local_subnet,
    choose_subnet,
    complete,
    overlaps,
)
from corten.core.networks.values import Subnet
from corten.errors import Conflict, Forbidden, InvalidInput, Unavailable
from corten.linux.netlink import IpAddress, IpNetwork

SMALL = IPv4Network("10.9.8.0/29")  # gateway .1, containers .2 to .6


def test_first_default_subnet_when_nothing_is_taken() -> None:
    """An unused host gets Docker's first pool."""
    assert choose_subnet([]) == IPv4Network("172.17.0.0/16")


def test_subnets_that_overlap_are_passed_over() -> None:
    """A larger, equal or smaller network in use blocks a subnet; pools go in order."""
    taken = [IPv4Network("172.17.3.0/24"), IPv4Network("172.18.0.0/15")]
    assert choose_subnet(taken) == IPv4Network("172.20.0.0/16")


def test_last_pool_is_cut_into_smaller_pieces() -> None:
    """When 172.16/12 is taken, pieces of 192.168/16 with 4096 addresses follow."""
    taken = [IPv4Network("172.16.0.0/12"), IPv4Network("192.168.1.0/24")]
    assert choose_subnet(taken) == IPv4Network("192.168.16.0/20")


def test_routes_to_everywhere_do_not_count() -> None:
    """Neither the default route nor its two halves, as tunnels install them, block anything."""
    everywhere = [IPv4Network("0.0.0.0/0"), IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1")]
    assert choose_subnet(everywhere) == DEFAULT_POOLS[0][0]


def test_no_subnet_left_says_what_to_do() -> None:
    """With every pool taken the message asks for a subnet."""
    with pytest.raises(Unavailable, match="choose a subnet"):
        choose_subnet([network for network, _ in DEFAULT_POOLS])


def test_gateway_is_first_and_containers_follow() -> None:
    """The gateway is .1; addresses are given from .2 on."""
    pool = Pool(SMALL)
    assert str(pool.gateway) == "10.9.8.1"
    assert [str(pool.take()) for _ in range(3)] == ["10.9.8.2", "10.9.8.3", "10.9.8.4"]


def test_freed_address_is_not_reused_at_once() -> None:
    """The next address comes after the one given last, and round at the end."""
    pool = Pool(SMALL)
    first = pool.take()
    pool.release(first)
    assert [str(pool.take())[-1] for _ in range(5)] == ["3", "4", "5", "6", "2"]


def test_exhausted_pool_says_so_and_recovers() -> None:
    """A full subnet is one clear line; a release makes room."""
    pool = Pool(SMALL)
    given_out = [pool.take() for _ in range(5)]
    with pytest.raises(Unavailable, match=r"no free address in 10\.9\.8\.0/29"):
        pool.take()
    pool.release(given_out[2])
    assert pool.take() == given_out[2]


def test_wished_address() -> None:
    """A wish is granted once, and skipped by others from then on."""
    pool = Pool(SMALL)
    assert pool.take(IPv4Address("10.9.8.2")) == IPv4Address("10.9.8.2")
    assert pool.take() == IPv4Address("10.9.8.3")
    with pytest.raises(Conflict, match="already in use"):
        pool.take(IPv4Address("10.9.8.3"))


@pytest.mark.parametrize("address", ["10.9.8.0", "10.9.8.1", "10.9.8.7", "10.9.9.2", "0.0.0.0"])
def test_wish_outside_is_refused(address: str) -> None:
    """Network, gateway, broadcast and foreign addresses are no container's."""
    with pytest.raises(InvalidInput, match="not a container address"):
        Pool(SMALL).take(IPv4Address(address))


def test_reserve_is_idempotent_and_ignores_foreign_addresses() -> None:
    """An address found in use is not given; one of another subnet changes nothing."""
    pool = Pool(SMALL)
    for address in ("10.9.8.2", "10.9.8.2", "172.17.0.2"):
        pool.reserve(IPv4Address(address))
    assert [str(pool.take())[-1] for _ in range(4)] == ["3", "4", "5", "6"]


@pytest.mark.parametrize("subnet", ["10.0.0.0/31", "10.0.0.0/32"])
def test_subnet_without_room_is_refused(subnet: str) -> None:
    """A subnet needs a gateway and one container."""
    with pytest.raises(InvalidInput, match="no room"):
        Pool(IPv4Network(subnet))


@given(st.lists(st.one_of(st.none(), st.integers(0, 4)), max_size=60))
def test_no_address_has_two_owners(steps: list[int | None]) -> None:
    """Whatever the order of taking (None) and releasing (position), owners never share an address."""
    pool = Pool(SMALL)
    held: list[IpAddress] = []
    for step in steps:
        if step is None and len(held) < 5:
            address = pool.take()
            assert address not in held
            assert pool.holds(address)
            held.append(address)
        elif step is not None and step < len(held):
            pool.release(held.pop(step))


def nets(*texts: str) -> list[IpNetwork]:
    """Return networks of both families."""
    return [ip_network(text) for text in texts]


def finished(
    *wanted: Subnet,
    ipv4: bool = True,
    ipv6: bool = False,
    taken: Iterable[IpNetwork] = (),
    occupied: Iterable[IpNetwork] = (),
) -> tuple[Subnet, ...]:
    """Return *wanted* completed for the engine "corten"."""
    return complete(wanted, ipv4=ipv4, ipv6=ipv6, taken=taken, occupied=occupied, seed="corten")


@st.composite
def small_pools(draw: st.DrawFn) -> tuple[Pool, set[IpAddress], set[IpAddress]]:
    """A pool of 4 to 64 addresses with what a user may wish, its reserved addresses and its range."""
    base = draw(st.sampled_from(["10.9.8.0", "fd01:2:3::"]))
    bits = 32 if "." in base else 128
    subnet = ip_network(f"{base}/{bits - draw(st.integers(2, 6))}")
    everyone: list[IpAddress] = [*subnet]
    hosts = everyone[1:-1]
    gateway = draw(st.none() | st.sampled_from(hosts))
    reserved = draw(st.sets(st.sampled_from(hosts), max_size=3)) - {gateway}
    piece = draw(st.none() | st.integers(subnet.prefixlen, bits))
    ranged = None
    if piece is not None:
        ranged = ip_network(f"{draw(st.sampled_from(everyone))}/{piece}", strict=False)
    try:
        pool = Pool(subnet, gateway=gateway, ip_range=ranged, reserved=reserved)
    except InvalidInput:  # a range elsewhere, or without room
        pool, reserved, ranged = Pool(subnet), set(), None
    return pool, reserved, set(ranged or everyone)


def possible(pool: Pool, reserved: set[IpAddress], ranged: set[IpAddress]) -> set[IpAddress]:
    """Return every address that *pool* may give without a wish, the slow way."""
    ends = {pool.subnet.network_address}
    if pool.subnet.version == 4:
        ends.add(pool.subnet.broadcast_address)
    return set(ranged) - ends - reserved - {pool.gateway}


@given(small_pools())
def test_pool_gives_each_possible_address_once(made: tuple[Pool, set[IpAddress], set[IpAddress]]) -> None:
    """Until it is empty a pool gives exactly what its range, gateway and reserved addresses leave."""
    pool, reserved, ranged = made
    wanted = possible(pool, reserved, ranged)
    given_out = [pool.take() for _ in wanted]
    assert set(given_out) == wanted
    with pytest.raises(Unavailable):
        pool.take()


@pytest.mark.slow
@given(small_pools(), st.lists(st.tuples(st.sampled_from("twra"), st.integers(0, 63)), max_size=80))
def test_pool_agrees_with_a_set(
    made: tuple[Pool, set[IpAddress], set[IpAddress]], steps: list[tuple[str, int]]
) -> None:
    """Whatever the order of takes, wishes, releases and adoptions, a plain set tells the same."""
    pool, reserved, ranged = made
    everywhere = possible(pool, reserved, set(pool.subnet))
    automatic = possible(pool, reserved, ranged)
    addresses = [*pool.subnet, ip_address("172.30.0.1"), ip_address("fd99::1")]
    taken: set[IpAddress] = set()
    for verb, number in steps:
        address = addresses[number % len(addresses)]
        assert pool.holds(address) == (address in everywhere)
        if verb == "t" and automatic - taken:
            found = pool.take()
            assert found in automatic - taken
            taken.add(found)
        elif verb == "t":
            with pytest.raises(Unavailable):
                pool.take()
        elif verb == "w" and address in everywhere - taken:
            assert pool.take(address) == address
            taken.add(address)
        elif verb == "w":
            with pytest.raises(Conflict if address in everywhere else InvalidInput):
                pool.take(address)
        elif verb == "r":
            pool.release(address)
            taken.discard(address)
        else:
            pool.reserve(address)
            taken |= {address} & everywhere


def test_pool_of_2_to_the_64_is_not_listed() -> None:
    """A subnet of IPv6 costs nothing for its size; gateway first, containers next."""
    pool = Pool(IPv6Network("fd01::/64"))
    assert pool.gateway == IPv6Address("fd01::1")
    assert [str(pool.take()) for _ in range(2)] == ["fd01::2", "fd01::3"]
    assert pool.take(IPv6Address("fd01::ffff:ffff:ffff:ffff")) == IPv6Address("fd01::ffff:ffff:ffff:ffff")


def test_gateway_makes_way_for_reserved_addresses() -> None:
    """Without a wish the gateway is the first address that nobody reserved."""
    pool = Pool(SMALL, reserved=[IPv4Address("10.9.8.1"), IPv4Address("10.9.8.3")])
    assert pool.gateway == IPv4Address("10.9.8.2")
    assert pool.take() == IPv4Address("10.9.8.4")


@pytest.mark.parametrize(
    ("gateway", "ip_range", "reserved", "message"),
    [
        ("10.9.9.1", "", "", "invalid gateway 10.9.9.1: parent subnet 10.9.8.0/29 doesn't contain"),
        ("10.9.8.0", "", "", "invalid gateway 10.9.8.0: it is not an address of a host"),
        ("10.9.8.7", "", "", "invalid gateway 10.9.8.7: it is not an address of a host"),
        ("fd01::1", "", "", "invalid gateway fd01::1: parent subnet is an IPv4 block"),
        ("", "10.9.9.0/29", "", "invalid ip-range 10.9.9.0/29: parent subnet 10.9.8.0/29 doesn't contain"),
        ("", "10.9.8.0/24", "", "invalid ip-range 10.9.8.0/24: parent subnet 10.9.8.0/29 doesn't contain"),
        ("", "fd01::/120", "", "invalid ip-range fd01::/120: parent subnet is an IPv4 block"),
        ("", "10.9.8.0/31", "", "10.9.8.0/31 has no room"),
        ("", "", "10.9.9.3", "invalid auxiliary address 10.9.9.3: parent subnet"),
        ("10.9.8.3", "", "10.9.8.3", "invalid auxiliary address 10.9.8.3: it is the gateway"),
    ],
)
def test_addresses_outside_are_refused(gateway: str, ip_range: str, reserved: str, message: str) -> None:
    """Gateway, range and reserved addresses have to be in the subnet, and to leave room."""
    with pytest.raises(InvalidInput) as caught:
        Pool(
            SMALL,
            gateway=ip_address(gateway) if gateway else None,
            ip_range=ip_network(ip_range) if ip_range else None,
            reserved=[ip_address(reserved)] if reserved else [],
        )
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "subnet", ["127.0.0.0/24", "0.0.0.0/24", "224.1.0.0/24", "fe80::/64", "ff02::/64", "::/64", "16.0.0.0/7"]
)
def test_subnets_of_another_meaning_are_refused(subnet: str) -> None:
    """Loopback, multicast, link-local and whole quarters of the internet are no networks of containers."""
    with pytest.raises(InvalidInput, match=f"invalid subnet {subnet}"):
        Pool(ip_network(subnet))


def test_nothing_wished_gives_docker_s_first_subnet() -> None:
    """IPv4 alone is Docker's first pool with the first address as gateway."""
    assert finished() == (Subnet(subnet="172.17.0.0/16", gateway="172.17.0.1"),)


@pytest.mark.slow
def test_five_hundred_networks_and_more() -> None:
    """600 networks of both families, made one after the other, never overlap."""
    taken: list[IpNetwork] = []
    for _ in range(600):
        made = finished(ipv6=True, taken=taken)
        taken += nets(*(subnet.subnet for subnet in made))
    for version in (4, 6):
        ends = sorted(
            (int(net.network_address), int(net.broadcast_address)) for net in taken if net.version == version
        )
        assert len(ends) == 600
        assert all(last < first for (_, last), (first, _) in pairwise(ends))


def test_families_come_as_asked() -> None:
    """Each family that is on gets a subnet; what belongs to one that is off is left out."""
    six = Subnet(subnet="fd01::/64")
    assert [s.subnet for s in finished(ipv4=False)] == []
    assert [s.subnet for s in finished(six)] == ["172.17.0.0/16"]
    assert [s.subnet for s in finished(six, ipv6=True)] == ["172.17.0.0/16", "fd01::/64"]
    only = finished(ipv4=False, ipv6=True)
    assert [ip_network(s.subnet).prefixlen for s in only] == [64]


def test_engines_have_prefixes_of_their_own() -> None:
    """The unique local prefix follows from the seed alone; further networks are its further subnets."""
    first = choose_local_subnet("corten", [])
    assert choose_local_subnet("corten", []) == first
    assert choose_local_subnet("other", []).supernet(new_prefix=48) != first.supernet(new_prefix=48)
    second = choose_local_subnet("corten", [first])
    assert second != first
    assert second.supernet(new_prefix=48) == first.supernet(new_prefix=48)
    with pytest.raises(Unavailable, match="choose a subnet"):
        choose_local_subnet("corten", [first.supernet(new_prefix=48)])


def test_what_the_user_named_stays() -> None:
    """A complete wish comes back in normal form, an incomplete one with its gateway."""
    wish = Subnet(
        subnet="10.1.0.0/16", gateway="10.1.9.9", ip_range="10.1.5.0/24", reserved={"printer": "10.1.0.7"}
    )
    assert finished(wish) == (wish,)
    (six,) = finished(Subnet(subnet="FD01:0:0::/64"), ipv4=False, ipv6=True)
    assert six == Subnet(subnet="fd01::/64", gateway="fd01::1")
    assert finished(Subnet(subnet="")) == finished()


def test_overlap_with_another_network_is_forbidden() -> None:
    """Docker's words and code for a subnet that another network of ours has, in whole or in part."""
    for text in ("10.1.0.0/16", "10.1.2.0/24", "10.0.0.0/8"):
        with pytest.raises(Forbidden, match="Pool overlaps with other one on this address space"):
            finished(Subnet(subnet=text), taken=nets("fd01::/64", "10.1.0.0/16"))


def test_overlap_with_each_other_is_refused() -> None:
    """Two subnets of one network may not share addresses."""
    with pytest.raises(InvalidInput, match=r"subnets 10\.1\.0\.0/16 and 10\.1\.2\.0/24 overlap"):
        finished(Subnet(subnet="10.1.0.0/16"), Subnet(subnet="10.1.2.0/24"))


def test_overlap_with_the_host_is_reported_not_refused() -> None:
    """A named subnet may overlap with routes of the host, which is said in a line; a chosen one does not."""
    host = nets("0.0.0.0/0", "10.0.0.0/9", "10.1.2.0/24", "172.17.0.0/16", "fd01::/48")
    wishes = [Subnet(subnet="10.1.0.0/16"), Subnet(subnet="192.168.0.0/24"), Subnet(subnet="nonsense")]
    assert finished(wishes[0], occupied=host)[0].subnet == "10.1.0.0/16"
    assert finished(occupied=host)[0].subnet == "172.18.0.0/16"
    (line,) = overlaps(wishes, host)
    assert line.startswith("subnet 10.1.0.0/16 overlaps with 10.0.0.0/9, 10.1.2.0/24, which this host")
    assert overlaps([Subnet(subnet="fd01::/64")], host)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (Subnet(subnet="10.1.0.0"), 'invalid subnet "10.1.0.0": invalid CIDR'),
        (Subnet(subnet="10.1.0.0/255.255.0.0"), "invalid CIDR"),
        (Subnet(subnet="10.1.0.0/33"), "invalid CIDR"),
        (Subnet(subnet="10.01.0.0/16"), "invalid CIDR"),
        (Subnet(subnet="fd01::%eth0/64"), "invalid CIDR"),
        (Subnet(subnet="", gateway="10.1.0.1"), 'invalid subnet ""'),
        (Subnet(subnet="10.1.2.3/24"), "invalid subnet 10.1.2.3/24: it should be 10.1.2.0/24"),
        (Subnet(subnet="10.1.0.0/16", gateway="x"), 'invalid gateway "x": invalid address'),
        (Subnet(subnet="fd01::/64", gateway="fd01::1%lo"), "invalid address"),
        (Subnet(subnet="10.1.0.0/16", ip_range="10.1.5.1/24"), "invalid ip-range 10.1.5.1/24: it should be"),
        (Subnet(subnet="10.1.0.0/16", reserved={"a": "b"}), 'invalid auxiliary address a "b"'),
        (Subnet(subnet="10.1.0.0/31"), "no room"),
        (Subnet(subnet="fd01::/127"), "no room"),
    ],
)
def test_bad_subnets_are_refused_in_one_line(wish: Subnet, message: str) -> None:
    """Each mistake of a user is one line that names the value."""
    with pytest.raises(InvalidInput) as caught:
        finished(wish, ipv6=True)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


NETWORKS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).flatmap(
    lambda address: st.integers(0, address.max_prefixlen).map(
        lambda prefix: ip_network(f"{address}/{prefix}", strict=False)
    )
)
NEAR_POOLS = st.sampled_from([pool for pool, _ in DEFAULT_POOLS]).flatmap(
    lambda pool: st.integers(pool.prefixlen - 2, 32).flatmap(
        lambda prefix: st.integers(int(pool.network_address), int(pool.broadcast_address)).map(
            lambda number: ip_network((number, prefix), strict=False)
        )
    )
)


@pytest.mark.slow
@given(st.lists(NEAR_POOLS, max_size=30))
def test_choice_is_the_first_that_is_free(taken: list[IpNetwork]) -> None:
    """The search by intervals finds what trying every subnet in order finds."""
    candidates = (subnet for pool, prefix in DEFAULT_POOLS for subnet in pool.subnets(new_prefix=prefix))
    blocked = [net for net in taken if net.prefixlen >= 8]
    expected = next(subnet for subnet in candidates if not any(map(subnet.overlaps, blocked)))
    assert choose_subnet(taken) == expected


@pytest.mark.slow
@given(
    st.lists(NETWORKS.map(str).map(lambda text: Subnet(subnet=text)), max_size=3),
    st.lists(NETWORKS.filter(lambda net: net.prefixlen >= 8), max_size=5),
    st.lists(NETWORKS | NEAR_POOLS, max_size=10),
    st.booleans(),
    st.booleans(),
)
def test_complete_subnets_are_usable(
    wanted: Sequence[Subnet], taken: list[IpNetwork], occupied: list[IpNetwork], ipv4: bool, ipv6: bool
) -> None:
    """What is accepted has room and a gateway inside, meets no other network, and is complete."""
    try:
        made = finished(*wanted, ipv4=ipv4, ipv6=ipv6, taken=taken, occupied=occupied)
    except (InvalidInput, Forbidden, Unavailable):
        return
    pools = [Pool(ip_network(s.subnet), gateway=ip_address(s.gateway)) for s in made]
    networks = [pool.subnet for pool in pools]
    assert {net.version for net in networks} == ({4} if ipv4 else set()) | ({6} if ipv6 else set())
    for position, net in enumerate(networks):
        assert not any(map(net.overlaps, networks[:position]))
        assert not any(net.overlaps(other) for other in taken)
    assert finished(*made, ipv4=ipv4, ipv6=ipv6, taken=taken) == made


@given(
    st.builds(
        Subnet,
        subnet=st.text("0123456789abcdef.:/% x", max_size=20) | NETWORKS.map(str),
        gateway=st.text("0123456789abcdef.:%", max_size=12),
        ip_range=st.text("0123456789abcdef.:/", max_size=12) | NETWORKS.map(str),
        reserved=st.dictionaries(st.text(max_size=3), st.text("0123456789.:", max_size=12), max_size=2),
    )
)
def test_any_text_is_accepted_or_refused(wish: Subnet) -> None:
    """No text of a user ends in anything but a result or a refusal of one line."""
    message = ""
    try:
        finished(wish, ipv6=True)
    except InvalidInput as refusal:
        message = str(refusal)
    assert len(message.splitlines()) <= 1
    assert isinstance(overlaps([wish], nets("10.0.0.0/8")), list)
