"""Settings of the registry server: its command line over its file over the defaults.

The file is TOML; each table below is a Struct here, so that a misspelled
member is an error with its place and not a setting that silently is not there.
"""

import argparse
import ipaddress
import os
import tomllib
from typing import Any, NamedTuple

import msgspec

from corten.errors import InvalidInput
from corten.serve.daemon.settings import ROOT, RUN
from corten.serve.registry.access.rights import Rule
from corten.serve.registry.retention import RetentionRule, seconds

LISTEN = "127.0.0.1:5000"
_PATHS = (("", "data"), ("access", "htpasswd"), ("tls", "cert"), ("tls", "key"))


class Tls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PEM files of the certificate (with those between it and its authority) and of its key."""

    cert: str = ""
    key: str = ""


class Access(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may come in: a file of users, groups of them, and rules; see corten.serve.registry.access.rights."""

    htpasswd: str = ""
    anonymous_pull: bool = False
    groups: dict[str, tuple[str, ...]] = {}
    rules: tuple[Rule, ...] = ()


class S3(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An object store; see corten.serve.registry.storage.bucket.BucketSettings."""

    bucket: str = ""
    endpoint: str = ""
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = ""
    prefix: str = ""
    virtual_host: bool = False


class Proxy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The registry that this one is a cache of.

    Attributes:
        of: Its URL, or ``host[:port]``.
        username: To log in there with.
        password: Of that user.
        fresh: For how long a tag is served without asking there whether it has moved.
    """

    of: str = ""
    username: str = ""
    password: str = ""
    fresh: str = "5m"


class RegistryConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings.

    Attributes:
        listen: Address and port, ``[::]:5000`` for IPv6; port 0 takes a free one.
        data: Folder of the state, and of the blobs where no object store has them.
        url: How clients reach the registry, where that is not the address they use.
        read_only: Nothing can be pushed or deleted.
        insecure_http: Serve without TLS off loopback, too.
        from_engine: Serve the images of the engine.
        gc_interval: Between two collections of what nothing needs any more; ``0s`` for none.
        grace: For how long what was pushed, or what a client was told to be there, is kept
            though nothing needs it.
        retention_interval: Between two applications of the retention rules.
        metrics: Answer ``/metrics``, to everybody who reaches the port.
        root: State directory of the engine.
        debug: Log more.
    """

    listen: str = LISTEN
    data: str = ""
    url: str = ""
    read_only: bool = False
    insecure_http: bool = False
    from_engine: bool = False
    gc_interval: str = "1h"
    grace: str = "24h"
    retention_interval: str = "1h"
    metrics: bool = True
    root: str = ROOT
    debug: bool = False
    tls: Tls = Tls()
    access: Access = Access()
    s3: S3 = S3()
    proxy: Proxy = Proxy()
    retention: tuple[RetentionRule, ...] = ()

    @property
    def folder(self) -> str:
        """Return the folder of the state."""
        return os.path.abspath(self.data or f"{self.root}/registry")

    @property
    def users(self) -> str:
        """Return the file of users: the one that was named, or the one in ``folder``; empty if there is none."""
        standard = self.standard_users
        return self.access.htpasswd or (standard if os.path.exists(standard) else "")

    @property
    def standard_users(self) -> str:
        """Return the file of users that counts where none is named."""
        return f"{self.folder}/htpasswd"

    @property
    def place(self) -> "Address":
        """Return where to listen."""
        return address(self.listen)


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Tell whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def address(text: str) -> Address:
    """Read ``host:port``, ``:port`` (every address) or a port on loopback.

    Raises:
        InvalidInput: no such form.
    """
    host, _, port = f"127.0.0.1:{text}".rpartition(":") if text.isdigit() else text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "0.0.0.0"
    if not (port.isdigit() and int(port) < 1 << 16):
        raise InvalidInput(f"invalid address to listen at {text!r}: write host:port, such as {LISTEN}")
    return Address(host, int(port))


def load(path: str) -> dict[str, Any]:
    """Return the tables of the file *path*; paths in it that are relative are so to its folder.

    Raises:
        InvalidInput: it cannot be read, or is not TOML.
    """
    try:
        with open(path, "rb") as file:
            tables = tomllib.load(file)
    except OSError as failure:
        raise InvalidInput(f"cannot read {path}: {failure.strerror}") from None
    except tomllib.TOMLDecodeError as failure:
        raise InvalidInput(f"{path} is not TOML: {failure}") from None
    folder = os.path.dirname(os.path.abspath(path))
    for table, member in _PATHS:
        inner = tables.get(table) if table else tables
        if isinstance(inner, dict) and isinstance(inner.get(member), str) and inner[member]:
            inner[member] = os.path.join(folder, inner[member])
    return tables


def read(given: argparse.Namespace) -> RegistryConfig:
    """Return the settings: what the command line says, over the file, over the defaults.

    Raises:
        InvalidInput: a member is unknown, of a wrong type, or contradicts another one.
    """
    whole = load(os.path.join(given.cwd, given.config)) if given.config else {}
    for name, value in vars(given).items():
        table, _, member = name.rpartition("__")
        if value is None or not (table or name in RegistryConfig.__struct_fields__):
            continue
        if (table, member) in _PATHS:
            value = os.path.join(given.cwd, value)  # noqa: PLW2901  # the same value, spelled out
        inner = whole.setdefault(table, {}) if table else whole
        if isinstance(inner, dict):  # else the check below tells
            inner[member] = value
    try:
        config = msgspec.convert(whole, RegistryConfig)
    except msgspec.ValidationError as failure:
        raise InvalidInput(f"the registry's settings: {failure}") from None
    check(config)
    return config


def check(config: RegistryConfig) -> None:
    """Refuse settings that contradict each other, or that would send passwords in the clear.

    Raises:
        InvalidInput: as said.
    """
    if bool(config.tls.cert) != bool(config.tls.key):
        raise InvalidInput("TLS needs both a certificate (--tls-cert) and its key (--tls-key)")
    if not (config.place.loopback or config.tls.cert or config.insecure_http):
        raise InvalidInput(
            f"{config.listen} can be reached from other machines: give --tls-cert and --tls-key, or say "
            "--insecure-http if something in front of it does the encryption"
        )
    if config.from_engine and (config.proxy.of or config.s3.bucket):
        raise InvalidInput(
            "--from-engine serves the engine's images only: leave out --proxy-of and --s3-bucket"
        )
    if (config.access.rules or config.access.anonymous_pull) and not config.users:
        raise InvalidInput("rules of access need users: give --htpasswd FILE")
    for text in (config.gc_interval, config.grace, config.retention_interval, config.proxy.fresh):
        seconds(text)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line; flags of tables are stored as ``table__member``."""
    made = argparse.ArgumentParser(prog="corten registry", description="A registry of images.")
    made.add_argument(
        "--root", default=os.environ.get("CORTEN_ROOT", ROOT), help="state directory of the engine"
    )
    made.add_argument("--run", default=os.environ.get("CORTEN_RUN", RUN), help=argparse.SUPPRESS)
    made.add_argument(
        "--cwd", default=os.getcwd(), help=argparse.SUPPRESS
    )  # what relative paths are relative to
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB")
    _serve_flags(verbs.add_parser("serve", help="serve images in the foreground"))
    for verb, meaning in (
        ("gc", "remove what nothing needs any more"),
        ("retention", "apply the retention rules"),
    ):
        flags = verbs.add_parser(verb, help=meaning)
        _place_flags(flags)
        flags.add_argument(
            "--dry-run", action="store_true", help="say what would be removed, and remove nothing"
        )
    users = verbs.add_parser("user", help="edit the file of users")
    users.add_argument("action", choices=("add", "rm", "ls"))
    users.add_argument("name", nargs="?", default="", metavar="USER")
    users.add_argument(
        "--htpasswd", dest="access__htpasswd", metavar="FILE", help="the file (default DATA/htpasswd)"
    )
    users.add_argument("--data", metavar="DIR", help="folder of the registry's state")
    users.add_argument("--config", metavar="FILE", help="TOML file with settings")
    users.add_argument("--password-stdin", action="store_true", help="take the password from stdin")
    return made


def _place_flags(flags: argparse.ArgumentParser) -> None:
    """Add what says where the registry's state is."""
    flags.add_argument("--data", metavar="DIR", help="folder of the registry's state (default ROOT/registry)")
    flags.add_argument("--config", metavar="FILE", help="TOML file with settings")
    for member in ("bucket", "endpoint", "region", "prefix"):
        flags.add_argument(
            f"--s3-{member}", dest=f"s3__{member}", metavar=member.upper(), help=f"object store: {member}"
        )
    flags.add_argument("-D", "--debug", action="store_true", default=None, help="log more")


def _serve_flags(flags: argparse.ArgumentParser) -> None:
    _place_flags(flags)
    on = {"action": "store_true", "default": None}
    flags.add_argument("--listen", metavar="ADDRESS", help=f"address and port (default {LISTEN})")
    flags.add_argument("--url", help="how clients reach the registry, if not by its address")
    flags.add_argument(
        "--htpasswd", dest="access__htpasswd", metavar="FILE", help="users may log in; others may not"
    )
    flags.add_argument("--anonymous-pull", dest="access__anonymous_pull", help="everybody may pull", **on)  # type: ignore[arg-type]
    flags.add_argument("--tls-cert", dest="tls__cert", metavar="FILE", help="PEM file of the certificate")
    flags.add_argument("--tls-key", dest="tls__key", metavar="FILE", help="PEM file of its key")
    flags.add_argument("--insecure-http", help="serve other machines without TLS", **on)  # type: ignore[arg-type]
    flags.add_argument("--read-only", help="nothing can be pushed or deleted", **on)  # type: ignore[arg-type]
    flags.add_argument("--from-engine", help="serve the engine's images", **on)  # type: ignore[arg-type]
    flags.add_argument("--proxy-of", dest="proxy__of", metavar="URL", help="be a cache of another registry")
    flags.add_argument("--gc-interval", metavar="TIME", help="between collections (default 1h; 0s: never)")
