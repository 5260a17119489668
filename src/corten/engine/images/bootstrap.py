"""bootstrap: a Debian base image without any registry, by mmdebstrap.

The program runs in mount and process namespaces of its own, so that killing
the one process that we started ends everything below it, and no mount of its
can stay behind. It writes a tar into a private folder, which then is imported
like any other.
Source: mmdebstrap(1), unshare(1), SOURCE_DATE_EPOCH specification.
"""

import asyncio
import os
import re
import shlex
import shutil
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from corten.engine.images import apt_sources
from corten.engine.images.unpack import Progress
from corten.errors import InvalidInput, OutOfSpace, Unavailable

MMDEBSTRAP = "/usr/bin/mmdebstrap"
UNSHARE = "/usr/bin/unshare"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
VARIANTS = ("essential", "apt", "required", "minbase", "buildd", "important", "standard")
_SUITE = re.compile(r"[a-z][a-z0-9.-]{0,62}")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(?::[a-z0-9-]+)?(?:[=/][A-Za-z0-9.+:~-]+)?")
_APT_OPTIONS = re.compile(
    r"Acquire::(?:(?:http|https|ftp)::|Retries|Check-Valid-Until|Check-Date|Queue-Mode|ForceIPv[46]|Languages)"
)
_DYING = 5.0  # seconds that killed children may take to go
_KEPT_ERRORS = 12  # last lines of output shown when it fails

# Each stage begins with a line of output; the figures are typical shares of the time, in percent.
_STAGES = (
    ("I: running apt-get update", 2),
    ("I: downloading packages", 10),
    ("I: extracting archives", 20),
    ("I: installing essential packages", 32),
    ("I: installing remaining packages", 60),
    ("I: cleaning package lists", 90),
    ("I: creating tarball", 92),
    ("I: done", 98),
)

_CLEAN = (
    'rm -f "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/etc/apt/apt.conf.d/00bootstrap '
    '"$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old "$1"/var/cache/ldconfig/aux-cache && '
    'install -m 644 /dev/null "$1"/etc/hostname && install -m 644 /dev/null "$1"/etc/resolv.conf && '
    'if [ -f "$1"/etc/apt/sources.list.d/0000*.sources ]; then '
    'mv "$1"/etc/apt/sources.list.d/0000*.sources "$1"/etc/apt/sources.list.d/debian.sources; fi'
)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What bootstrap takes from the machine it runs on.

    ``environment`` holds variables to pass on, such as ``http_proxy``.
    """

    apt: Path = Path("/etc/apt")
    os_release: Path = Path("/etc/os-release")
    environment: Mapping[str, str] = {}


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to make: a *suite* with *includes* on top of *variant*, no file newer than *epoch* (Unix seconds)."""

    suite: str
    includes: tuple[str, ...] = ()
    variant: str = "minbase"
    epoch: int = 0


def check(order: Order) -> None:
    """Refuse what mmdebstrap or apt could take for an option, a path or a pattern.

    Raises:
        InvalidInput: a suite, package or variant that cannot be one.
    """
    if not _SUITE.fullmatch(order.suite):
        raise InvalidInput(f"invalid suite {order.suite!r}: expected a Debian release such as bookworm")
    for package in order.includes:
        if not _PACKAGE.fullmatch(package):
            raise InvalidInput(f"invalid package name {package!r}")
    if order.variant not in VARIANTS:
        raise InvalidInput(f"invalid variant {order.variant!r}: expected one of {', '.join(VARIANTS)}")


def codename(machine: Machine) -> str:
    """Return the release that this machine runs, empty when it is not Debian."""
    with suppress(FileNotFoundError):
        for line in machine.os_release.read_text(errors="replace").splitlines():
            name, _, value = line.partition("=")
            if name == "VERSION_CODENAME":
                return value.strip().strip("\"'")
    return ""


async def make(order: Order, folder: str, machine: Machine, progress: Progress) -> str:
    """Run mmdebstrap in the empty private *folder*; return the path of the tar.

    Cancelling it kills the program with all its children before it returns.

    Raises:
        InvalidInput: the order cannot be one.
        NotFound: the machine uses no archive of that suite.
        Unavailable: a program is missing, or it failed; the message ends with what it said.
        OutOfSpace: it filled the disk.
    """
    check(order)
    for program, package in ((MMDEBSTRAP, "mmdebstrap"), (UNSHARE, "util-linux")):
        if not os.access(program, os.X_OK):
            raise Unavailable(f"{program} is missing: install it with 'apt-get install {package}'")
    sources = apt_sources.for_suite(apt_sources.read(machine.apt), order.suite, codename(machine))
    _write(folder, sources, await _apt_options())
    process = await asyncio.create_subprocess_exec(
        *command(order, folder, sources),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(order, folder, machine),
        cwd="/",
        start_new_session=True,
    )
    try:
        said = await _follow(process, progress)
        code = await process.wait()
    except BaseException:
        await _kill(process)
        raise
    if code:
        _fail(said, code)
    return f"{folder}/root.tar"


def _write(folder: str, sources: Sequence[apt_sources.Source], options: str) -> None:
    """Put what mmdebstrap reads into *folder*."""
    Path(folder, "debian.sources").write_text("\n".join(source.deb822() for source in sources))
    Path(folder, "apt.conf").write_text(options)


def command(order: Order, folder: str, sources: Sequence[apt_sources.Source]) -> list[str]:
    """Return the command line; everything variable in its hooks is quoted."""
    hooks = [
        f'--setup-hook=install -m 644 {shlex.quote(folder)}/apt.conf "$1"/etc/apt/apt.conf.d/00bootstrap'
    ]
    for keyring in sorted({source.keyring for source in sources if source.keyring}):
        path = shlex.quote(keyring)
        hooks.append(f'--customize-hook=[ -e "$1"{path} ] || install -D -m 644 {path} "$1"{path}')
    include = [f"--include={','.join(order.includes)}"] if order.includes else []
    return [
        *(UNSHARE, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"),
        *(MMDEBSTRAP, "--mode=root", f"--variant={order.variant}", "--format=tar", "--verbose"),
        *hooks,
        f"--customize-hook={_CLEAN}",
        *include,
        *(order.suite, f"{folder}/root.tar", f"{folder}/debian.sources"),
    ]


def _environment(order: Order, folder: str, machine: Machine) -> dict[str, str]:
    return {
        **machine.environment,
        "PATH": PATH,
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": folder,
        "DEBIAN_FRONTEND": "noninteractive",
        "SOURCE_DATE_EPOCH": str(order.epoch),
    }


async def _apt_options() -> str:
    """Return the machine's own settings for fetching (proxies, certificates), which mmdebstrap ignores."""
    program = shutil.which("apt-config", path=PATH)
    if program is None:
        return ""
    process = await asyncio.create_subprocess_exec(
        program, "dump", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    out, _ = await process.communicate()
    lines = out.decode("utf-8", "replace").splitlines()
    return "".join(f"{line}\n" for line in lines if _APT_OPTIONS.match(line))


async def _follow(process: asyncio.subprocess.Process, progress: Progress) -> list[str]:
    """Report stages and packages until the output ends; return its last lines."""
    assert process.stderr is not None
    last: deque[str] = deque(maxlen=_KEPT_ERRORS)
    while chunk := await _line(process.stderr):
        line = chunk.decode("utf-8", "replace").strip()
        if line:
            last.append(line)
        percent = next((share for begin, share in _STAGES if line.startswith(begin)), None)
        if percent is not None:
            detail = {"current": percent, "total": 100}
            progress(
                {"status": line.removeprefix("I: ").rstrip("."), "progressDetail": detail, "id": "bootstrap"}
            )
        elif line.startswith(("Unpacking ", "Setting up ")):
            progress({"status": line.partition(" (")[0], "id": "package"})
    return list(last)


async def _line(stream: asyncio.StreamReader) -> bytes:
    """Return the next line; of one that is too long, a part."""
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await stream.readexactly(error.consumed)


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill the program; the kernel kills its process namespace with it, and drops the mounts.

    The end of its output tells that the last of its children is gone.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.shield(process.wait())
    assert process.stderr is not None
    with suppress(TimeoutError):
        await asyncio.wait_for(process.stderr.read(), _DYING)


def _fail(said: Sequence[str], code: int) -> None:
    """Turn the last words of mmdebstrap into a failure."""
    if any("No space left on device" in line for line in said):
        raise OutOfSpace("no space left to make the base image: free space, for example by removing images")
    errors = [line for line in said if line.startswith(("E:", "Err:", "W:"))] or list(said)
    raise Unavailable(f"mmdebstrap ended with code {code}: {' / '.join(errors[-4:]) or 'it said nothing'}")
