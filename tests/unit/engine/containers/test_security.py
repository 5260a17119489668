"""Capabilities, security options, kernel parameters and resource limits."""

import pytest

from corten.engine.containers.security import (
    apparmor_profile,
    capabilities,
    hidden_paths,
    rlimits,
    seccomp,
    security_options,
    sysctls,
)
from corten.engine.records.config import HostConfig, Ulimit
from corten.errors import InvalidInput, Unsupported
from corten.oci.spec import Rlimit
from tests.unit.engine.containers.examples import HOST, PROFILE


def effective(**wish: tuple[str, ...]) -> set[str]:
    """Return the effective set for CapAdd and CapDrop, without the CAP_."""
    found = capabilities(HostConfig(**wish), HOST)  # type: ignore[arg-type]  # one kind of member
    assert found.effective == found.bounding == found.permitted
    assert found.inheritable == found.ambient == ()
    return {name.removeprefix("CAP_") for name in found.effective}


def test_capabilities_are_added_and_dropped() -> None:
    """The default set, minus the dropped, plus the added, in any spelling."""
    plain = effective()
    assert len(plain) == 14
    assert effective(cap_add=("net_admin",), cap_drop=("CAP_chown",)) == plain - {"CHOWN"} | {"NET_ADMIN"}


def test_all_and_none() -> None:
    """``ALL`` added leaves the dropped out; ``ALL`` dropped leaves the added in."""
    everything = {name.removeprefix("CAP_") for name in HOST.capabilities}
    assert effective(cap_add=("ALL",), cap_drop=("SYS_ADMIN",)) == everything - {"SYS_ADMIN"}
    assert effective(cap_drop=("all",), cap_add=("KILL",)) == {"KILL"}


def test_what_the_host_cannot_give_is_refused() -> None:
    """An unknown capability, and one that the engine does not hold, are named in the error."""
    with pytest.raises(InvalidInput, match=r'invalid CapAdd: unknown capability.*"SYS_TIME"'):
        effective(cap_add=("SYS_TIME",))


@pytest.mark.parametrize("option", ["no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"])
def test_no_new_privileges(option: str) -> None:
    """The option is on in each of its forms."""
    assert security_options(HostConfig(security_opt=(option,))).no_new_privileges


def test_labels_are_accepted() -> None:
    """Without SELinux labels say nothing, so that they do no harm."""
    assert security_options(HostConfig(security_opt=("label=disable", "label:type:x", "disable")))


@pytest.mark.parametrize("option", ["odd=1", "odd", "no-new-privileges=maybe", "label"])
def test_unknown_options_are_refused(option: str) -> None:
    """A form that Docker does not know is refused, never ignored."""
    with pytest.raises(InvalidInput, match="invalid --security-opt"):
        security_options(HostConfig(security_opt=(option,)))


@pytest.mark.parametrize(
    ("option", "privileged", "expected"),
    [
        ("", False, PROFILE),
        ("", True, None),
        ("seccomp=unconfined", False, None),
        ("seccomp=builtin", True, PROFILE),
        ('seccomp={"defaultAction":"SCMP_ACT_ALLOW"}', True, {"defaultAction": "SCMP_ACT_ALLOW"}),
    ],
)
def test_seccomp_forms(option: str, privileged: bool, expected: object) -> None:
    """The default profile, none, or the one given."""
    options = security_options(HostConfig(security_opt=(option,) if option else None))
    assert seccomp(options, privileged, HOST) == expected


def test_a_broken_profile_is_refused() -> None:
    """A profile has to be a JSON object."""
    options = security_options(HostConfig(security_opt=("seccomp=[1]",)))
    with pytest.raises(InvalidInput, match="decoding seccomp profile failed"):
        seccomp(options, False, HOST)


def test_apparmor_is_not_pretended() -> None:
    """A profile that the kernel cannot enforce is refused; the default's name is accepted."""
    named = security_options(HostConfig(security_opt=("apparmor=mine",)))
    with pytest.raises(Unsupported, match="AppArmor"):
        apparmor_profile(named, False, HOST)
    default = security_options(HostConfig(security_opt=("apparmor=docker-default",)))
    assert apparmor_profile(default, False, HOST) == ""


def test_hidden_paths_can_be_replaced_and_cleared() -> None:
    """Lists given replace the defaults, an empty one clears, and unconfined clears both."""
    given = HostConfig(masked_paths=(), readonly_paths=("/proc/x",))
    assert hidden_paths(given, security_options(given), HOST) == ((), ("/proc/x",))
    unconfined = HostConfig(security_opt=("systempaths=unconfined",))
    assert hidden_paths(unconfined, security_options(unconfined), HOST) == ((), ())


def test_sysctls_of_own_namespaces() -> None:
    """The user's parameters win over the defaults."""
    wish = HostConfig(sysctls={"net.ipv4.ip_unprivileged_port_start": "1024", "kernel.sem": "1 2 3 4"})
    assert sysctls(wish, "bridge", HOST) == {
        "net.ipv4.ping_group_range": "0 2147483647",
        "net.ipv4.ip_unprivileged_port_start": "1024",
        "kernel.sem": "1 2 3 4",
    }


@pytest.mark.parametrize(
    ("name", "wish", "network"),
    [
        ("kernel.core_pattern", HostConfig(), "bridge"),
        ("net.core.somaxconn", HostConfig(), "host"),
        ("kernel.shmmax", HostConfig(ipc_mode="host"), "bridge"),
        ("fs.mqueue.msg_max", HostConfig(ipc_mode="host"), "bridge"),
        ("kernel.domainname", HostConfig(uts_mode="host"), "bridge"),
    ],
)
def test_the_hosts_parameters_are_out_of_reach(name: str, wish: HostConfig, network: str) -> None:
    """A parameter that is not the container's own is refused."""
    ipc, uts = wish.ipc_mode, wish.uts_mode
    with pytest.raises(InvalidInput, match=name):
        sysctls(HostConfig(ipc_mode=ipc, uts_mode=uts, sysctls={name: "1"}), network, HOST)


def test_rlimits_are_lowered_to_what_the_host_grants() -> None:
    """Unlimited becomes the host's own hard limit where there is one."""
    wish = HostConfig(ulimits=(Ulimit(name="nofile", soft=-1, hard=-1), Ulimit(name="core", soft=0, hard=-1)))
    assert rlimits(wish, HOST) == (Rlimit("RLIMIT_NOFILE", 4096, 4096), Rlimit("RLIMIT_CORE", 0, -1))


@pytest.mark.parametrize(
    ("ulimit", "line"),
    [
        (Ulimit(name="odd", soft=1, hard=1), "invalid ulimit type: odd"),
        (Ulimit(name="nofile", soft=2, hard=1), "2 > 1"),
    ],
)
def test_bad_ulimits_are_refused(ulimit: Ulimit, line: str) -> None:
    """Names and order are checked."""
    with pytest.raises(InvalidInput, match=line):
        rlimits(HostConfig(ulimits=(ulimit,)), HOST)
