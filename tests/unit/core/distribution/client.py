"""A registry client for tests: short times, names of their own, closed at the end."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from corten.core.distribution.credentials import Credential
from corten.core.distribution.registries import Registries
from corten.core.distribution.repository import Repository
from corten.core.distribution.settings import HostSettings, Patience, RegistrySettings
from corten.oci.descriptor import Descriptor
from corten.oci.reference import Reference
from tests.fakes.registry import PATIENCE, Names

QUICK = Patience(attempts=4, pause=0.001, longest=0.05, connect=10.0, silence=10.0)
ME = Credential("me", "secret")

_Result = TypeVar("_Result")


def settings(patience: Patience = QUICK, **members: Any) -> RegistrySettings:
    """Return settings with short times."""
    return RegistrySettings(patience=patience, **members)


def insecure(*hosts: str) -> RegistrySettings:
    """Return settings in which *hosts* are insecure."""
    return settings(hosts={host: HostSettings(insecure=True) for host in hosts})


@asynccontextmanager
async def client(
    given: RegistrySettings | None = None, names: Names | None = None
) -> AsyncIterator[Registries]:
    """Open a client and close it."""
    registries = Registries(given or settings(), names or Names())
    try:
        yield registries
    finally:
        await registries.close()


@asynccontextmanager
async def repository(
    name: str,
    credential: Credential | None = None,
    given: RegistrySettings | None = None,
    names: Names | None = None,
) -> AsyncIterator[Repository]:
    """Open a client for one repository and close it."""
    async with client(given, names) as registries:
        yield registries.repository(Reference.parse(name), credential)


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run *work* to its end, or fail when it hangs."""

    async def limited() -> _Result:
        async with asyncio.timeout(PATIENCE):
            return await work

    return asyncio.run(limited())


async def whole(repository: Repository, descriptor: Descriptor, offset: int = 0) -> bytes:
    """Return what ``blob`` yields."""
    async with aclosing(repository.blob(descriptor, offset)) as pieces:
        return b"".join([piece async for piece in pieces])
