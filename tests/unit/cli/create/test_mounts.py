"""--mount."""

from pathlib import Path
from typing import Any

import pytest

from corten.cli.create.mounts import mount, volumes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dst=/x", {"Type": "volume", "Target": "/x"}),
        (
            "type=bind,src=/tmp,dst=/mnt,ro,bind-propagation=rslave",
            dict(Type="bind", Source="/tmp", Target="/mnt", ReadOnly=True, BindOptions={"Propagation": "rslave"}),
        ),
        ("TYPE=tmpfs,destination=/t,tmpfs-size=1m,tmpfs-mode=1770",
            dict(Type="tmpfs", Target="/t", TmpfsOptions={"SizeBytes": 1 << 20, "Mode": 0o1770})),
        (
            "type=volume,source=v,target=/v,volume-nocopy,volume-driver=d,volume-opt=a=b,volume-label=l=m,volume-subpath=s",
            dict(Type="volume", Source="v", Target="/v", VolumeOptions=dict(
                NoCopy=True, DriverConfig={"Name": "d", "Options": {"a": "b"}}, Labels={"l": "m"}, Subpath="s")),
        ),
        ('type=volume,dst=/v,"volume-opt=o=addr=1,rw"',
            dict(Type="volume", Target="/v", VolumeOptions={"DriverConfig": {"Options": {"o": "addr=1,rw"}}})),
        ("type=image,src=i,dst=/i,image-subpath=s", dict(Type="image", Source="i", Target="/i", ImageOptions={"Subpath": "s"})),
        ("type=bind,src=/a,dst=/b,readonly=false,bind-recursive=disabled",
            dict(Type="bind", Source="/a", Target="/b", ReadOnly=False, BindOptions={"NonRecursive": True})),
        ("type=bind,src=/a,dst=/b,create-src,idmap=uids=0-9-1;gids=0-9-1",
            dict(Type="bind", Source="/a", Target="/b", BindOptions={"CreateMountpoint": True}, IdMap="uids=0-9-1;gids=0-9-1")),
        ('type=tmpfs,dst=/b,tmpfs-options=exec,"tmpfs-options=uid=5,gid=6"',
            dict(Type="tmpfs", Target="/b", TmpfsOptions={"Options": [["exec"], ["uid", "5"], ["gid", "6"]]})),
    ],
)  # fmt: skip
def test_reads_every_kind(text: str, expected: dict[str, Any]) -> None:
    """All kinds with their options."""
    assert mount(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=foo,dst=/x", "invalid mount type 'foo'"),
        ("foo=1,dst=/x", "unknown option 'foo' in 'foo=1'"),
        ("src", "invalid field 'src' must be a key=value pair"),
        ("type=bind,src=/a", "target is required"),
        ("type=bind,dst=/x,tmpfs-size=1", "cannot mix 'tmpfs-\\*' options with mount type 'bind'"),
        ("dst=/x,ro=maybe", "invalid value for ro: maybe"),
        ("type=tmpfs,dst=/x,tmpfs-size=x", "invalid value for tmpfs-size: x"),
        ("type=tmpfs,dst=/x,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
        ("type=bind,src=/a,dst=/x,bind-propagation=x", "invalid value for bind-propagation: x"),
        ("type=bind,src=/a,dst=/x,bind-recursive=readonly", "requires 'readonly' to be specified"),
        ("type=tmpfs,dst=/x,idmap=0-1-2", "cannot mix 'idmap' with mount type 'tmpfs'"),
        ("type=bind,src=/a,dst=/x,idmap=", "invalid value for idmap"),
        ("type=tmpfs,dst=/x,tmpfs-options=", "invalid value for tmpfs-options"),
        ('"type=bind', 'missing " in quoted-field'),
    ],
)
def test_refuses_what_makes_no_mount(text: str, message: str) -> None:
    """The reason is one line."""
    with pytest.raises(ValueError, match=message):
        mount(text)


def test_the_short_form(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A source makes it a bind, one with a dot is seen from here; without a source it is a volume; twice is once."""
    monkeypatch.chdir(tmp_path)
    binds, anonymous = volumes(
        ["./a:/a:ro", ".:/b", "data:/c:nocopy", "/d:/d:z,rslave", "/e", "data:/c:nocopy"]
    )
    assert binds == [f"{tmp_path}/a:/a:ro", f"{tmp_path}:/b", "data:/c:nocopy", "/d:/d:z,rslave"]
    assert anonymous == {"/e": {}}
