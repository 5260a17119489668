"""Mounts: the three forms that a user has, and how they join the engine's own."""

from typing import Any

import msgspec
import pytest

from corten.engine.containers.mounts_config import (
    UserMount,
    bind_sources,
    container_mounts,
    mount_points,
    root_propagation,
    user_mounts,
)
from corten.engine.containers.spec import build_spec
from corten.engine.records.config import BindOptions, ContainerConfig, HostConfig, MountRequest, TmpfsOptions
from corten.engine.records.container import MountPoint
from corten.errors import CortenError, InvalidInput, Unsupported
from corten.oci.spec import Mount
from tests.unit.engine.containers.examples import FILES, HOST


def targets(wish: HostConfig) -> list[str]:
    """Return the destinations of a container's mounts, in order."""
    return [mount.destination for mount in container_mounts(user_mounts(wish, HOST), wish, FILES, False, "")]


@pytest.mark.parametrize(
    ("bind", "options"),
    [
        ("/s:/t", ("rbind", "rprivate")),
        ("/s:/t:rw", ("rbind", "rprivate")),
        ("/s:/t:ro", ("rbind", "rprivate", "ro", "rro")),
        ("/s:/t:ro,rslave,z", ("rbind", "rslave", "ro", "rro")),
        ("/s:/t:cached", ("rbind", "rprivate")),
    ],
)
def test_binds(bind: str, options: tuple[str, ...]) -> None:
    """``-v`` is recursive and private, and read-only with all below where the kernel can."""
    (mount,) = user_mounts(HostConfig(binds=(bind,)), HOST)
    assert (mount.source, mount.target, mount.options) == ("/s", "/t", options)


def test_an_old_kernel_makes_the_top_read_only() -> None:
    """Without mount_setattr(2) a read-only bind covers its top mount only, as Docker's does there."""
    old = msgspec.structs.replace(HOST, recursive_readonly=False)
    (mount,) = user_mounts(HostConfig(binds=("/s:/t:ro",)), old)
    assert mount.options == ("rbind", "rprivate", "ro")


def test_a_missing_source_is_made_for_v_only() -> None:
    """``-v`` makes a missing folder, ``--mount`` does so only when asked."""
    wish = HostConfig(
        binds=("/a:/a",),
        mounts=(
            MountRequest(type="bind", source="/b", target="/b"),
            MountRequest(
                type="bind", source="/c", target="/c", bind_options=BindOptions(create_mountpoint=True)
            ),
        ),
    )
    sources = bind_sources(user_mounts(wish, HOST))
    assert [(source.path, source.create) for source in sources] == [("/a", True), ("/b", False), ("/c", True)]


def test_tmpfs_options_undo_the_defaults() -> None:
    """A later option wins over its opposite; sizes and modes are passed on."""
    wish = HostConfig(tmpfs={"/run": "exec,size=64m,mode=755"})
    (mount,) = user_mounts(wish, HOST)
    assert mount.options == ("nosuid", "nodev", "rprivate", "exec", "size=64m", "mode=755")
    assert not mount_points((mount,))[0].listed


def test_a_requested_tmpfs_has_its_size_in_bytes() -> None:
    """``--mount type=tmpfs`` passes size and octal mode, and is listed by inspect."""
    request = MountRequest(
        type="tmpfs", target="/t", read_only=True, tmpfs_options=TmpfsOptions(size_bytes=4096, mode=0o1770)
    )
    (mount,) = user_mounts(HostConfig(mounts=(request,)), HOST)
    assert mount.options[-3:] == ("ro", "size=4096", "mode=1770")
    assert mount_points((mount,)) == (MountPoint("tmpfs", "", "/t", "", False, "", options=mount.options),)


def test_deeper_targets_are_mounted_later() -> None:
    """A mount never hides one that lies below it."""
    wish = HostConfig(binds=("/1:/a/b/c", "/2:/a"), tmpfs={"/a/b": ""})
    assert [mount.target for mount in user_mounts(wish, HOST)] == ["/a", "/a/b", "/a/b/c"]
    assert targets(wish)[-1] == "/a/b/c"
    assert targets(HostConfig(binds=("/x:/etc",)))[-4:] == [
        "/etc",
        "/etc/resolv.conf",
        "/etc/hostname",
        "/etc/hosts",
    ]


@pytest.mark.parametrize("target", ["/etc/hosts", "/proc", "/dev/shm", "/sys/fs/cgroup"])
def test_a_users_mount_replaces_the_engines(target: str) -> None:
    """At one target there is one mount, the user's."""
    wish = HostConfig(binds=(f"/mine:{target}",))
    mounts = container_mounts(user_mounts(wish, HOST), wish, FILES, False, "")
    assert [mount.source for mount in mounts if mount.destination == target] == ["/mine"]


def test_what_a_start_found_is_in_the_spec() -> None:
    """The mounts that are handed over count, not the flags; a volume is bound from its folder."""
    found = UserMount(type="volume", target="/etc/hosts", source="/volumes/v", options=("rbind", "rprivate"))
    wish = HostConfig(binds=("data:/etc/hosts", "/s:/gone"))
    spec = build_spec("0" * 64, "box", ContainerConfig(cmd=("sh",)), wish, "/", FILES, HOST, wanted=(found,))
    (mount,) = [mount for mount in spec.mounts if mount.destination == "/etc/hosts"]
    assert mount == Mount("/etc/hosts", "bind", "/volumes/v", ("rbind", "rprivate"))
    assert "/gone" not in [mount.destination for mount in spec.mounts]


def test_a_users_dev_drops_all_below() -> None:
    """``-v /dev:/dev`` leaves no mount of the engine below /dev."""
    assert [target for target in targets(HostConfig(binds=("/dev:/dev",))) if "/dev" in target] == ["/dev"]


def test_writable_cgroups() -> None:
    """The security option makes the cgroup mount writable and nothing else."""
    mounts = {mount.destination: mount for mount in container_mounts((), HostConfig(), FILES, True, "")}
    assert "ro" not in mounts["/sys/fs/cgroup"].options
    assert "ro" in mounts["/sys"].options


@pytest.mark.parametrize(
    ("modes", "expected"), [((), ""), (("rslave",), "rslave"), (("rshared", "slave"), "shared")]
)
def test_the_root_has_the_propagation_that_binds_need(modes: tuple[str, ...], expected: str) -> None:
    """A shared bind wants a shared root, a slave one at least a slave."""
    wish = HostConfig(binds=tuple(f"/s:/t{number}:{mode}" for number, mode in enumerate(modes)))
    assert root_propagation(user_mounts(wish, HOST)) == expected


@pytest.mark.parametrize(
    ("wish", "kind", "line"),
    [
        ({"binds": ("/s:t",)}, InvalidInput, "mount path must be absolute"),
        ({"binds": ("/s:/",)}, InvalidInput, "destination can't be '/'"),
        ({"binds": ("/s:/../..",)}, InvalidInput, "destination can't be '/'"),
        ({"binds": ("/s:/t:odd",)}, InvalidInput, "invalid mode: odd"),
        ({"binds": ("/s:/t:ro,rw",)}, InvalidInput, "invalid mode: ro,rw"),
        ({"binds": ("/s:/t", "/u:/t/")}, InvalidInput, "Duplicate mount point: /t"),
        ({"binds": ("/s:/t",), "tmpfs": {"/t": ""}}, InvalidInput, "Duplicate mount point: /t"),
        ({"mounts": (MountRequest(type="npipe", source="/s", target="/t"),)}, Unsupported, "type npipe"),
        ({"mounts": (MountRequest(type="cluster", target="/t"),)}, Unsupported, "type cluster"),
        (
            {"mounts": (MountRequest(type="odd", target="/t"),)},
            InvalidInput,
            'type "odd": mount type unknown',
        ),
        ({"tmpfs": {"/t": "odd"}}, InvalidInput, 'Invalid tmpfs option "odd"'),
        ({"tmpfs": {"/t": "upperdir=/x"}}, InvalidInput, "Invalid tmpfs option"),
        ({"mounts": (MountRequest(type="bind", target="/t"),)}, InvalidInput, "field Source"),
        ({"mounts": (MountRequest(type="bind", source="/s"),)}, InvalidInput, "field Target"),
        ({"mounts": (MountRequest(type="bind", source="s", target="/t"),)}, InvalidInput, "absolute"),
        ({"mounts": (MountRequest(type="tmpfs", source="/s", target="/t"),)}, InvalidInput, "field Source"),
    ],
)
def test_bad_mounts_are_refused(wish: dict[str, Any], kind: type[CortenError], line: str) -> None:
    """Each malformed mount is refused in Docker's words."""
    with pytest.raises(kind, match=line):
        user_mounts(HostConfig(**wish), HOST)
