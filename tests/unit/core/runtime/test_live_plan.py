"""The plan of a child that changes the mounts of a running container."""

from corten.core.runtime.init.child import STEPS, describe
from corten.core.runtime.live_plan import live_plan
from corten.oci.spec import Mount


def test_the_container_is_entered_last() -> None:
    """Sources are looked up where the host's mounts are seen, and only then is the container entered."""
    plan = live_plan([Mount("/data", "bind", "/srv", ("rbind", "ro"))], [Mount("/scratch", "tmpfs", "tmpfs")])
    assert plan == [
        (
            "prepare_mounts",
            {
                "index": 1,
                "add": [{"target": "/data", "kind": "bind", "source": "/srv", "options": ["rbind", "ro"]}],
                "remove": [{"target": "/scratch", "kind": "tmpfs", "source": "tmpfs", "options": []}],
            },
        ),
        ("exchange_mounts", {"index": 0}),
        ("leave", {}),
    ]


def test_the_child_knows_every_step() -> None:
    """A plan names steps that init has; it can be printed."""
    plan = live_plan([], [])
    assert {name for name, _ in plan} <= set(STEPS)
    assert describe(plan).startswith("  1 prepare_mounts")
