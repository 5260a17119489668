"""Firewall: the wished state of our nftables table, and who keeps the kernel to it.

The whole state is in memory; a change is one transaction with the elements
that differ. What others do to the table is undone: ``watch`` hears of every
transaction of this network namespace from the kernel and compares the table
when somebody else touched it. Nothing is written when it is as it should be,
so that a repair, heard of as well, ends the matter.
"""

import os
import select
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from corten.core.networks.firewall import table as text
from corten.core.networks.firewall.elements import Element, elements, of_openings
from corten.core.networks.firewall.flows import Forgetter
from corten.core.networks.firewall.listing import Listing, parse
from corten.core.networks.firewall.state import Opening, Side
from corten.errors import CortenError
from corten.linux.nftables import Nftables
from corten.linux.nftables_events import Change, NftablesEvents
from corten.linux.syscalls import KernelError

RETRY = 1000  # milliseconds until a repair that failed is tried again


class Firewall:
    """The nftables table *table*, owned whole. Safe to share between threads.

    It belongs to the network namespace of the thread that first changes it.
    Made without touching the kernel. Whatever fails leaves kernel and memory
    as they were. Closed by ``close``, which leaves the rules in force.

    Raises:
        InvalidInput: a name nft would not take.
    """

    def __init__(self, table: str) -> None:
        self.table = text.checked_name(table)
        self._nftables = Nftables()
        self._lock = threading.Lock()  # one change at a time, in memory and in the kernel
        self._sides: dict[str, Side] = {}
        self._openings: dict[str, tuple[Opening, ...]] = {}
        self._wished: set[Element] = set()
        self._skeleton: tuple[str, ...] = ()  # what the kernel made of the rules; empty before the first time
        self._removed = True  # nothing is asserted before the first change
        self._forgetter = Forgetter()
        self._watcher: threading.Thread | None = None
        self._stop = -1  # closing it ends the watcher

    def restore(self, sides: Iterable[Side], openings: Mapping[str, Sequence[Opening]]) -> None:
        """Make the table exactly this, whatever it was; *openings* by owner.

        Raises:
            InvalidInput: a name, address, port or protocol that cannot be.
            KernelError: the kernel refused.
            Unavailable: libnftables is missing.
        """
        with self._lock:
            named = {side.bridge: side for side in sides}
            kept = {owner: tuple(listed) for owner, listed in openings.items() if listed}
            wished = _wished(named, kept)
            self._write_whole(wished)
            self._sides, self._openings, self._wished = named, kept, wished

    def set_side(self, side: Side) -> None:
        """Add *side*, or replace the one of the same bridge; fails as ``restore``."""
        with self._lock:
            self._change_sides(self._sides | {side.bridge: side})

    def drop_side(self, bridge: str) -> None:
        """Forget the side of *bridge*; idempotent; fails as ``restore``."""
        with self._lock:
            self._change_sides({name: side for name, side in self._sides.items() if name != bridge})

    def publish(self, owner: str, openings: Sequence[Opening]) -> None:
        """Let *owner* have exactly *openings*, in place of those it had; () drops them.

        Raises:
            KernelError: EEXIST when another owner has one of the ports; or the kernel refused otherwise.
            InvalidInput: an address, port or protocol that cannot be.
        """
        with self._lock:
            before = of_openings(self._openings.get(owner, ()), self._sides)
            after = of_openings(openings, self._sides)
            self._write(before - after, after - before)
            had = set(self._openings.pop(owner, ()))
            if openings:
                self._openings[owner] = tuple(openings)
        self._forgetter.concern(had ^ set(openings))

    def check(self) -> bool:
        """Compare the kernel's table with the wished one and repair it; True when it had to.

        Raises:
            KernelError: the kernel refused.
        """
        with self._lock:
            if self._removed or self._intact():
                return False
            self._write_whole(self._wished)
            return True

    def watch(self) -> None:
        """Start to hear of what others do to the table, and to undo it at once; idempotent.

        Raises:
            OSError: no socket or thread can be had.
        """
        if self._watcher is not None:
            return
        events = NftablesEvents()
        waiting, self._stop = os.pipe2(os.O_CLOEXEC)
        self._watcher = threading.Thread(
            target=self._watch, args=(events, waiting), name="firewall", daemon=True
        )
        self._watcher.start()

    def close(self) -> None:
        """End the threads and give the library's context back; the rules stay. Idempotent."""
        if self._watcher is not None:
            os.close(self._stop)
            self._watcher.join()
            self._watcher = None
        self._forgetter.close()
        self._nftables.close()

    def remove(self) -> None:
        """Take the table away; nothing is repaired before the next change. Idempotent.

        Raises:
            KernelError: the kernel refused.
        """
        with self._lock:
            self._removed = True
            self._nftables.run(f"add table inet {self.table}\ndelete table inet {self.table}\n")
            self._sides, self._openings, self._wished = {}, {}, set()

    def _change_sides(self, sides: dict[str, Side]) -> None:
        wished = _wished(sides, self._openings)
        self._write(self._wished - wished, wished - self._wished)
        self._sides = sides

    def _write(self, gone: set[Element], new: set[Element]) -> None:
        """Change the kernel by the difference, or make all of the table anew when that cannot be."""
        if not self._removed:
            if not gone and not new:
                return
            try:
                self._nftables.run(text.change(self.table, gone, new))
            except KernelError:  # flushed or changed by somebody, just now
                pass
            else:
                self._wished -= gone
                self._wished |= new
                return
        wished = (self._wished - gone) | new
        self._write_whole(wished)
        self._wished = wished

    def _write_whole(self, wished: Iterable[Element]) -> None:
        self._nftables.run(text.made_of(self.table, wished))
        self._removed = False
        listing = self._listing()
        self._skeleton = listing.skeleton if listing else ()

    def _listing(self) -> Listing | None:
        """Return what the kernel has; None without the table."""
        try:
            return parse(self._nftables.run(f"list table inet {self.table}", json=True))
        except KernelError:
            return None

    def _intact(self) -> bool:
        listing = self._listing()
        return bool(listing) and listing == (self._skeleton, frozenset(self._wished))

    def _watch(self, events: NftablesEvents, waiting: int) -> None:
        """Wait for changes by others until the other end of *waiting* is closed; owns both."""
        poll, patience = select.poll(), None
        poll.register(events.fileno(), select.POLLIN)
        poll.register(waiting, select.POLLIN)
        with events:
            while True:
                ready = {descriptor for descriptor, _ in poll.poll(patience)}
                if waiting in ready:
                    break
                foreign = any(self._is_foreign(change) for change in events.read())
                if foreign or patience:
                    patience = None if self._repaired() else RETRY
        os.close(waiting)

    def _repaired(self) -> bool:
        with suppress(CortenError, OSError):
            self.check()
            return True
        return False

    def _is_foreign(self, change: Change) -> bool:
        """Tell whether somebody else touched our table; in doubt, somebody did."""
        if change.tables is not None and self.table not in change.tables:
            return False
        return not change.pid or not os.path.exists(f"/proc/self/task/{change.pid}")


def _wished(sides: Mapping[str, Side], openings: Mapping[str, Sequence[Opening]]) -> set[Element]:
    listed = [opening for owned in openings.values() for opening in owned]
    return set(elements(sides.values(), listed))
