"""Copying files between a volume and this machine, by the rules of cp(1) as Docker has them.

Both ways a tar stream carries the files. What comes from a volume was written
by containers, so nothing in it may choose a place: every name is walked from
an open folder without following links, and links are made, never used.
Source of the rules: Docker documentation, "docker container cp".
"""

from __future__ import annotations

import os
import posixpath
import stat
import tarfile

from corten.cli.archive import blocks
from corten.cli.client import quote
from corten.cli.demux import write
from corten.cli.failure import ApiError, Failure
from corten.cli.layout import BLOCK, Stream, packed_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from corten.cli.client import Client
    from corten.cli.connection import Response

HERE = (".", "./", "/")
IDENTITY_BITS = 0o6000  # set-user-ID and set-group-ID
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def split(text: str) -> tuple[str, str]:
    """``VOLUME:PATH`` as both; no volume for a path of this machine."""
    volume, colon, path = text.partition(":")
    if not colon or text.startswith(("/", ".")):
        return "", text
    return volume, path or "/"


def fetch(client: Client, volume: str, source: str, destination: str, *, keep_owner: bool) -> None:
    """Copy *source* of a volume to *destination*, or as a tar to stdout where that is ``-``.

    Raises:
        Failure: there is nothing, or it does not fit what is at the destination.
    """
    response = _get(client, volume, source)
    if destination == "-":
        for chunk in response.chunks():
            write(1, chunk)
        return
    with tarfile.open(fileobj=Stream(response.chunks()), mode="r|", bufsize=BLOCK) as archive:
        first = archive.next()
        if first is None:
            return
        old = first.name
        place, name = _place(destination, posixpath.basename(old), folder=first.isdir())
        target = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for member in _members(archive, first):
                member.name = _renamed(member.name, old, name)
                if member.islnk():
                    member.linkname = _renamed(member.linkname, old, name)
                extract(archive, member, target, keep_owner=keep_owner)
        finally:
            os.close(target)


def send(client: Client, source: str, volume: str, destination: str, *, keep_owner: bool) -> None:
    """Copy *source* of this machine to *destination* in a volume; ``-`` is a tar on stdin for a folder there.

    Raises:
        Failure: there is nothing, or it does not fit what is at the destination.
    """
    place, name = destination, ""
    client.get(f"/volumes/{quote(volume)}")  # tells a missing volume from a missing folder
    if source != "-":
        is_folder = stat.S_ISDIR(_status(source).st_mode)
        place, name = _remote_place(client, volume, source, destination, folder=is_folder)
    stream = blocks("-") if source == "-" else pack(source, name, keep_owner=keep_owner)
    client.upload(f"/corten/volumes/{quote(volume)}/archive", stream, path=place).read()


def _get(client: Client, volume: str, path: str) -> Response:
    return client.stream("GET", f"/corten/volumes/{quote(volume)}/archive", path=path)


def _there(client: Client, volume: str, path: str) -> bool:
    """Whether *path* is in the volume; one that ends with a slash must be a folder."""
    try:
        _get(client, volume, path).connection.close()
    except ApiError as error:
        if error.code in (400, 404):
            return False
        raise
    return True


def _remote_place(
    client: Client, volume: str, source: str, destination: str, *, folder: bool
) -> tuple[str, str]:
    """The folder to unpack into, and the name to have there: ``.`` to put the content into the folder itself."""
    bare = destination.rstrip("/") or "/"
    name = "." if source.endswith("/.") or source == "." else os.path.basename(source.rstrip("/"))
    if _there(client, volume, bare.rstrip("/") + "/"):
        return bare, name
    if not folder and destination.endswith("/"):
        raise Failure(f"{volume}:{destination} is no folder: make it first, or leave the last slash out")
    if folder and _there(client, volume, bare):
        raise Failure(f"cannot copy a folder to the file {volume}:{bare}: choose another destination")
    return posixpath.dirname(bare) or "/", posixpath.basename(bare)


def _place(destination: str, name: str, *, folder: bool) -> tuple[str, str]:
    """The folder of this machine to copy into, and the name to have there: ``.`` for the folder itself."""
    if os.path.isdir(destination):
        return destination, name
    if not folder and (destination.endswith("/") or not name):
        raise Failure(f"{destination} is no folder: make it first, or leave the last slash out")
    if folder and os.path.lexists(destination):
        raise Failure(f"cannot copy a folder to the file {destination}: choose another destination")
    above, last = os.path.split(destination.rstrip("/"))
    if not os.path.isdir(above or "."):
        raise Failure(f"{above} is no folder: make it first")
    return above or ".", last


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path) if path.endswith(("/", "/.")) else os.lstat(path)
    except OSError as error:
        raise Failure(f"lstat {path}: {(error.strerror or str(error)).lower()}") from None


def _renamed(path: str, old: str, new: str) -> str:
    """*path* of an archive whose names begin with *old*, beginning with *new*."""
    rest = path.removeprefix("./") if old in HERE else path[len(old) :].lstrip("/")
    return posixpath.join(new, "" if rest in HERE else rest).rstrip("/")


def _members(archive: tarfile.TarFile, first: tarfile.TarInfo) -> Iterator[tarfile.TarInfo]:
    yield first
    while member := archive.next():
        yield member


def extract(archive: tarfile.TarFile, member: tarfile.TarInfo, target: int, *, keep_owner: bool) -> None:
    """Make *member* below the open folder *target*; what is there gives way, a folder stays.

    Without *keep_owner* it belongs to who runs the command, and has no
    set-user-ID or set-group-ID bits.

    Raises:
        Failure: its name leads out of the folder, or through a link.
    """
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Failure(f"refusing {member.name!r}: the archive leads out of its folder")
    if not parts:
        return
    above = _walk(target, parts[:-1])
    try:
        _make(archive, member, above, parts[-1], target)
        if not member.islnk():
            _dress(member, above, parts[-1], keep_owner=keep_owner)
    finally:
        os.close(above)


def _walk(target: int, parts: list[str]) -> int:
    """Open the folder *parts* below *target*, following no link."""
    current = os.dup(target)
    for part in parts:
        try:
            following = os.open(part, FOLDER, dir_fd=current)
        except OSError as error:
            raise Failure(
                f"cannot open the folder {part}: {(error.strerror or str(error)).lower()}"
            ) from None
        finally:
            os.close(current)
        current = following
    return current


def _make(archive: tarfile.TarFile, member: tarfile.TarInfo, above: int, name: str, target: int) -> None:
    if member.isdir() and _is_folder(above, name):
        return
    _clear(above, name)
    if member.isdir():
        os.mkdir(name, 0o700, dir_fd=above)
    elif member.issym():
        os.symlink(member.linkname, name, dir_fd=above)
    elif member.islnk():
        *folders, last = [part for part in member.linkname.split("/") if part not in ("", ".", "..")]
        home = _walk(target, folders)
        try:
            os.link(last, name, src_dir_fd=home, dst_dir_fd=above, follow_symlinks=False)
        finally:
            os.close(home)
    elif member.isreg():
        _write(archive, member, above, name)
    else:
        _special(member, above, name)


def _special(member: tarfile.TarInfo, above: int, name: str) -> None:
    kinds = {tarfile.FIFOTYPE: stat.S_IFIFO, tarfile.CHRTYPE: stat.S_IFCHR, tarfile.BLKTYPE: stat.S_IFBLK}
    kind = kinds.get(member.type)
    if kind is None:
        raise Failure(f"cannot copy {member.name!r}: an archive entry of type {member.type!r} is unknown")
    device = os.makedev(member.devmajor, member.devminor) if kind != stat.S_IFIFO else 0
    os.mknod(name, kind | 0o600, device, dir_fd=above)


def _is_folder(above: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _clear(above: int, name: str) -> None:
    """Remove the file that is there; a folder is in the way."""
    try:
        os.unlink(name, dir_fd=above)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        raise Failure(f"cannot overwrite the folder {name} with a file: remove it first") from None


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, above: int, name: str) -> None:
    source = archive.extractfile(member)
    assert source is not None
    file = os.open(name, NEW, 0o600, dir_fd=above)
    try:
        while block := source.read(BLOCK):
            write(file, block)
    finally:
        os.close(file)


def _dress(member: tarfile.TarInfo, above: int, name: str, *, keep_owner: bool) -> None:
    """Give owner, mode and time; mode last, because a change of owner clears bits of it."""
    if keep_owner:
        os.chown(name, member.uid, member.gid, dir_fd=above, follow_symlinks=False)
    if member.issym():
        return
    os.chmod(name, member.mode if keep_owner else member.mode & ~IDENTITY_BITS, dir_fd=above)
    if not member.isdir():
        moment = int(float(member.mtime) * 10**9)
        os.utime(name, ns=(moment, moment), dir_fd=above)


def pack(source: str, name: str, *, keep_owner: bool) -> Iterator[bytes]:
    """Yield *source* as a tar under *name*; links below it are packed as links.

    Without *keep_owner* everything belongs to root.
    """
    top = _status(source)
    yield from _packed(source, name, top, keep_owner=keep_owner)
    if stat.S_ISDIR(top.st_mode):
        for above, folders, files in os.walk(source):
            folders.sort()
            for each in sorted([*folders, *files]):
                path = os.path.join(above, each)
                inner = posixpath.join(name, os.path.relpath(path, source))
                yield from _packed(path, inner, os.lstat(path), keep_owner=keep_owner)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _packed(path: str, name: str, found: os.stat_result, *, keep_owner: bool) -> Iterable[bytes]:
    """The header of one file, and its content."""
    member = tarfile.TarInfo(name)
    member.mode, member.mtime = stat.S_IMODE(found.st_mode), found.st_mtime
    if keep_owner:
        member.uid, member.gid = found.st_uid, found.st_gid
    if stat.S_ISREG(found.st_mode):
        return packed_file(member, path)
    if stat.S_ISLNK(found.st_mode):
        member.type, member.linkname = tarfile.SYMTYPE, os.readlink(path)
    elif stat.S_ISDIR(found.st_mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISFIFO(found.st_mode):
        member.type = tarfile.FIFOTYPE
    elif stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
        member.type = tarfile.CHRTYPE if stat.S_ISCHR(found.st_mode) else tarfile.BLKTYPE
        member.devmajor, member.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
    else:
        return ()  # a socket is nothing without its process
    return (member.tobuf(tarfile.PAX_FORMAT),)
