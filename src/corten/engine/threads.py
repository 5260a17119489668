"""Slow work in threads, and several things at once: what was begun is finished or undone, whatever happens."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def finished(work: Callable[[], T], executor: Executor | None = None) -> T:
    """Run *work* in a thread and, even when cancelled, wait until it has ended.

    What it had begun is then complete or undone. To make it end early, make
    the stream that it reads fail.

    Args:
        work: Runs to its end.
        executor: Where; None for that of the event loop.
    """
    task = asyncio.ensure_future(asyncio.get_running_loop().run_in_executor(executor, work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(Exception):
            await task
        raise


async def together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """Do all *work* at once and return the results in order; the first failure ends the rest, and is raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
