"""Look-ups in trees that somebody else controls, and changes while we look."""

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from corten.linux import paths
from corten.linux.syscalls import KernelError, check, libc
from tests.descriptors import open_descriptors
from tests.kernel.trees import describe

pytestmark = pytest.mark.root

TEXTS = (
    *("../out/made", "../../../../out/made", "/../out/made", "way/made", "way/../made", "up/out/made"),
    *("dangling", "dangling/made", "dangling/deep/made", "chain/made", "fd/made", "cwd/made", "self/made"),
    *("a/b/../../../../out/made", "./././way/./made", "//way//made", "file/made", "loop/made", ""),
)


class Place:
    """A root full of links that lead out, beside a folder that must not change."""

    def __init__(self, folder: Path) -> None:
        self.root, self.out = folder / "root", folder / "out"
        self.root.mkdir()
        self.out.mkdir()
        (self.out / "canary").write_text("alive", encoding="utf-8")
        (self.root / "file").write_text("inside", encoding="utf-8")
        for name, target in {
            "way": str(self.out),
            "up": "..",
            "dangling": str(self.out / "made"),
            "chain": "way",
            "loop": "loop",
            "fd": "/proc/self/fd",
            "cwd": "/proc/self/cwd",
            "self": "/proc/self/root",
        }.items():
            (self.root / name).symlink_to(target)
        self.before = describe(self.out)

    def check(self) -> None:
        """Fail if anything outside has changed."""
        assert describe(self.out) == self.before


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Lend a place."""
    return Place(tmp_path)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Lend a folder as a root."""
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def where(descriptor: int) -> str:
    """Return the path of what is open, and close it."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def exchange(first: Path, second: Path) -> None:
    """Swap two names in one step; see renameat2(2), RENAME_EXCHANGE."""
    check(libc.renameat2(-100, bytes(first), -100, bytes(second), 2), f"exchange {first} and {second}")


def attempt(make: Callable[[int, str], int], root: int, text: str) -> str:
    """Return where *make* led, empty when it was refused."""
    try:
        return where(make(root, text))
    except OSError:
        return ""


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("make", [paths.make_directory, paths.make_file])
def test_nothing_is_made_outside(place: Place, make: Callable[[int, str], int], text: str) -> None:
    """Links and dots lead to places inside the root or nowhere (CVE-2021-30465)."""
    with opened(place.root) as root:
        found = attempt(make, root, text)
    assert found in ("", str(place.root)) or found.startswith(f"{place.root}/")
    place.check()


def test_links_are_followed_as_the_container_sees_them(place: Place) -> None:
    """An absolute link starts at the root, and dots end there."""
    inner = place.root / str(place.out).lstrip("/")
    inner.mkdir(parents=True)
    with opened(place.root) as root:
        assert where(paths.openat2(root, "way", os.O_PATH)) == str(inner)
        assert where(paths.openat2(root, "/../../way/../.", os.O_PATH)) == str(inner.parent)
        assert where(paths.make_file(root, "/way/made")) == str(inner / "made")


def test_magic_links_are_refused(place: Place) -> None:
    """Where the container has a /proc, its descriptor links are not followed (CVE-2024-21626)."""
    with opened(Path("/")) as root:
        for text in ("/proc/self/fd/0", "/proc/self/cwd", "/proc/self/root/etc", "/proc/self/exe"):
            with pytest.raises(KernelError) as failure:
                paths.openat2(root, text, os.O_PATH)
            assert failure.value.errno == errno.ELOOP


def test_folders_are_made_with_their_mode(place: Place) -> None:
    """What is missing is made, what is there is left alone; the descriptor is of the last."""
    (place.root / "a").mkdir(0o700)
    before = os.umask(0)
    try:
        with opened(place.root) as root:
            assert where(paths.make_directory(root, "/a/b/./c//d", 0o751)) == str(place.root / "a/b/c/d")
            assert where(paths.make_directory(root, "/a/b")) == str(place.root / "a/b")
            assert where(paths.make_directory(root, "/")) == str(place.root)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((place.root / path).stat().st_mode) for path in ("a", "a/b", "a/b/c/d")]
    assert modes == [0o700, 0o751, 0o751]


def test_files_are_made_empty_or_left_alone(place: Place) -> None:
    """An existing file keeps its content; a device or FIFO is a place too, and is not opened."""
    os.mkfifo(place.root / "fifo")
    with opened(place.root) as root:
        assert where(paths.make_file(root, "file")) == str(place.root / "file")
        assert where(paths.make_file(root, "fifo")) == str(place.root / "fifo")
        assert where(paths.make_file(root, "new/deep/file", 0o600)) == str(place.root / "new/deep/file")
    assert (place.root / "file").read_text(encoding="utf-8") == "inside"
    assert (place.root / "new/deep/file").read_bytes() == b""


@pytest.mark.parametrize(
    ("text", "number"),
    [("file/x", errno.ENOTDIR), ("loop", errno.ELOOP), ("new/../x", errno.ENOENT), ("file", errno.ENOTDIR)],
)
def test_refusals(place: Place, text: str, number: int) -> None:
    """What cannot be a folder is refused with the kernel's reason."""
    with opened(place.root) as root, pytest.raises(KernelError) as failure:
        paths.make_directory(root, text)
    assert failure.value.errno == number


def test_what_a_dangling_link_names_is_made_inside(place: Place) -> None:
    """A link that leads nowhere, such as resolv.conf's often is, is followed as if the root were ``/``."""
    with opened(place.root) as root:
        os.close(paths.make_file(root, "dangling"))
    assert Path(f"{place.root}{place.out}/made").is_file()
    place.check()


def test_relative_dangling_links_stay_inside(place: Place) -> None:
    """``..`` in the target of a link stops at the root; links to links are followed, loops refused."""
    (place.root / "etc").mkdir()
    (place.root / "etc" / "resolv.conf").symlink_to("../../../run/stub")
    (place.root / "next").symlink_to("etc/resolv.conf")
    with opened(place.root) as root:
        os.close(paths.make_file(root, "next"))
        os.close(paths.make_directory(root, "dangling/folder"))
    assert (place.root / "run" / "stub").is_file()
    assert Path(f"{place.root}{place.out}/made/folder").is_dir()
    place.check()


def test_descriptors_are_not_inherited(place: Place) -> None:
    """What is opened is close-on-exec."""
    with opened(place.root) as root:
        for descriptor in (paths.make_directory(root, "x"), paths.make_file(root, "y")):
            assert not os.get_inheritable(descriptor)
            os.close(descriptor)


def test_no_descriptor_leaks(place: Place) -> None:
    """Refused or not, nothing stays open."""
    with opened(place.root) as root:
        before = open_descriptors()
        for text in (*TEXTS, "new/a/b", "new/a/b/c"):
            attempt(paths.make_directory, root, text)
            attempt(paths.make_file, root, text + "/f")
        assert open_descriptors() == before


@pytest.mark.slow
@pytest.mark.parametrize("make", [paths.make_directory, paths.make_file])
def test_a_race_with_a_renaming_thread(place: Place, make: Callable[[int, str], int]) -> None:
    """While folders turn into links that lead out and back, nothing is made or found outside."""
    done = threading.Event()
    (place.root / "swap").mkdir()
    (place.root / "link").symlink_to("../out")

    def swap() -> None:
        while not done.is_set():
            exchange(place.root / "swap", place.root / "link")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        with opened(place.root) as root:
            for number in range(5000):
                found = attempt(make, root, f"swap/{number % 1000}/x")
                assert found == "" or found.startswith(f"{place.root}/")
    finally:
        done.set()
        thread.join()
    place.check()


@pytest.mark.slow
def test_a_race_with_dots(place: Place) -> None:
    """While a folder moves about, dots from inside it never climb over the root; see openat2(2), EAGAIN."""
    done = threading.Event()
    (place.root / "a/b/c/d").mkdir(parents=True)

    def move() -> None:
        while not done.is_set():
            (place.root / "a/b/c").rename(place.root / "c")
            (place.root / "c").rename(place.root / "a/b/c")

    thread = threading.Thread(target=move)
    thread.start()
    try:
        with opened(place.root) as root:
            for _ in range(1500):
                found = attempt(
                    lambda at, text: paths.openat2(at, text, os.O_PATH), root, "a/b/c/d/../../../../../out"
                )
                assert found == ""
    finally:
        done.set()
        thread.join()
