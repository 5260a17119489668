"""Hostile images and commands: nothing of the host changes, a start fails closed or lands inside.

Each test is an attack that worked on a container engine once. What must not
change is watched as a whole: a folder of canaries on the host that links lead
to, and the interpreter, the libraries and the package that the engine runs.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import REPOSITORY, running_engine
from tests.e2e.images import ROOT_ROW, Tree
from tests.e2e.tools import unique

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Iterator
    from subprocess import CompletedProcess

    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

RAN = 42  # exit code of what must have run inside
PROGRAM = ["sh", "-c", f"exit {RAN}"]
DESCRIPTORS = range(3, 65)
REFUSALS = {errno.EROFS, errno.ETXTBSY, errno.EPERM, errno.EACCES, errno.ENOENT, errno.ESRCH}
STARTS = 25  # of a race
MASKED = [path for path in ("/proc/interrupts", "/proc/keys", "/proc/kcore") if os.path.exists(path)]
KERNEL = [Path("/proc/sys/kernel", name) for name in ("core_pattern", "modprobe", "hostname", "sysrq")]

# what a name in the image is a link to; {} is the canary folder of the host
FORMS = {
    "absolute": "{}/new",
    "existing": "{}/old",
    "dots": "../../../../../../../..{}/new",
    "magic": "/proc/1/root{}/new",
    "own-folder": "/proc/self/cwd/../../..{}/new",
    "loop": "/loop",
}
# names that every container needs, each with what is to follow for the file system to be whole
NEEDED = ("proc", "sys", "dev", "etc", "etc/hosts", "etc/resolv.conf", "etc/hostname", ".dockerenv")
# names that are only looked up when somebody wants something there
WISHES: dict[str, dict[str, Any]] = {
    "folder": {"HostConfig": {"Binds": ["{source}:/folder"]}},
    "folder/below": {"HostConfig": {"Binds": ["{source}:/folder/below"]}},
    "file": {"HostConfig": {"Binds": ["{source}/file:/file:ro"]}},
    "scratch": {"HostConfig": {"Tmpfs": {"/scratch": ""}}},
    "work": {"WorkingDir": "/work"},
    "work/below": {"WorkingDir": "/work/below"},
    "init": {"HostConfig": {"Init": True}},
    "node": {"HostConfig": {"Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/node"}]}},
}
LINKS = ("folder", "file", "scratch", "work", "usr/sbin/docker-init", "node")

USERS = {
    "": "starts",
    "root": "starts",
    "user": "starts",
    "1000:wheel": "unable to find group wheel",
    "nobody": "unable to find user nobody",
    "n\N{LATIN SMALL LETTER O WITH DIAERESIS}": "unable to find user n",
    "99999999999": "must be in range",
}

# inside, by the engine's own interpreter: is its file held so that nobody can write it, and may it be opened for that
OVERWRITE = """
import fcntl, os
held = os.open("/proc/self/exe", os.O_RDONLY)
os.set_inheritable(held, True)
sealed = os.fstatvfs(held).f_flag & os.ST_RDONLY
if not sealed:
    sealed = fcntl.fcntl(held, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE
print("interpreter runs", "sealed" if sealed else "unsealed", flush=True)
os.execv("/bin/sh", ["sh", "-c", f"(: >>/proc/self/fd/{held}) 2>&1 && echo opened"])
"""
# inside: try to get a writable handle of whatever comes by
HUNT = """
import json, os, sys
seen = set()
print("hunting", flush=True)
while not os.path.exists("/gate/closed"):
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            for path in (f"/proc/{name}/exe", f"/proc/{name}/cwd/canary", f"/proc/{name}/root/../canary"):
                try:
                    os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
                    seen.add(0)
                except OSError as failure:
                    seen.add(failure.errno)
print(json.dumps(sorted(seen)))
"""


@pytest.fixture(scope="module")
def engine(small_tar: Path) -> Iterator[Engine]:
    """An engine with the small image."""
    with running_engine() as engine:
        engine.import_tree(small_tar, "small")
        yield engine


@pytest.fixture
def canaries(engine: Engine, tmp_path: Path) -> Iterator[Path]:
    """A folder of the host which is the same afterwards, and with it what hostile images aim at."""
    folder = tmp_path / "canaries"
    (folder / "old" / "below").mkdir(parents=True)
    (folder / "old" / "canary").write_text("alive")
    (folder / "canary").write_text("alive")
    (folder / "link").symlink_to("old")
    before = fingerprint(folder), host(engine)
    yield folder
    assert (fingerprint(folder), host(engine)) == before


def fingerprint(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return what there is below *folder*: kinds, modes, owners, times, content."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        facts = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (
            facts.st_mode,
            facts.st_uid,
            facts.st_gid,
            facts.st_mtime_ns,
            facts.st_ino,
            content,
        )
    return found


def host(engine: Engine) -> list[str]:
    """Return the settings of the host's kernel that an escape would aim at, and the host's mounts."""
    settings = [path.read_text() for path in KERNEL if path.exists()]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return [*settings, *sorted(line for line in mounts if engine.base in line)]


def attempt(engine: Engine, image: str, command: list[str] | None = None, **wishes: Any) -> str:
    """Create, start, wait for and remove a container; return why it could not start, empty when it ran as it should."""
    host_config = {"NetworkMode": "none", **wishes.pop("HostConfig", {})}
    body = {"Image": image, "Cmd": command or PROGRAM, "HostConfig": host_config, **wishes}
    status, answer = engine.api("POST", "/containers/create", body)
    assert status == 201, answer
    path = f"/containers/{answer['Id']}"
    try:
        status, answer = engine.api("POST", f"{path}/start")
        if status != 204:
            return one_line(answer)
        assert engine.api("POST", f"{path}/wait")[1]["StatusCode"] == RAN
        return ""
    finally:
        assert engine.api("DELETE", path, force="1")[0] == 204


def one_line(answer: Any) -> str:
    """Return the message of a refusal, which is one line of words."""
    message = str(answer["message"])
    assert message.strip()
    assert "\n" not in message.strip()
    assert "Traceback" not in message
    return message


@contextmanager
def image(engine: Engine, tree: Tree, tmp_path: Path) -> Iterator[str]:
    """Lend an image of *tree*."""
    name = unique("hostile")
    path = tree.save(tmp_path / f"{name}.tar")
    engine.import_tree(path, name)
    path.unlink()
    try:
        yield name
    finally:
        assert engine.api("DELETE", f"/images/{name}")[0] == 200


def usual(shell: list[tuple[tarfile.TarInfo, bytes]]) -> Tree:
    """Return the tree of a shell, with what a test adds still to come."""
    return Tree(shell).folder("tmp", 0o1777)


# the working folder


def test_no_working_folder_by_a_descriptor(engine: Engine, canaries: Path) -> None:
    """A WORKDIR below /proc/self/fd, which would be a folder of the host's, is refused for each (CVE-2024-21626)."""
    for number in DESCRIPTORS:
        for path in (f"/proc/self/fd/{number}", f"/proc/self/fd/{number}/tmp"):
            reason = attempt(engine, "small", WorkingDir=path)
            assert reason.startswith(f'exec: chdir to working directory "{path}" failed: ')


def test_no_working_folder_by_a_descriptor_in_exec(engine: Engine, canaries: Path) -> None:
    """``exec -w`` the same (CVE-2024-21626); the exec says so by its exit code, and nothing has run."""
    with lasting(engine, "small") as name:
        for number in DESCRIPTORS:
            for path in (f"/proc/self/fd/{number}", f"/proc/1/fd/{number}"):
                assert execute(engine, name, PROGRAM, WorkingDir=path) not in (0, RAN), path


def test_no_working_folder_by_other_magic_links(engine: Engine, canaries: Path) -> None:
    """Roots and working folders of processes are no way either."""
    for path in ("/proc/self/cwd", "/proc/self/root", "/proc/1/cwd", "/proc/thread-self/root/tmp"):
        assert attempt(engine, "small", WorkingDir=path), path


@contextmanager
def lasting(engine: Engine, of: str, *command: str, **host_config: Any) -> Iterator[str]:
    """Lend a container that runs until it is removed."""
    name = unique()
    body = {
        "Image": of,
        "Cmd": list(command) or ["sleep", "1000"],
        "HostConfig": {"NetworkMode": "none", **host_config},
    }
    assert engine.api("POST", "/containers/create", body, name=name)[0] == 201
    try:
        status, answer = engine.api("POST", f"/containers/{name}/start")
        assert status == 204, answer
        yield name
    finally:
        engine.api("DELETE", f"/containers/{name}", force="1")


def execute(engine: Engine, name: str, command: list[str], **wishes: Any) -> int:
    """Run one more program in a container; return its exit code, -1 when it was refused at once."""
    status, answer = engine.api(
        "POST", f"/containers/{name}/exec", {"Cmd": command, "AttachStdout": True, **wishes}
    )
    if status != 201:
        return -1
    identifier = answer["Id"]
    engine.api("POST", f"/exec/{identifier}/start", {"Detach": False})
    return int(engine.api("GET", f"/exec/{identifier}/json")[1]["ExitCode"])


# the engine's own program


@pytest.fixture
def programs(engine: Engine) -> Iterator[None]:
    """Interpreter, the libraries that the supervisor has mapped, and the package: the same afterwards."""
    words = Path(f"/proc/{engine.supervisor}/maps").read_text().split()
    mapped = {Path(word) for word in words if word.startswith("/") and os.path.isfile(word)}
    paths = sorted({*mapped, Path(sys.executable).resolve(), *(REPOSITORY / "src").rglob("*.py")})
    before = sums(paths)
    yield
    assert sums(paths) == before


def sums(paths: list[Path]) -> dict[Path, str]:
    """Return the SHA-256 of files."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def with_interpreter(**more: str) -> dict[str, Any]:
    """Return what a container needs for the engine's interpreter to be at home there."""
    folders = {"/usr", sys.base_prefix} if not sys.base_prefix.startswith("/usr") else {"/usr"}
    binds = [f"{folder}:{folder}:ro" for folder in sorted(folders)]
    return {"Binds": [*binds, *(f"{source}:{target}:ro" for target, source in more.items())]}


HOME = f"PYTHONHOME={sys.base_prefix}"


@pytest.mark.usefixtures("programs")
def test_a_container_that_runs_the_engines_interpreter_cannot_write_it(engine: Engine) -> None:
    """A program /proc/self/exe becomes the interpreter, whose file cannot be opened for writing (CVE-2019-5736)."""
    try_to_overwrite(engine, "small", "/proc/self/exe", "-I", "-S", "-c", OVERWRITE)


@pytest.mark.usefixtures("programs")
def test_scripts_that_name_the_engines_interpreter(
    engine: Engine, shell: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path
) -> None:
    """``#!/proc/self/exe`` harms nothing, nor does a program that is a link to it (CVE-2019-5736)."""
    tree = usual(shell).file("script", f"#!/proc/self/exe -I\n{OVERWRITE}", 0o755)
    with image(engine, tree.link("program", "/proc/self/exe"), tmp_path) as name:
        try_to_overwrite(engine, name, "/script")
        try_to_overwrite(engine, name, "/program", "-c", OVERWRITE)


def try_to_overwrite(engine: Engine, of: str, program: str, *words: str) -> None:
    """Have *program* attack by run and by exec."""
    wishes = with_interpreter()
    binds = [word for bind in wishes["Binds"] for word in ("-v", bind)]
    mode = ("--rm", "--network", "none", *binds, "-e", HOME, "--entrypoint", program)
    check_overwrite(engine.docker("run", *mode, of, *words, check=False))
    with lasting(engine, of, **wishes) as name:
        check_overwrite(engine.docker("exec", "-e", HOME, name, program, *words, check=False))


def check_overwrite(done: CompletedProcess[str]) -> None:
    """The interpreter of the engine has run inside, but from a mount or a copy that nobody can write.

    That the file is busy keeps nobody out who waits until it is not, hence the look at what holds it.
    """
    assert done.returncode != 0
    assert "opened" not in done.stdout
    assert "interpreter runs sealed" in done.stdout, done
    assert any(os.strerror(number) in done.stdout for number in REFUSALS), done


@pytest.mark.usefixtures("programs")
def test_nobody_gets_hold_of_a_child_that_is_still_the_engine(engine: Engine, tmp_path: Path) -> None:
    """A container that watches for processes of exec finds no handle to write the interpreter by (CVE-2019-5736)."""
    interpreter = str(Path(sys.executable).resolve())
    binds = with_interpreter(**{"/gate": str(tmp_path)})
    with lasting(engine, "small", interpreter, "-I", "-S", "-c", HUNT, **binds) as name:
        for _ in range(STARTS):
            assert execute(engine, name, PROGRAM) == RAN
        (tmp_path / "closed").touch()
        assert engine.api("POST", f"/containers/{name}/wait")[1]["StatusCode"] == 0
        first, last = engine.docker("logs", name).stdout.splitlines()
        assert first == "hunting"
        assert set(json.loads(last)) <= REFUSALS


# links in the image


@pytest.mark.parametrize("place", NEEDED)
def test_links_where_every_container_has_something(
    engine: Engine, canaries: Path, shell: list[tuple[tarfile.TarInfo, bytes]], place: str, tmp_path: Path
) -> None:
    """A link to the host in place of a mount's target (CVE-2019-16884, -2021-30465, -2025-31133, -52565, -52881)."""
    for form, target in FORMS.items():
        tree = usual(shell).link("loop", "loop").link(place, target.format(canaries))
        with image(engine, tree, tmp_path) as name:
            reason = attempt(engine, name)
            assert reason or place not in ("proc", "sys", "dev"), form


@pytest.mark.parametrize("form", FORMS)
def test_links_where_something_is_asked_for(
    engine: Engine, canaries: Path, shell: list[tuple[tarfile.TarInfo, bytes]], form: str, tmp_path: Path
) -> None:
    """A link in place of what the user mounts, or of WORKDIR, makes no folder on the host (CVE-2026-55686)."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("bound")
    tree = usual(shell).link("loop", "loop")
    for place in LINKS:
        tree.link(place, FORMS[form].format(canaries))
    with image(engine, tree, tmp_path) as name:
        for wish in WISHES.values():
            attempt(engine, name, **json.loads(json.dumps(wish).replace("{source}", str(source))))
    assert sorted(path.name for path in source.iterdir()) == ["file"]


def test_chains_of_links(
    engine: Engine, canaries: Path, shell: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path
) -> None:
    """Links by way of links and of folders that are links lead no further than one."""
    tree = usual(shell).link("one", "two/../two").link("two", "three").link("three", f"../..{canaries}")
    tree.link("file", "one/new").link("work", "/one/new/deeper")
    with image(engine, tree, tmp_path) as name:
        attempt(engine, name, WorkingDir="/work")
        attempt(engine, name, WorkingDir="/one/made")
        attempt(engine, name, HostConfig={"Binds": [f"{canaries}/canary:/file:ro"]})
        attempt(engine, name, HostConfig={"Binds": [f"{canaries}/old:/one/made:ro"]})
        attempt(engine, name, HostConfig={"Tmpfs": {"/one/made": ""}})


def test_a_sibling_that_swaps_a_shared_folder(engine: Engine, canaries: Path, tmp_path: Path) -> None:
    """A mount below a volume whose folder turns into a link and back all the time lands inside (CVE-2021-30465)."""
    shared, source = tmp_path / "shared", tmp_path / "source"
    (shared / "folder").mkdir(parents=True)
    (shared / "link").symlink_to(canaries)
    source.mkdir()
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            exchange(shared / "folder", shared / "link")

    sibling = threading.Thread(target=swap)
    sibling.start()
    try:
        for number in range(STARTS):
            binds = [f"{shared}:/shared", f"{source}:/shared/folder/new{number}"]
            attempt(engine, "small", HostConfig={"Binds": binds})
    finally:
        done.set()
        sibling.join()


def exchange(one: Path, other: Path) -> None:
    """Let two names change places at once; see renameat2(2), RENAME_EXCHANGE."""
    here = -100  # AT_FDCWD
    ctypes.CDLL(None).renameat2(here, os.fsencode(one), here, os.fsencode(other), 2)


def test_what_is_masked_is_hidden_by_the_hosts_null(
    engine: Engine, shell: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path
) -> None:
    """An image's own /dev/null does not come to lie over masked paths (CVE-2025-31133)."""
    tree = usual(shell).folder("dev").file("dev/null", "not null").link("dev/pts", "/proc").folder("proc")
    with image(engine, tree, tmp_path) as name:
        script = f"stat -c %t:%T {' '.join(MASKED)} /dev/null; cat {' '.join(MASKED)}"
        done = engine.docker("run", "--rm", "--network", "none", "-i", name, "sh", "-c", script)
        assert done.stdout.split() == ["1:3"] * (len(MASKED) + 1)


# trojans in the image


def test_nothing_of_the_image_is_loaded_into_the_engine(
    engine: Engine, shell: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path
) -> None:
    """Modules, codecs and name service libraries of the image are left alone by run and exec (CVE-2019-14271)."""
    tree = trojans(usual(shell))
    canary = tmp_path / "canary"
    canary.mkdir()
    binds = {"Binds": [f"{canary}:/canary"]}
    with image(engine, tree, tmp_path) as name:
        for user, reason in USERS.items():
            assert reason in (attempt(engine, name, User=user, HostConfig=binds) or "starts")
        for wishes in (
            {"Tty": True},
            {"WorkingDir": "/etc/passwd"},
            {"Env": ["PYTHONHOME=/usr", "LC_ALL=C"]},
        ):
            attempt(engine, name, HostConfig=binds, **wishes)
        for program in ("nosuchprogram", "/etc/passwd", "/tmp", "\N{SNOWMAN}"):
            assert attempt(engine, name, [program], HostConfig=binds)
        with lasting(engine, name, **binds) as running:
            for wishes in ({}, {"User": "user"}, {"User": "nobody"}, {"Tty": True}, {"WorkingDir": "/none"}):
                execute(engine, running, PROGRAM, **wishes)
            execute(engine, running, ["nosuchprogram"])
    assert list(canary.iterdir()) == []


def trojans(tree: Tree) -> Tree:
    """Add whatever a process could load that runs Python or asks for users; to open a FIFO would stop it for ever."""
    code = "import os\nos.close(os.open(f'/canary/{os.getpid()}-{__name__}', os.O_CREAT | os.O_WRONLY))\n"
    folders = {entry for entry in sys.path if entry.startswith("/")} | {
        str(REPOSITORY / "src"),
        "/usr/lib/python3",
    }
    for folder in sorted(folders):
        at = folder.strip("/")
        for module in (*sorted(sys.stdlib_module_names), "sitecustomize", "usercustomize"):
            if folder.endswith("lib-dynload"):
                continue
            tree.file(f"{at}/{module}.py", code)
        for package in ("encodings", "corten", "json", "ctypes"):
            tree.file(f"{at}/{package}/__init__.py", code)
        for codec in ("idna", "ascii", "latin_1", "utf_8", "punycode", "unicode_escape", "aliases"):
            tree.file(f"{at}/encodings/{codec}.py", code)
    for library in ("files", "compat", "dns", "systemd"):
        tree.fifo(f"usr/lib/libnss_{library}.so.2")
    tree.fifo("etc/nsswitch.conf").file("etc/passwd", f"{ROOT_ROW}user:x:1000:1000::/:/bin/sh\n")
    return tree.fifo("etc/group").fifo("etc/gshadow").file("etc/ld.so.preload", "")
