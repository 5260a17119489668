"""Volumes and mounts in Docker's JSON."""

from corten.engine.records.container import MountPoint
from corten.engine.records.volume import Volume
from corten.serve.api import volume_wire

VOLUME = Volume(name="v", created="2026-01-01T00:00:00.123456789Z", mountpoint="/v/_data")


def test_a_volume_has_what_clients_read() -> None:
    """Null for what is empty, and no fraction of a second."""
    assert volume_wire.volume(VOLUME) == {
        "CreatedAt": "2026-01-01T00:00:00Z",
        "Driver": "local",
        "Labels": None,
        "Mountpoint": "/v/_data",
        "Name": "v",
        "Options": None,
        "Scope": "local",
    }


def test_what_was_found_out_stands_beside() -> None:
    """What the driver says, and how much is used by how many, where that was asked for."""
    found = volume_wire.volume(VOLUME, {"Used": 1}, (5, 2))
    assert found["Status"] == {"Used": 1}
    assert found["UsageData"] == {"Size": 5, "RefCount": 2}


def test_mounts_of_volumes_have_a_name() -> None:
    """And a driver; others have neither."""
    mount = MountPoint("volume", "/v/_data", "/data", "z", name="v", driver="local")
    assert volume_wire.mount(mount) == {
        "Type": "volume",
        "Name": "v",
        "Source": "/v/_data",
        "Destination": "/data",
        "Driver": "local",
        "Mode": "z",
        "RW": True,
        "Propagation": "",
    }
    bind = volume_wire.mount(MountPoint("bind", "/src", "/dst", rw=False))
    assert bind == {
        "Type": "bind",
        "Source": "/src",
        "Destination": "/dst",
        "Mode": "",
        "RW": False,
        "Propagation": "rprivate",
    }


def test_what_docker_does_not_list_is_left_out() -> None:
    """Such as what ``--tmpfs`` makes."""
    mounts = (MountPoint("tmpfs", "", "/t", listed=False), MountPoint("tmpfs", "", "/u"))
    assert [each["Destination"] for each in volume_wire.mounts(mounts)] == ["/u"]
