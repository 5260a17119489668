"""Making and changing a namespace is all or nothing: each step fails in turn, the undo comes in reverse order."""

import os
from typing import cast

import pytest
from msgspec.structs import replace

from corten.core.networks.dns.sockets import Resolver
from corten.core.networks.sandboxes.sandbox import Sandbox
from corten.core.networks.values import Wishes
from corten.errors import InvalidInput
from corten.linux.syscalls import KernelError
from tests.unit.core.networks.sandboxes.recording import ENDPOINT, FakeResolver, Recording

JOIN = (
    "look up link ct00000000",
    "look up link br0",
    "announce eth0",
)  # looking makes the kernel open the port
FURTHER = Wishes(address="10.1.2.2", link_local=("169.254.7.7",))


def test_steps_of_a_sandbox() -> None:
    """Enter, prepare, plug with the wishes, bring up, leave; the descriptor is kept."""
    fake = Recording()
    sandbox = fake.bench().make([fake.attachment(FURTHER)])
    assert fake.steps == [
        "enter",
        "prepare",
        "plug 99 10.1.2.2",
        "bring up eth0 169.254.7.7/16 default",
        *JOIN,
        "leave",
    ]
    assert sandbox.endpoints == (ENDPOINT,)
    assert sandbox.fileno() == 99
    assert sandbox.resolver is None


def test_steps_of_a_bare_sandbox() -> None:
    """Without a network there is the loopback link and nothing to plug."""
    fake = Recording()
    assert fake.bench().make([]).endpoints == ()
    assert fake.steps == ["enter", "prepare", "leave"]


def test_steps_with_several_networks_and_names() -> None:
    """Endpoints come in the order asked for, the sockets for names last."""
    fake = Recording()
    sandbox = fake.bench().make([fake.attachment(), fake.attachment(default=False)], names=True)
    assert fake.steps[2:-1] == [
        *("plug 99", "bring up eth0 default", *JOIN),
        *("plug 99", "bring up eth0", *JOIN),
        "resolver",
    ]
    assert len(sandbox.endpoints) == 2
    assert sandbox.resolver is fake.opened[0]


def test_ready_namespace_is_not_prepared_again() -> None:
    """A bare sandbox is entered and plugged."""
    fake = Recording()
    sandbox = fake.bench().make([fake.attachment()], bare=Sandbox(98))
    assert fake.steps == ["enter 98", "plug 98", "bring up eth0 default", *JOIN, "leave"]
    assert sandbox.fileno() == 98


@pytest.mark.parametrize(
    ("failing", "undone"),
    [
        (0, []),
        (1, ["close 99", "leave"]),
        (2, ["close 99", "leave"]),
        (3, ["release 10.1.2.2", "close 99", "leave"]),
        (4, ["release 10.1.2.2", "close 99", "leave"]),
        (12, ["release 10.1.2.2", "release 10.1.2.2", "close 99", "leave"]),
    ],
)
def test_failed_sandbox_is_undone_in_reverse(failing: int, undone: list[str]) -> None:
    """Whichever step fails, those before it are undone, the last one first, and the thread goes home."""
    fake = Recording(failing)
    with pytest.raises(KernelError):
        fake.bench().make([fake.attachment(), fake.attachment()], names=True)
    assert fake.steps[failing].endswith("FAILS")
    assert fake.steps[failing + 1 :] == undone
    assert fake.opened == []


def test_failure_uses_up_the_ready_namespace() -> None:
    """What may be half plugged is dropped, and the addresses are given back."""
    fake = Recording(failing=2)
    bare = Sandbox(os.open(os.devnull, os.O_RDONLY))
    number = bare.fileno()
    with pytest.raises(KernelError):
        fake.bench().make([fake.attachment()], bare=bare)
    assert bare.fileno() == -1
    assert fake.steps == [
        f"enter {number}",
        f"plug {number}",
        "bring up eth0 default FAILS",
        "release 10.1.2.2",
        "leave",
    ]


def test_bad_further_address_comes_before_plugging() -> None:
    """A wish that cannot be costs neither link nor address."""
    fake = Recording()
    wishes = Wishes(link_local=("10.0.0.1",))
    with pytest.raises(InvalidInput):
        fake.bench().make([fake.attachment(wishes)])
    with pytest.raises(InvalidInput):
        fake.bench().connect(5, fake.attachment(wishes))
    assert not any("plug" in step or "release" in step for step in fake.steps)


def test_connect_plugs_a_living_namespace() -> None:
    """Its descriptor stays the caller's."""
    fake = Recording()
    assert fake.bench().connect(5, fake.attachment(default=False)) == ENDPOINT
    assert fake.steps == ["enter 5", "plug 5", "bring up eth0", *JOIN, "leave"]


@pytest.mark.parametrize(
    ("host_link", "step"), [("ct00000000", "delete link ct00000000"), ("", "unplug eth0")]
)
def test_failed_connect_takes_the_link_out_again(host_link: str, step: str) -> None:
    """A living namespace would keep it, so it goes, from outside where it has an end there."""
    fake = Recording(failing=2, endpoint=replace(ENDPOINT, host_link=host_link))
    with pytest.raises(KernelError):
        fake.bench().connect(5, fake.attachment())
    assert fake.steps[3:] == [step, "release 10.1.2.2", "leave"]


def test_disconnect_gives_back_after_the_link_is_gone() -> None:
    """Nobody gets an address that somebody still answers for; if the link stays, so does the address."""
    fake = Recording()
    fake.bench().disconnect(5, fake, ENDPOINT)
    assert fake.steps == ["enter 5", "delete link ct00000000", "leave", "release 10.1.2.2"]
    fake = Recording(failing=1)
    with pytest.raises(KernelError):
        fake.bench().disconnect(5, fake, ENDPOINT)
    assert fake.steps[2:] == ["leave"]


def test_lead_out_and_resolver_happen_inside() -> None:
    """Default routes are set, and the sockets for names opened, in the namespace named."""
    fake = Recording()
    bench = fake.bench()
    bench.lead_out(5, ENDPOINT)
    bench.lead_out(5, None)
    assert bench.resolver(5) is fake.opened[0]
    assert fake.steps == [
        *("enter 5", "lead out eth0", "leave"),
        *("enter 5", "lead out None", "leave"),
        *("enter 5", "resolver", "leave"),
    ]


def test_resolver_for_a_sandbox_from_stock() -> None:
    """It is added, or the sandbox given up."""
    fake = Recording()
    sandbox = fake.bench().add_resolver(Sandbox(-1, [(fake, ENDPOINT)]))
    assert sandbox.resolver is fake.opened[0]
    fake = Recording(failing=1)
    with pytest.raises(KernelError):
        fake.bench().add_resolver(Sandbox(-1, [(fake, ENDPOINT)]))
    assert fake.steps[-1] == "release 10.1.2.2"


def test_closed_sandbox_keeps_addresses_and_names() -> None:
    """``close`` drops the descriptor only, ``release`` the rest too; both can be repeated."""
    fake, resolver = Recording(), FakeResolver()
    sandbox = Sandbox(-1, [(fake, ENDPOINT)], cast(Resolver, resolver))
    sandbox.close()
    sandbox.close()
    assert fake.steps == []
    assert resolver.closed == 0
    sandbox.release()
    assert fake.steps == ["release 10.1.2.2"]
    assert resolver.closed == 1
    assert sandbox.fileno() == -1
