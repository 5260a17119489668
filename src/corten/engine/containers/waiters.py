"""Waiters: futures of a container's end, by what each of them waits for."""

import asyncio

import msgspec

from corten.errors import InvalidInput

CONDITIONS = ("not-running", "next-exit", "removed")


class Exit(msgspec.Struct, frozen=True):
    """How a container ended: the code, and what went wrong besides."""

    code: int
    error: str = ""


class Waiters:
    """Who waits for which container to do what; used in the event loop only."""

    def __init__(self) -> None:
        self._futures: dict[str, list[tuple[str, asyncio.Future[Exit]]]] = {}

    def add(self, container: str, condition: str) -> "asyncio.Future[Exit]":
        """Return a future, for this caller alone, who may cancel it.

        Args:
            container: Full id.
            condition: One of ``CONDITIONS``; empty means ``not-running``.

        Raises:
            InvalidInput: another condition.
        """
        condition = condition or CONDITIONS[0]
        if condition not in CONDITIONS:
            raise InvalidInput(f'invalid condition: "{condition}"')
        future: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._futures.setdefault(container, []).append((condition, future))
        return future

    def resolve(self, container: str, outcome: Exit, *conditions: str) -> None:
        """Answer those who wait for one of *conditions*."""
        left = []
        for condition, future in self._futures.pop(container, []):
            if condition not in conditions:
                left.append((condition, future))
            elif not future.done():
                future.set_result(outcome)
        if left:
            self._futures[container] = left
