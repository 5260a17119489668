"""Who the user is to registries: docker's config.json, and the programs that keep secrets.

The file is Docker's own, so that whoever logged in with one client is logged
in with the other. What is in it besides logins is left as it is. Secrets go to
a program ``docker-credential-NAME`` where the file names one, ``credHelpers``
for one registry, ``credsStore`` for all; else they are kept in the file, which
is readable by its owner alone.

Source: Docker's documentation of config.json and of the credential helpers'
protocol (one request per process, on standard input and output).
"""

from __future__ import annotations

import posix
from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64

from corten.cli.failure import Failure
from corten.cli.wire import dumps, loads, pretty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HUB = "https://index.docker.io/v1/"  # the key of Docker's own registry
HUB_NAMES = ("", "docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
IDENTITY = "<token>"  # the user name that a helper gives for an identity token
FILE_MODE, FOLDER_MODE = 0o600, 0o700
ABSENT = ("credentials not found in native keychain", "credentials server URL")


class Login:
    """Who the user is to one registry; an identity token stands in for the password."""

    __slots__ = ("password", "server", "token", "username")

    def __init__(self, server: str, username: str, password: str, token: str = "") -> None:
        self.server, self.username, self.password, self.token = server, username, password, token

    def body(self) -> dict[str, str]:
        """The login as the Engine API wants it."""
        body = {"username": self.username, "serveraddress": self.server}
        return body | ({"identitytoken": self.token} if self.token else {"password": self.password})


def header(name: str) -> str:
    """The header line that tells the daemon who the user is to the registry of the image *name*."""
    login = Credentials().find(server_of(name))
    body = dumps(login.body() if login else {}).encode()
    text = b2a_base64(body, newline=False).decode().replace("+", "-").replace("/", "_")
    return f"X-Registry-Auth: {text}\r\n"


def domain_of(name: str) -> str:
    """The registry that the image *name* is in, ``docker.io`` where it says none."""
    first, slash, _ = name.partition("/")
    named = slash and (any(mark in first for mark in ".:") or first == "localhost" or first != first.lower())
    return first if named and first not in HUB_NAMES else "docker.io"


def full_name(name: str) -> str:
    """*name* written out: ``docker.io/library/debian:12`` for ``debian:12``."""
    domain = domain_of(name)
    if domain != "docker.io":
        return name
    first, _, rest = name.partition("/")
    path = rest if rest and first in HUB_NAMES else name
    return f"docker.io/{path if '/' in path else f'library/{path}'}"


def server_of(name: str) -> str:
    """The key under which the login for the registry of the image *name* is kept."""
    return server(domain_of(name))


def server(text: str) -> str:
    """The key for a registry that the user names by its host or address."""
    host = hostname(text)
    return HUB if host in HUB_NAMES else host


def hostname(text: str) -> str:
    """``host[:port]`` of an address."""
    return (text.partition("://")[2] or text).partition("/")[0]


class Credentials:
    """The logins that the user's file and its helpers know.

    Raises:
        Failure: the file is not what it should be.
    """

    def __init__(self) -> None:
        self.folder = _folder()
        self.path = f"{self.folder}/config.json"
        self._config = _read(self.path)

    def find(self, key: str) -> Login | None:
        """The login for the registry *key*; None if the user has none.

        Raises:
            Failure: a helper cannot be run, or fails.
        """
        helper = self.helper(key)
        if helper:
            return _from_helper(helper, key)
        return self._in_file(key)

    def helper(self, key: str) -> str:
        """The name of the helper that keeps the secrets of *key*; empty for the file."""
        own = _table(self._config, "credHelpers").get(key)
        return str(own or self._config.get("credsStore") or "")

    def _in_file(self, key: str) -> Login | None:
        logins = _table(self._config, "auths")
        found = logins.get(key)
        if found is None:
            same = [name for name in logins if hostname(name) == hostname(key)]
            found = logins[same[0]] if same else None
        return _decode(found, key) if isinstance(found, dict) else None

    def store(self, login: Login) -> bool:
        """Keep *login*; tell whether its secret is in the file in the clear.

        Raises:
            Failure: a helper fails.
            OSError: the file cannot be written.
        """
        logins = self._config.setdefault("auths", {})
        helper = self.helper(login.server)
        if helper:
            secret = {"ServerURL": login.server, "Username": login.username, "Secret": login.password}
            if login.token:
                secret |= {"Username": IDENTITY, "Secret": login.token}
            _run(helper, "store", dumps(secret))
            logins[login.server] = {}
        else:
            password = "" if login.token else login.password
            pair = b2a_base64(f"{login.username}:{password}".encode(), newline=False).decode()
            logins[login.server] = {"auth": pair} | ({"identitytoken": login.token} if login.token else {})
        self._write()
        return not helper

    def erase(self, key: str) -> bool:
        """Forget the login for *key*; tell whether there was one.

        Raises:
            Failure: a helper fails.
            OSError: the file cannot be written.
        """
        logins = _table(self._config, "auths")
        names = [name for name in logins if hostname(name) == hostname(key)]
        helper = self.helper(key)
        known = bool(names) or (bool(helper) and _from_helper(helper, key) is not None)
        if helper and known:
            _run(helper, "erase", key)
        for name in names:
            del logins[name]
        if names:
            self._write()
        return known

    def _write(self) -> None:
        """Replace the file, which is complete and private at every instant."""
        _make_folder(self.folder)
        try:
            path = posix.readlink(self.path)  # a link stays one, as people keep this file elsewhere
            path = path if path.startswith("/") else f"{self.folder}/{path}"
        except OSError:
            path = self.path
        temporary = f"{path}.{posix.getpid()}"
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
        descriptor = posix.open(temporary, flags, FILE_MODE)
        try:
            try:
                _write_all(descriptor, (pretty(self._config) + "\n").encode())
                posix.fsync(descriptor)
            finally:
                posix.close(descriptor)
            posix.rename(temporary, path)
        except BaseException:
            posix.unlink(temporary)
            raise


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[posix.write(descriptor, data) :]


def _make_folder(path: str) -> None:
    try:
        posix.mkdir(path, FOLDER_MODE)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_folder(path.rpartition("/")[0])
        posix.mkdir(path, FOLDER_MODE)


def _folder() -> str:
    named = posix.environ.get(b"DOCKER_CONFIG")
    if named:
        return named.decode("utf-8", "surrogateescape").rstrip("/")
    home = posix.environ.get(b"HOME")
    if not home:
        from pwd import getpwuid

        home = getpwuid(posix.getuid()).pw_dir.encode()
    return home.decode("utf-8", "surrogateescape").rstrip("/") + "/.docker"


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as stream:
            text = stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    if not text.strip():
        return {}
    try:
        found = loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Failure(f"{path} is not valid JSON: correct the file, or move it away and log in again")
    return found


def _table(config: dict[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _decode(entry: dict[str, Any], key: str) -> Login | None:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            pair = a2b_base64(str(entry["auth"])).decode("utf-8", "replace")
        except NotBase64:
            raise Failure(f"the login for {key} in config.json is damaged: log in again") from None
        username, _, password = pair.partition(":")
    token = str(entry.get("identitytoken") or "")
    if not username and not token:
        return None
    return Login(key, username, password.rstrip("\0"), token)


def _from_helper(helper: str, key: str) -> Login | None:
    answer = _run(helper, "get", key)
    if answer is None:
        return None
    try:
        found = loads(answer)
        username, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, TypeError):
        raise Failure(f"docker-credential-{helper} gave an answer that is no login: check it") from None
    return Login(key, "", "", secret) if username == IDENTITY else Login(key, username, secret)


def _run(helper: str, action: str, request: str) -> bytes | None:
    """Have a helper do *action*; its output, or None where it has nothing under that name.

    Raises:
        Failure: it cannot be run, or fails.
    """
    import subprocess

    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, action], input=request.encode(), capture_output=True, check=False)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Failure(
            f"cannot run {program}, which config.json names: {reason}: install it, or take the entry out"
        ) from None
    if done.returncode == 0:
        return done.stdout
    said = (done.stdout.strip() or done.stderr.strip()).decode("utf-8", "replace")
    if action == "get" and any(mark in said for mark in ABSENT):
        return None
    if action == "erase" and any(mark in said for mark in ABSENT):
        return b""
    raise Failure(f"{program} {action} failed: {said or f'exit status {done.returncode}'}")
