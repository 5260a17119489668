"""bootstrap: a Debian image out of this machine's archive, clean and reproducible; or nothing."""

import asyncio
import contextlib
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from corten.core.distribution.registries import Registries
from corten.core.distribution.settings import RegistrySettings
from corten.engine.images import bootstrap
from corten.engine.images.service import Images
from corten.engine.images.stores import Stores
from corten.errors import NotFound, OutOfSpace, Unavailable
from corten.oci.reference import Reference
from tests.unit.engine.images.samples import Told, claimed, kept, open_stores

pytestmark = pytest.mark.root
PATIENCE = 20.0  # seconds


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    """Empty stores on the disk."""
    return open_stores(str(tmp_path / "engine"))


def service(stores: Stores, tmp_path: Path, machine: bootstrap.Machine) -> Images:
    """Return the verbs over *stores*."""

    def ignore(kind: str, action: str, identifier: str, attributes: Mapping[str, str]) -> None:
        assert (kind, action) == ("image", "tag")
        assert identifier
        assert attributes["name"].startswith("debian:")

    registries = Registries(RegistrySettings())
    return Images(stores, str(tmp_path / "making"), lambda _: [], ignore, machine, registries)


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of mmdebstrap; the test writes what it does."""
    program = tmp_path / "mmdebstrap"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(bootstrap, "MMDEBSTRAP", str(program))
    return program


@pytest.fixture
def machine(tmp_path: Path) -> bootstrap.Machine:
    """A Debian machine with one archive that is never asked."""
    apt = tmp_path / "apt"
    apt.mkdir()
    (apt / "sources.list").write_text("deb http://localhost:1/debian bookworm main\n")
    (tmp_path / "os-release").write_text("VERSION_CODENAME=bookworm\n")
    return bootstrap.Machine(apt=apt, os_release=tmp_path / "os-release", environment={"CANARY": "yes"})


@pytest.fixture
def debian() -> bootstrap.Machine:
    """This machine, if it can make a base image."""
    here = bootstrap.Machine()
    if not shutil.which(bootstrap.MMDEBSTRAP) or not bootstrap.codename(here):
        pytest.skip("needs Debian and mmdebstrap: apt-get install mmdebstrap")
    return here


def inside(stores: Stores, name: str) -> Path:
    """Return the folder that holds the tree of an image of one layer."""
    image = stores.images.find(name)
    assert image.chain_id is not None
    return Path(stores.snapshots.info(image.chain_id).directory)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_base_image(stores: Stores, tmp_path: Path, debian: bootstrap.Machine) -> None:
    """The image is Debian, named by release and latest, and holds nothing of the host or of its making."""
    told = Told()
    identifier = asyncio.run(service(stores, tmp_path, debian).bootstrap(None, ["less"], "", told))
    suite = bootstrap.codename(debian)
    (image,) = stores.images.all()
    assert (image.id, image.references) == (
        identifier,
        (f"docker.io/library/debian:{suite}", "docker.io/library/debian:latest"),
    )
    config = stores.config(image.id)
    assert config.defaults.cmd == ("bash",)
    assert [step.created_by for step in config.fields.history or ()] == [
        f"corten image bootstrap debian:{suite}"
    ]
    percents = [m["progressDetail"]["current"] for m in told.messages if m.get("id") == "bootstrap"]
    assert percents == sorted(percents)
    assert len(percents) > 4
    check_tree(inside(stores, "debian"), suite)
    assert os.listdir(tmp_path / "making") == []
    assert kept(stores) == claimed(image)


def check_tree(root: Path, suite: str) -> None:
    """Look at what must, and what must not, be in a base image."""
    assert f"VERSION_CODENAME={suite}" in (root / "etc/os-release").read_text()
    assert (root / "usr/bin/less").exists()
    for name in ("etc/hostname", "etc/resolv.conf"):
        found = (root / name).stat()
        assert (found.st_size, stat.S_IMODE(found.st_mode)) == (0, 0o644)
    for name in ("var/lib/apt/lists", "var/cache/apt/archives", "etc/apt/sources.list.d"):
        files = [path.name for path in (root / name).iterdir() if path.is_file()]
        assert set(files) <= {"lock", "debian.sources"}
    assert "main" in (root / "etc/apt/sources.list.d/debian.sources").read_text()
    assert not (root / "etc/apt/apt.conf.d/00bootstrap").exists()
    assert [path for path in (root / "var/log").rglob("*") if path.is_file() and path.stat().st_size] == []
    identity = root / "etc/machine-id"
    assert not identity.exists() or not identity.read_bytes().strip()


def test_progress_and_result_of_the_program(
    stores: Stores, tmp_path: Path, machine: bootstrap.Machine, script: Path
) -> None:
    """Stages and packages are told, the tar becomes the image, the machine's variables reach the program."""
    script.write_text(
        "#!/bin/sh\n"
        'echo "I: running apt-get update..." >&2; echo "Unpacking bash (5.2) ..." >&2; echo "I: done" >&2\n'
        'cd "$TMPDIR" && mkdir r && echo "$CANARY $SOURCE_DATE_EPOCH" > r/canary && tar -cf root.tar -C r .\n'
    )
    told = Told()
    asyncio.run(service(stores, tmp_path, machine).bootstrap("bookworm", [], "", told))
    assert told.messages[0] == {
        "status": "running apt-get update",
        "progressDetail": {"current": 2, "total": 100},
        "id": "bootstrap",
    }
    assert told.messages[1] == {"status": "Unpacking bash", "id": "package"}
    assert (inside(stores, "debian:bookworm") / "canary").read_text().startswith("yes 1")
    assert stores.images.named(Reference.parse("debian")) is None


@pytest.mark.parametrize(
    ("said", "kind"),
    [("E: no network", Unavailable), ("dpkg: error: No space left on device", OutOfSpace), ("", Unavailable)],
)
def test_a_failure_says_what_the_program_said(
    stores: Stores, tmp_path: Path, machine: bootstrap.Machine, script: Path, said: str, kind: type[Exception]
) -> None:
    """The last words of the program are in the message, and nothing is left."""
    script.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit 3\n')
    with pytest.raises(kind, match=r"no network|no space|said nothing"):
        asyncio.run(service(stores, tmp_path, machine).bootstrap("bookworm", [], "", Told()))
    assert os.listdir(tmp_path / "making") == []
    assert kept(stores) == (set(), set())


def test_a_missing_program_is_named(
    stores: Stores, tmp_path: Path, machine: bootstrap.Machine, script: Path
) -> None:
    """The failure says which package to install."""
    script.unlink()
    with pytest.raises(Unavailable, match="apt-get install mmdebstrap"):
        asyncio.run(service(stores, tmp_path, machine).bootstrap("bookworm", [], "", Told()))


def test_a_release_nobody_has(
    stores: Stores, tmp_path: Path, machine: bootstrap.Machine, script: Path
) -> None:
    """Without an archive that could have it, the program is not even started."""
    (machine.apt / "sources.list").write_text("")
    script.write_text("#!/bin/sh\nexit 9\n")
    with pytest.raises(NotFound, match="bookworm"):
        asyncio.run(service(stores, tmp_path, machine).bootstrap("bookworm", [], "", Told()))


def marked(mark: str) -> Iterator[str]:
    """Yield the processes whose environment holds *mark*."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes():
                yield folder.name


def test_cancelling_ends_everything(
    stores: Stores, tmp_path: Path, machine: bootstrap.Machine, script: Path
) -> None:
    """Children that left the session, and mounts, are gone when the request is; so is the folder."""
    script.write_text(
        "#!/bin/sh\n"
        'mkdir "$TMPDIR/m" && mount -t tmpfs none "$TMPDIR/m" || exit 1\n'
        "setsid sh -c 'trap \"\" TERM INT HUP; while :; do sleep 100; done' >/dev/null 2>&1 &\n"
        'echo "I: done" >&2\nsleep 100\n'
    )
    images = service(stores, tmp_path, machine)
    mark = f"TMPDIR={tmp_path}/making/"

    async def cancel() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(images.bootstrap("bookworm", [], "", lambda _: begun.set()))
        await asyncio.wait_for(begun.wait(), PATIENCE)
        assert len(list(marked(mark))) >= 3
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    deadline = time.monotonic() + PATIENCE
    while list(marked(mark)) and time.monotonic() < deadline:
        os.sched_yield()
    assert list(marked(mark)) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert os.listdir(tmp_path / "making") == []
