"""corten registry: build what a registry is made of, open its door, and serve until told to stop.

The composition root of the registry server, as main.py is the daemon's: the
one place that knows storage, records, access, cache and engine.
"""

import argparse
import asyncio
import logging
import os
import signal
import sqlite3
import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from corten.core.distribution.credentials import Credential
from corten.core.distribution.registries import Registries
from corten.core.distribution.settings import HostSettings, Patience
from corten.errors import CortenError, InvalidInput, NotFound, Unavailable, Unsupported
from corten.oci.reference import Reference
from corten.serve.daemon import registries, registry_control, registry_settings, registry_users
from corten.serve.daemon.engine_images import EngineSource
from corten.serve.daemon.registry_settings import RegistryConfig
from corten.serve.daemon.settings import Settings
from corten.serve.registry import app
from corten.serve.registry.access.challenge import TOKEN_PATH
from corten.serve.registry.access.gate import HomeGate, TokenGate
from corten.serve.registry.access.rights import Rights, standard
from corten.serve.registry.access.tokens import Tokens, load_key
from corten.serve.registry.access.users import Users
from corten.serve.registry.cache import Cache
from corten.serve.registry.hooks import Gate, Hooks, OpenGate, Page
from corten.serve.registry.metrics import Metrics
from corten.serve.registry.registry import Registry, open_registry
from corten.serve.registry.retention import Plan, Retention, seconds
from corten.serve.registry.retire import retire
from corten.serve.registry.shelves import Terms
from corten.serve.registry.source import Source
from corten.serve.registry.storage.folder import FolderStorage
from corten.serve.registry.storage.store import Storage

DATABASE = "registry.db"
SERVICE = "corten-registry"
UPSTREAM = Patience(attempts=3, longest=2.0, connect=5.0, silence=30.0)  # a client waits meanwhile

log = logging.getLogger("corten.registry")


class Upkeep(NamedTuple):
    """What keeps a registry small, and who is told of it."""

    registry: Registry
    retention: Retention
    metrics: Metrics

    async def collect(self, dry_run: bool) -> str:
        """Remove what nothing needs, or say what that is."""
        collector = self.registry.collector
        report = await asyncio.to_thread(collector.plan if dry_run else collector.run)
        if not dry_run:
            self.metrics.collected(report.blobs, report.size)
        done = "would free" if dry_run else "freed"
        return f"{done} {report.size} bytes: {report.blobs} blobs, {report.manifests} manifests, {report.uploads} uploads"

    async def retire(self, dry_run: bool) -> str:
        """Apply the retention rules, or say what they would remove."""
        plans = await asyncio.to_thread(retire, self.registry.shelves, self.retention, dry_run=dry_run)
        return "\n".join(line for plan in plans for line in _lines(plan)) or "nothing to remove"


def main(argv: list[str]) -> int:
    """Run one verb of ``corten registry``; returns the exit status."""
    given = registry_settings.parser().parse_args(argv)
    try:
        config = registry_settings.read(given)
        level = logging.DEBUG if config.debug else logging.INFO
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
        return _VERBS[given.verb](config, given)
    except (CortenError, OSError) as failure:
        sys.stderr.write(f"corten registry: {failure}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _serve(config: RegistryConfig, _: argparse.Namespace) -> int:
    asyncio.run(serve(config))
    return 0


def _keep(config: RegistryConfig, given: argparse.Namespace) -> int:
    """Have the running registry collect or retire, or do it here when none runs.

    Raises:
        NotFound: no registry was ever served from there.
    """
    if not os.path.isdir(config.folder):
        raise NotFound("registry", f"{config.folder}: name its folder with --data")
    said = registry_control.ask(config.folder, given.verb, dry_run=given.dry_run)
    if said is None:
        said = asyncio.run(_keep_alone(config, given.verb, given.dry_run))
    sys.stdout.write(f"{said}\n")
    return 0


async def _keep_alone(config: RegistryConfig, verb: str, dry_run: bool) -> str:
    async with AsyncExitStack() as stack:
        upkeep = Upkeep(open_shelves(config, stack), Retention(config.retention), Metrics())
        return await (upkeep.collect if verb == "gc" else upkeep.retire)(dry_run)


_VERBS: dict[str, Callable[[RegistryConfig, argparse.Namespace], int]] = {
    "serve": _serve,
    "gc": _keep,
    "retention": _keep,
    "user": registry_users.edit,
}


async def serve(config: RegistryConfig) -> None:
    """Be the registry until told to stop by SIGTERM or SIGINT; SIGHUP reads the certificate again."""
    stop = asyncio.Event()
    tls = _tls(config)
    async with AsyncExitStack() as stack:
        os.makedirs(config.folder, 0o700, exist_ok=True)
        source, upkeep, hooks = await build(config, stack)
        door = await _open_door(config, tls, source, upkeep, hooks)
        stack.push_async_callback(door.close)
        if upkeep is not None:
            await _keep_up(config, upkeep, stack)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, _reload, config, tls)
        host = f"[{config.place.host}]" if ":" in config.place.host else config.place.host
        log.info("ready at http%s://%s:%d", "s" if tls else "", host, door.port)
        await stop.wait()
        log.info("told to stop: requests under way have some time to end")


async def build(config: RegistryConfig, stack: AsyncExitStack) -> tuple[Source, Upkeep | None, Hooks]:
    """Build all that the door needs; without an Upkeep nothing can be changed."""
    gate = _gate(config)
    pages: dict[str, Page] = {TOKEN_PATH: gate.token} if isinstance(gate, TokenGate) else {}
    if config.from_engine:
        engine = EngineSource(config.root)
        stack.callback(engine.close)
        metrics = Metrics()
        return engine, None, Hooks(gate, metrics, None, _with_metrics(config, pages, metrics))
    registry = await asyncio.to_thread(open_shelves, config, stack)
    metrics = Metrics(_gauges(registry))
    fallback = _cache(config, registry, stack) if config.proxy.of else None
    hooks = Hooks(gate, metrics, fallback, _with_metrics(config, pages, metrics))
    return registry.pulls, Upkeep(registry, Retention(config.retention), metrics), hooks


def open_shelves(config: RegistryConfig, stack: AsyncExitStack) -> Registry:
    """Open storage and records; *stack* closes them."""
    storage = _storage(config)
    stack.callback(storage.close)
    cache = bool(config.proxy.of)  # what its upstream no longer names can go
    terms = Terms(grace=seconds(config.grace) or 0.0, untagged=cache)
    registry = open_registry(storage, f"{config.folder}/{DATABASE}", terms)
    stack.callback(registry.close)
    return registry


def _storage(config: RegistryConfig) -> Storage:
    if not config.s3.bucket:
        return FolderStorage(config.folder)
    try:
        from corten.serve.registry.storage.bucket import BucketSettings
        from corten.serve.registry.storage.s3 import S3Storage
    except ModuleNotFoundError as failure:
        raise Unsupported(f"object storage needs {failure.name}: install corten with its extra s3") from None
    return S3Storage(BucketSettings(**msgspec.structs.asdict(config.s3)))


def _gate(config: RegistryConfig) -> Gate:
    """Return who decides who may do what."""
    if config.users:
        rules = standard(config.access.rules, anonymous_pull=config.access.anonymous_pull)
        tokens = Tokens(load_key(f"{config.folder}/token.key"), SERVICE)
        return TokenGate(Users(config.users), Rights(rules, config.access.groups), tokens, config.url)
    if config.place.loopback:
        return HomeGate(filter(None, [urlsplit(config.url).hostname]))
    log.warning("there are no users: whoever reaches %s may pull, push and delete", config.listen)
    return OpenGate()


def _tls(config: RegistryConfig) -> ssl.SSLContext | None:
    """Return how to speak TLS; None for plain HTTP."""
    if not config.tls.cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load(config, context)
    return context


def _load(config: RegistryConfig, context: ssl.SSLContext) -> None:
    try:
        context.load_cert_chain(config.tls.cert, config.tls.key)
    except (OSError, ssl.SSLError) as failure:
        reason = failure.strerror or str(failure)
        raise InvalidInput(f"cannot use {config.tls.cert} with {config.tls.key}: {reason}") from None


def _reload(config: RegistryConfig, context: ssl.SSLContext | None) -> None:
    """Read the certificate again, for connections from now on."""
    if context is not None:
        try:
            _load(config, context)
            log.info("the certificate was read again")
        except InvalidInput as failure:
            log.warning("%s: the old certificate stays", failure)


async def _open_door(
    config: RegistryConfig, tls: ssl.SSLContext | None, source: Source, upkeep: Upkeep | None, hooks: Hooks
) -> app.Serving:
    """Listen.

    Raises:
        Unavailable: the address is taken, or not one of this machine.
    """
    read_only = config.read_only or bool(config.proxy.of)
    how = app.Config(host=config.place.host, port=config.place.port, tls=tls, read_only=read_only)
    try:
        return await app.serve(how, source, upkeep and upkeep.registry, hooks)
    except OSError as failure:
        reason = os.strerror(failure.errno) if failure.errno else str(failure)
        raise Unavailable(
            f"cannot listen at {config.listen}: {reason.lower()}: choose another address with --listen"
        ) from None


def _cache(config: RegistryConfig, registry: Registry, stack: AsyncExitStack) -> Cache:
    """Return the way to the registry that this one is a cache of."""
    scheme, _, host = config.proxy.of.rpartition("://")
    host = host.rstrip("/")
    proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    settings = registries.read(Settings(config.root, config.root), proxies)
    known = settings.hosts.get(host, HostSettings())
    # a mirror of the upstream may well be this cache itself
    own = msgspec.structs.replace(known, mirrors=(), insecure=known.insecure or scheme == "http")
    settings = msgspec.structs.replace(settings, hosts={**settings.hosts, host: own})
    client = Registries(msgspec.structs.replace(settings, patience=UPSTREAM))
    stack.push_async_callback(client.close)
    said = config.proxy
    credential = Credential(said.username, said.password) if said.username else None
    cache = Cache(
        registry,
        lambda repository: client.repository(Reference.parse(f"{host}/{repository}"), credential),
        seconds(said.fresh) or 0.0,
    )
    stack.push_async_callback(cache.close)
    return cache


async def _keep_up(config: RegistryConfig, upkeep: Upkeep, stack: AsyncExitStack) -> None:
    """Collect and retire from time to time, and when asked to by the control socket."""
    control = registry_control.Control(config.folder, {"gc": upkeep.collect, "retention": upkeep.retire})
    await control.open()
    stack.push_async_callback(control.close)
    tasks = [asyncio.create_task(_every(config.gc_interval, upkeep.collect, "garbage collection"))]
    if config.retention:
        tasks.append(asyncio.create_task(_every(config.retention_interval, upkeep.retire, "retention")))
    stack.push_async_callback(_end, tasks)


async def _every(interval: str, work: Callable[[bool], Awaitable[str]], name: str) -> None:
    """Do *work* again and again; a failure is logged, and the next turn comes."""
    pause = seconds(interval)
    while pause:
        await asyncio.sleep(pause)
        try:
            log.info("%s: %s", name, await work(False))
        except (CortenError, OSError) as failure:
            log.warning("%s failed: %s", name, failure)


async def _end(tasks: list["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _with_metrics(config: RegistryConfig, pages: dict[str, Page], metrics: Metrics) -> dict[str, Page]:
    return {**pages, "/metrics": metrics.page} if config.metrics else pages


def _gauges(registry: Registry) -> dict[str, tuple[str, Callable[[], float]]]:
    """Return what the records know of the size of a registry."""
    questions = {
        "storage_bytes": ("Bytes of all blobs.", "SELECT coalesce(sum(size), 0) FROM blobs WHERE live = 1"),
        "blobs": ("Blobs.", "SELECT count(*) FROM blobs WHERE live = 1"),
        "manifests": ("Manifests, by repository.", "SELECT count(*) FROM manifests"),
        "tags": ("Tags.", "SELECT count(*) FROM tags"),
        "repositories": ("Repositories.", "SELECT count(*) FROM repositories"),
        "uploads": ("Uploads that are not finished.", "SELECT count(*) FROM uploads"),
    }

    def asking(sql: str) -> Callable[[], float]:
        def read(c: sqlite3.Connection) -> float:
            return float(c.execute(sql).fetchone()[0])

        return lambda: registry.shelves.database.read(read)

    return {f"corten_registry_{name}": (meaning, asking(sql)) for name, (meaning, sql) in questions.items()}


def _lines(plan: Plan) -> list[str]:
    return [
        *(f"{plan.repository}:{tag}" for tag in plan.tags),
        *(f"{plan.repository}@{digest}" for digest in plan.manifests),
    ]
