"""commit: the configuration of the new image, and the moment that its layer shows."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from corten.engine.containers.commit import Committing, Order, committed
from corten.engine.containers.parts import Parts
from corten.engine.containers.status import Status
from corten.engine.records.config import ContainerConfig, Healthcheck
from corten.errors import Conflict, InvalidInput, OutOfSpace
from corten.oci.image import Defaults
from tests.unit.engine.containers.test_status import container

OWN = ContainerConfig(
    image="debian",
    hostname="c1",
    tty=True,
    user="app",
    env=("PATH=/bin", "A=1"),
    cmd=("serve", "-v"),
    entrypoint=("/init",),
    labels={"a": "1"},
    working_dir="/srv",
    exposed_ports={"80/tcp": {}},
    healthcheck=Healthcheck(test=("CMD", "true"), retries=3),
)


def members(*changes: str, config: ContainerConfig | None = None) -> Defaults:
    """Return what becomes of *OWN*."""
    return committed(config, OWN, changes)


def test_a_container_gives_the_image_what_an_image_can_hold() -> None:
    """Neither its host name nor its terminal go into the image."""
    made = members()
    assert made.env == ("PATH=/bin", "A=1")
    assert (made.cmd, made.entrypoint, made.user) == (("serve", "-v"), ("/init",), "app")
    assert (made.working_dir, made.labels) == ("/srv", {"a": "1"})
    assert made.healthcheck is not None
    assert made.healthcheck.retries == 3


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ('CMD ["x"]', {"cmd": ("x",), "entrypoint": ("/init",)}),
        ('ENTRYPOINT ["x"]', {"cmd": None, "entrypoint": ("x",)}),
        ("ENV A=2 B=3", {"env": ("PATH=/bin", "A=2", "B=3")}),
        ("LABEL b=2", {"labels": {"a": "1", "b": "2"}}),
        ("EXPOSE 81", {"exposed_ports": {"80/tcp": {}, "81/tcp": {}}}),
        ("USER root", {"user": "root"}),
        ("WORKDIR sub", {"working_dir": "/srv/sub"}),
        ("VOLUME /v", {"volumes": {"/v": {}}}),
        ("ONBUILD RUN x", {"on_build": ("RUN x",)}),
        ("STOPSIGNAL TERM", {"stop_signal": "TERM"}),
    ],
)
def test_changes_are_laid_over_it(change: str, expected: dict[str, Any]) -> None:
    """As a Dockerfile would; what is not named stays."""
    made = members(change)
    assert {name: getattr(made, name) for name in expected} == expected


def test_a_given_configuration_is_laid_over_it() -> None:
    """Maps and environment are united, what is empty is the container's."""
    made = members(config=ContainerConfig(env=("A=9",), labels={"b": "2"}, cmd=("y",)))
    assert made.env == ("A=9", "PATH=/bin")
    assert made.labels == {"a": "1", "b": "2"}
    assert (made.cmd, made.entrypoint, made.user) == (("y",), ("/init",), "app")


def test_changes_that_cannot_be_are_refused() -> None:
    """A change that makes no sense in a configuration is named."""
    with pytest.raises(InvalidInput, match="RUN is not a valid change command"):
        members("RUN x")


class Moment:
    """Parts that note in which order things happen."""

    def __init__(self, status: Status = Status.RUNNING, failure: Exception | None = None) -> None:
        self.noted: list[str] = []
        self.told: dict[str, dict[str, str]] = {}
        self._failure = failure
        made = replace(container(status), config=OWN, image_id="sha256:base")
        lock = asyncio.Lock()
        self.parts = cast(
            "Parts",
            SimpleNamespace(
                records=SimpleNamespace(find=lambda _: made, get=lambda _: made),
                images=SimpleNamespace(resolve=lambda name: name, derive=self._derive),
                groups=SimpleNamespace(freeze=self._note("freeze"), thaw=self._note("thaw")),
                lock=lambda _: lock,
                cgroup_path=lambda _: "/group",
                tell=self._tell,
            ),
        )

    def _note(self, word: str) -> Any:
        return lambda path: self.noted.append(f"{word} {path}")

    async def _derive(self, parent: str, step: Any, _write: Any, name: str | None) -> Any:
        self.noted.append(f"derive {parent} {name} {step.created_by}")
        if self._failure:
            raise self._failure
        return SimpleNamespace(id="sha256:new")

    def _tell(self, action: str, _: object, **attributes: str) -> None:
        self.told[action] = attributes

    def commit(self, **order: Any) -> str:
        """Commit; return the id."""
        return asyncio.run(Committing(self.parts).commit("c", Order(**order)))


@pytest.mark.parametrize(
    ("status", "pause", "noted"),
    [
        (Status.RUNNING, True, ["freeze /group", "derive sha256:base None serve -v", "thaw /group"]),
        (Status.RUNNING, False, ["derive sha256:base None serve -v"]),
        (Status.PAUSED, True, ["derive sha256:base None serve -v"]),
        (Status.EXITED, True, ["derive sha256:base None serve -v"]),
    ],
)
def test_it_stands_still_meanwhile(status: Status, pause: bool, noted: Sequence[str]) -> None:
    """A container that runs is frozen while its files are read, unless asked otherwise."""
    moment = Moment(status)
    assert moment.commit(pause=pause) == "sha256:new"
    assert moment.noted == noted


def test_it_goes_on_whatever_happens() -> None:
    """A layer that cannot be stored does not leave the container frozen."""
    moment = Moment(failure=OutOfSpace("full"))
    with pytest.raises(OutOfSpace):
        moment.commit()
    assert moment.noted[-1] == "thaw /group"
    assert list(moment.told) == ["pause", "unpause"]


@pytest.mark.parametrize(("status", "fails"), [(Status.RUNNING, True), (Status.EXITED, False)])
def test_a_container_that_is_killed_meanwhile(status: Status, fails: bool) -> None:
    """Its cgroup is gone, and the image is made all the same; a container that stays frozen is a failure."""
    moment = Moment()
    parts: Any = moment.parts

    def thaw(_: str) -> None:
        parts.records.get = lambda _: container(status)
        raise FileNotFoundError

    parts.groups.thaw = thaw
    if fails:
        with pytest.raises(FileNotFoundError):
            moment.commit()
    else:
        assert moment.commit() == "sha256:new"


def test_a_commit_is_told() -> None:
    """The event names image, name and comment."""
    moment = Moment(Status.EXITED)
    moment.commit(reference="a:1", comment="why")
    assert moment.told == {"commit": {"comment": "why", "imageID": "sha256:new", "imageRef": "a:1"}}


def test_what_is_being_removed_cannot_be_committed() -> None:
    """Its files are about to go."""
    moment = Moment(cast("Status", "removing"))
    with pytest.raises(Conflict, match="which is removing"):
        moment.commit()
