"""Run test bodies in network namespaces of their own, so that the host's network is never touched."""

import functools
import os
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import pytest

from corten.linux.namespaces import CLONE_NEWNET, setns, unshare
from corten.linux.netlink import Netlink, set_link

P = ParamSpec("P")
T = TypeVar("T")

DEADLINE = 10.0  # seconds until a thread or the kernel has to have done its part

NEEDS = [
    pytest.mark.root,
    pytest.mark.net,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]


def own_namespace() -> int:
    """Move the calling thread into a new network namespace with loopback up; return its descriptor."""
    unshare(CLONE_NEWNET)
    with Netlink() as netlink:
        netlink.execute(set_link("lo", up=True))
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def in_thread(prepare: Callable[[], object], body: Callable[[], T]) -> T:
    """Run *prepare* and *body* in a thread that ends with them; hand on its result or failure."""
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            prepare()
            results.append(body())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def isolated(test: Callable[P, None]) -> Callable[P, None]:
    """Run *test* in a thread with a network namespace of its own."""

    @functools.wraps(test)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        in_thread(lambda: os.close(own_namespace()), lambda: test(*args, **kwargs))

    return wrapper


def inside(namespace: int, body: Callable[[], T]) -> T:
    """Run *body* in a thread inside *namespace*."""
    return in_thread(lambda: setns(namespace, CLONE_NEWNET), body)


def new_namespace() -> int:
    """Return the descriptor of a further namespace with loopback up; the caller closes it."""
    made: list[int] = []
    in_thread(lambda: made.append(own_namespace()), lambda: None)
    return made[0]


def eventually(holds: Callable[[], object]) -> bool:
    """Ask until *holds* is true or the deadline is over."""
    end = time.monotonic() + DEADLINE
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True
