"""Volumes, images, other containers' mounts: what flags, and an image, ask for."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from corten.engine.containers.mounting.mount import UserMount, mount_points, recorded
from corten.engine.containers.mounting.requests import all_mounts, lender, lent_by, user_mounts
from corten.engine.records.config import (
    BindOptions,
    ContainerConfig,
    HostConfig,
    ImageOptions,
    MountRequest,
    TmpfsOptions,
    VolumeDriver,
    VolumeOptions,
)
from corten.engine.records.container import Container
from corten.errors import CortenError, InvalidInput, Unsupported
from tests.unit.engine.containers.examples import HOST

WORDS = ("rbind", "rprivate")


def one(**wish: Any) -> UserMount:
    """Return the only mount of a wish."""
    (mount,) = user_mounts(HostConfig(**wish), HOST)
    return mount


def container(*mounts: UserMount) -> Container:
    """A recorded container with *mounts*."""
    return Container(
        id="a" * 64,
        name="box",
        created="",
        image_id="",
        config=ContainerConfig(),
        host_config=HostConfig(),
        path="sh",
        args=(),
        snapshotter="overlay",
        mounts=mount_points(mounts),
    )


@pytest.mark.parametrize(
    ("bind", "expected"),
    [
        ("data:/t", {"name": "data", "mode": "z", "options": WORDS}),
        ("data:/t:ro", {"name": "data", "mode": "ro", "options": (*WORDS, "ro", "rro"), "writable": False}),
        ("data:/t:nocopy,Z", {"name": "data", "mode": "nocopy,Z", "options": WORDS, "no_copy": True}),
        ("/t", {"name": "", "mode": "z", "options": WORDS}),
    ],
)
def test_a_volume_by_the_short_form(bind: str, expected: dict[str, Any]) -> None:
    """A source that is no path is the name of a volume, none at all asks for one of its own."""
    assert one(binds=(bind,)) == UserMount(type="volume", target="/t", **expected)


def test_the_driver_of_volumes() -> None:
    """``--volume-driver`` is for the short form and for what images declare, not for ``--mount``."""
    wish = HostConfig(
        binds=("a1:/a", "/b:/b"), mounts=(MountRequest(source="c1", target="/c"),), volume_driver="nfs"
    )
    mounts = all_mounts(ContainerConfig(volumes={"/d": {}}), wish, HOST)
    assert {mount.target: mount.driver for mount in mounts} == {"/a": "nfs", "/b": "", "/c": "", "/d": "nfs"}


def test_a_volume_by_the_long_form() -> None:
    """Every option arrives."""
    mount = one(
        mounts=(
            MountRequest(
                type="volume",
                source="data",
                target="/t",
                read_only=True,
                volume_options=VolumeOptions(
                    no_copy=True,
                    labels={"a": "b"},
                    driver_config=VolumeDriver(name="local", options={"type": "tmpfs"}),
                    subpath="x//y/.",
                ),
                id_map="0-5-1",
            ),
        )
    )
    assert mount == UserMount(
        type="volume",
        target="/t",
        name="data",
        driver="local",
        driver_options={"type": "tmpfs"},
        labels={"a": "b"},
        no_copy=True,
        subpath="x/y",
        writable=False,
        mode="z",
        options=(*WORDS, "ro", "rro", "X-mount.idmap=b:0:5:1"),
    )


def test_an_image() -> None:
    """It is for reading only."""
    request = MountRequest(
        type="image", source="nginx", target="/i", image_options=ImageOptions(subpath="etc")
    )
    assert one(mounts=(request,)) == UserMount(
        type="image", target="/i", name="nginx", subpath="etc", options=("ro",), writable=False
    )


def test_a_bind_with_other_owners() -> None:
    """``idmap`` becomes an option of the mount."""
    request = MountRequest(type="bind", source="/s", target="/t", id_map="uids=0-100-10#10-0-1;gids=5-6-7")
    assert one(mounts=(request,)).options == (*WORDS, "X-mount.idmap=u:0:100:10 u:10:0:1 g:5:6:7")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (BindOptions(non_recursive=True), ("bind", "rprivate", "ro")),
        (BindOptions(read_only_non_recursive=True), (*WORDS, "ro")),
        (BindOptions(read_only_force_recursive=True, propagation="rprivate"), (*WORDS, "ro", "rro")),
        (BindOptions(propagation="rslave"), ("rbind", "rslave", "ro", "rro")),
    ],
)
def test_how_far_read_only_reaches(options: BindOptions, words: tuple[str, ...]) -> None:
    """All below is read-only too, unless it is not taken along or was excepted."""
    request = MountRequest(type="bind", source="/s", target="/t", read_only=True, bind_options=options)
    assert one(mounts=(request,)).options == words


def test_who_wins_at_one_target() -> None:
    """The user's flags, then what another container lends (the later one), then what is declared."""
    config = ContainerConfig(volumes={f"/{name}": {} for name in "abcd"})
    wish = HostConfig(binds=("mine:/a",), tmpfs={"/d": ""})
    lent = [UserMount(type="volume", target=f"/{name}", name=f"lent{name}") for name in "abb"]
    lent[2] = replace(lent[2], name="later")
    mounts = all_mounts(config, wish, HOST, lent)
    assert [(mount.type, mount.target, mount.name) for mount in mounts] == [
        ("volume", "/a", "mine"),
        ("volume", "/b", "later"),
        ("tmpfs", "/d", ""),
        ("volume", "/c", ""),
    ]


def test_what_an_image_declares() -> None:
    """Its volumes are made deeper ones last, a relative path starts at the root, twice the same is one."""
    config = ContainerConfig(volumes={"/a/b": {}, "data": {}, "/a/": {}, "/a/./b": {}})
    mounts = all_mounts(config, HostConfig(), HOST)
    assert sorted(mount.target for mount in mounts) == ["/a", "/a/b", "/data"]
    assert mounts[-1].target == "/a/b"
    assert {(mount.type, mount.name, mount.mode, mount.no_copy) for mount in mounts} == {
        ("volume", "", "", False)
    }


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/proc", "inside /proc"),
        ("/a/../proc/sys", "inside /proc"),
        ("/", "destination can't be '/'"),
        ("..", "destination can't be '/'"),
    ],
)
def test_what_an_image_may_not_declare(path: str, line: str) -> None:
    """A volume in the place of /proc would hide what the engine masks there (CVE-2019-16884)."""
    with pytest.raises(InvalidInput, match=line):
        all_mounts(ContainerConfig(volumes={path: {}}), HostConfig(), HOST)


def test_lending() -> None:
    """Mounts are lent as they are, or for reading only; what was read-only stays so, and no image content is copied."""
    mounts = user_mounts(
        HostConfig(
            binds=("/s:/a:rslave", "data:/b:ro", "other:/c"),
            mounts=(MountRequest(type="tmpfs", target="/e"),),
            tmpfs={"/t": ""},
        ),
        HOST,
    )
    lent = {mount.target: mount for mount in lent_by(container(*mounts), "z", HOST)}
    assert sorted(lent) == ["/a", "/b", "/c", "/e"]
    assert [lent[target].writable for target in ("/a", "/b", "/c")] == [True, False, True]
    assert all(mount.no_copy for mount in lent.values())
    assert lent["/a"].propagation == "rslave"
    read = {mount.target: mount for mount in lent_by(container(*mounts), "ro", HOST)}
    assert not any(mount.writable for mount in read.values())
    assert read["/a"].options == ("rbind", "rslave", "ro", "rro")
    assert read["/b"].options == (*WORDS, "ro", "rro")
    assert read["/e"].options == ("nosuid", "noexec", "nodev", "rprivate", "ro")


def test_records_keep_what_a_start_needs() -> None:
    """A mount comes back from its record as it was, but for what was needed to make its volume."""
    mounts = user_mounts(
        HostConfig(
            binds=("/s:/a:ro,rslave", "data:/b:nocopy"),
            mounts=(
                MountRequest(source="data", target="/c", volume_options=VolumeOptions(subpath="d")),
                MountRequest(type="tmpfs", target="/e", tmpfs_options=TmpfsOptions(options=(("exec",),))),
            ),
            tmpfs={"/t": "size=1m"},
        ),
        HOST,
    )
    points = msgspec.json.decode(msgspec.json.encode(container(*mounts)), type=Container).mounts
    assert tuple(recorded(point) for point in points) == mounts


@pytest.mark.parametrize(
    ("text", "expected"), [("box", ("box", "")), ("box:ro", ("box", "ro")), ("box:rw,z", ("box", "rw,z"))]
)
def test_reads_volumes_from(text: str, expected: tuple[str, str]) -> None:
    """A container, and perhaps a mode."""
    assert lender(text) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "invalid volume specification: ''"),
        (":ro", "invalid volume specification"),
        ("box:odd", "invalid mode: odd"),
        ("box:nocopy", "invalid mode: nocopy"),
        ("box:rslave", "invalid mode: rslave"),
    ],
)
def test_bad_volumes_from(text: str, line: str) -> None:
    """Neither propagation nor copying can be asked of mounts that another container has."""
    with pytest.raises(InvalidInput, match=line):
        lender(text)


@pytest.mark.parametrize(
    ("wish", "kind", "line"),
    [
        ({"binds": ("a/b:/t",)}, InvalidInput, 'create a/b: "a/b" includes invalid characters'),
        ({"binds": ("a:/t",)}, InvalidInput, "volume name is too short"),
        ({"binds": ("data:/t:rslave",)}, InvalidInput, "field BindOptions must not be specified"),
        ({"binds": ("/s:/t:nocopy",)}, InvalidInput, "field VolumeOptions must not be specified"),
        ({"binds": ("/t:ro",)}, InvalidInput, "invalid volume specification: '/t:ro'"),
        ({"binds": ("a1:/t:ro:z",)}, InvalidInput, "invalid volume specification"),
        ({"binds": ("/t", "data:/t")}, InvalidInput, "Duplicate mount point: /t"),
        ({"binds": ("data:/t:z,Z",)}, InvalidInput, "invalid mode: z,Z"),
        ({"binds": ("data:/t:ro,ro",)}, InvalidInput, "invalid mode: ro,ro"),
        ({"mounts": (MountRequest(target="/t", read_only=True),)}, InvalidInput, "must not set ReadOnly"),
        (
            {"mounts": (MountRequest(target="/t", volume_options=VolumeOptions(subpath="a")),)},
            InvalidInput,
            "must not set Subpath when using anonymous volumes",
        ),
        *(
            (
                {
                    "mounts": (
                        MountRequest(source="v1", target="/t", volume_options=VolumeOptions(subpath=path)),
                    )
                },
                InvalidInput,
                "subpath must be a relative path within the volume",
            )
            for path in ("/a", "..", "a/../../b", "../a")
        ),
        (
            {"mounts": (MountRequest(source="v1", target="/t", bind_options=BindOptions()),)},
            InvalidInput,
            "field BindOptions must not be specified",
        ),
        (
            {"mounts": (MountRequest(type="image", target="/t"),)},
            InvalidInput,
            'invalid mount config for type "image": field Source must not be empty',
        ),
        (
            {"mounts": (MountRequest(type="tmpfs", target="/t", id_map="0-1-2"),)},
            InvalidInput,
            "idmap is for binds and volumes",
        ),
        (
            {"mounts": (MountRequest(type="tmpfs", target="/t", tmpfs_options=TmpfsOptions(size_bytes=-1)),)},
            InvalidInput,
            "cannot be negative",
        ),
    ],
)
def test_what_cannot_be_is_refused(wish: dict[str, Any], kind: type[CortenError], line: str) -> None:
    """Each contradiction is refused in Docker's words."""
    with pytest.raises(kind, match=line):
        user_mounts(HostConfig(**wish), HOST)


@pytest.mark.parametrize(
    "request_",
    [
        MountRequest(type="bind", source="/s", target="/t", id_map="0-1-2"),
        MountRequest(
            type="bind",
            source="/s",
            target="/t",
            read_only=True,
            bind_options=BindOptions(read_only_force_recursive=True),
        ),
    ],
)
def test_what_an_old_kernel_cannot_do(request_: MountRequest) -> None:
    """It is refused when the container is created, and says from which version on it works."""
    old = replace(HOST, recursive_readonly=False)
    with pytest.raises(Unsupported, match=r"Linux 5\.12 can"):
        user_mounts(HostConfig(mounts=(request_,)), old)
