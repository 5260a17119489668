"""--mount."""

from typing import Any

import pytest

from corten.cli.create.mounts import mount


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
        ('"type=bind', 'missing " in quoted-field'),
    ],
)
def test_refuses_what_makes_no_mount(text: str, message: str) -> None:
    """The reason is one line."""
    with pytest.raises(ValueError, match=message):
        mount(text)
