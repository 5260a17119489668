"""SandboxPool: network namespaces in stock, so that a start does not wait for one.

Two threads, since a thread is what enters a namespace. The *filler* keeps the
stock; the *maker* serves, on the spot, who finds it empty or has wishes. They
are two so that a caller never waits behind the refilling. The filler also
lets a start that just took a sandbox go first, since both need the kernel's
one lock for links and this interpreter's one lock: while more than half of
the stock is left it waits for a quiet moment.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from corten.core.networks.network import Network
from corten.core.networks.sandbox import KernelNamespaces, Sandbox, make_sandbox
from corten.errors import Unavailable
from corten.linux.netlink import Netlink

QUIET = 0.02  # seconds without a take before a stock that is over half full is refilled
RETRY = 1.0  # seconds between attempts to refill while making fails

Make = Callable[[str | None, str | None], Sandbox]  # (mac, address) -> Sandbox
Workshop = Callable[[Network | None], AbstractContextManager[Make]]


@contextmanager
def kernel_workshop(network: Network | None) -> Iterator[Make]:
    """Open what one thread needs to make sandboxes from the network namespace of the caller."""
    namespaces = KernelNamespaces()
    try:
        with Netlink() as links:
            yield lambda mac, address: make_sandbox(namespaces, links, network, mac=mac, address=address)
    finally:
        namespaces.stop()


class SandboxPool:
    """Keeps *size* sandboxes ready. Safe to share between threads; closed by the owner.

    The threads start here and live in the network namespace of the caller,
    which has to be the host's. Adopt the endpoints of running containers, and
    ``ensure`` the bridge, before.

    Args:
        network: What sandboxes are plugged into; None for loopback only
            (``--network none``).
        size: How many to keep; 0 makes each on the spot.
        workshop: How a thread makes sandboxes.

    Raises:
        OSError: no descriptors left.
    """

    def __init__(self, network: Network | None, size: int, workshop: Workshop = kernel_workshop) -> None:
        self._size = size
        self._ready: deque[Sandbox] = deque()
        self._changed = threading.Condition()  # over _ready, _takes, _closed
        self._takes = 0
        self._closed = False
        self._filling = threading.Lock()  # held while the filler makes one
        self._orders: SimpleQueue[tuple[Future[Sandbox], str | None, str | None] | None] = SimpleQueue()
        with ExitStack() as tools:
            filler, maker = (tools.enter_context(workshop(network)) for _ in range(2))
            self._tools = tools.pop_all()
        self._threads = [
            threading.Thread(target=self._fill, args=(filler,), name="sandbox-filler", daemon=True),
            threading.Thread(target=self._serve, args=(maker,), name="sandbox-maker", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def take(self, *, mac: str | None = None, address: str | None = None) -> Sandbox:
        """Hand out a sandbox, which the caller releases; at once when one is in stock.

        Otherwise, and with wishes, it is made on the spot, about 1 ms.

        Raises:
            InvalidInput: a wish that cannot be.
            Conflict: *address* is taken.
            Unavailable: no address is free, or the pool is closed.
            OSError: the kernel refused.
        """
        # With the filler at rest, an address is either in stock or in use
        with self._filling if address else nullcontext():
            with self._changed:
                if self._closed:
                    raise Unavailable("networks are shutting down: try again when the engine is up")
                self._takes += 1
                self._changed.notify_all()
                stocked = self._from_stock(mac, address)
                if stocked:
                    return stocked
                order: Future[Sandbox] = Future()
                self._orders.put((order, mac, address))
            return order.result()

    def _from_stock(self, mac: str | None, address: str | None) -> Sandbox | None:
        """Return a sandbox from stock that fits; one that only holds *address* is given up for it."""
        if address is None:
            return self._ready.popleft() if self._ready and mac is None else None
        for sandbox in self._ready:
            if any(endpoint.address == address for endpoint in sandbox.endpoints):
                self._ready.remove(sandbox)
                if mac is None:
                    return sandbox
                sandbox.release()
                break
        return None

    def close(self) -> None:
        """Stop the threads and release what is in stock; idempotent. Sandboxes handed out stay."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._changed.notify_all()
                self._orders.put(None)
        for thread in self._threads:
            thread.join()
        while self._ready:
            self._ready.popleft().release()
        self._tools.close()

    def _fill(self, make: Make) -> None:
        while self._wait_for_need():
            try:
                with self._filling:
                    sandbox = make(None, None)
                    with self._changed:
                        self._ready.append(sandbox)
                        self._changed.notify_all()
            except Exception:  # noqa: BLE001 - a dead filler would go unnoticed
                # whoever takes next gets to know it from the maker
                with self._changed:
                    self._changed.wait_for(lambda: self._closed, RETRY)

    def _wait_for_need(self) -> bool:
        """Wait until the stock should be refilled; False when the pool is closed."""
        with self._changed:
            while not self._closed:
                if len(self._ready) >= self._size:
                    self._changed.wait()
                elif len(self._ready) * 2 < self._size or self._is_quiet():
                    return True
            return False

    def _is_quiet(self) -> bool:
        takes = self._takes
        return not self._changed.wait_for(lambda: self._closed or self._takes != takes, QUIET)

    def _serve(self, make: Make) -> None:
        while order := self._orders.get():
            future, mac, address = order
            try:
                future.set_result(make(mac, address))
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller, who waits for it
                future.set_exception(error)
