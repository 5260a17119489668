"""Locks by key."""

import threading

from corten.serve.registry.locks import Locks


def test_the_same_key_waits_and_others_do_not() -> None:
    """While one holds a key, another one with that key waits, and others go on."""
    locks, order, inside = Locks(), list[str](), threading.Event()

    def second() -> None:
        inside.set()
        with locks.hold("a"):
            order.append("second")

    with locks.hold("a"):
        thread = threading.Thread(target=second)
        thread.start()
        assert inside.wait(10)
        with locks.hold("b"):
            order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_a_key_that_nobody_wants_costs_nothing() -> None:
    """Keys are forgotten, also after a failure."""
    locks = Locks()
    try:
        with locks.hold("a"):
            raise ValueError
    except ValueError:
        pass
    assert locks._held == {}
