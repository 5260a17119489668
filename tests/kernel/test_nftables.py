"""nftables through its library against the real kernel, in namespaces made here."""

import errno
import json
import threading

import pytest

from corten.errors import InvalidInput, Unavailable
from corten.linux.nftables import Nftables, load
from corten.linux.syscalls import KernelError
from tests.kernel.isolated import NEEDS, isolated

pytestmark = NEEDS


@isolated
def test_rules_are_made_and_listed() -> None:
    """What is made is listed, as text and as JSON; commands that list nothing print nothing."""
    with Nftables() as nft:
        assert nft.run("add table ip one") == ""
        assert nft.run("list tables").split() == ["table", "ip", "one"]
        listed = json.loads(nft.run("list tables", json=True))["nftables"]
        assert [entry["table"]["name"] for entry in listed if "table" in entry] == ["one"]
        assert nft.run("list tables").startswith("table")


@isolated
def test_transaction_is_all_or_nothing() -> None:
    """When the kernel refuses one line, no other line has an effect."""
    with Nftables() as nft:
        with pytest.raises(KernelError) as caught:
            nft.run("add table ip one\nadd rule ip one nochain accept\n")
        assert nft.run("list tables") == ""
    assert caught.value.errno == errno.ENOENT
    assert str(caught.value) == "nft 'add table ip one' (first of 2 lines): No such file or directory"


@isolated
@pytest.mark.parametrize(
    "text", ["list table ip one", "add element ip one two { 1.2.3.4 }", "delete table ip one"]
)
def test_what_is_not_there_is_a_failure_of_the_kernel(text: str) -> None:
    """A table that is missing is ENOENT, whether the library or the kernel found out."""
    with Nftables() as nft, pytest.raises(KernelError) as caught:
        nft.run(text)
    assert caught.value.errno == errno.ENOENT


@isolated
@pytest.mark.parametrize(
    "text", ["nonsense", "add table ip", "add table ip one { chain c { type x hook y } }"]
)
def test_text_that_is_not_understood_is_refused(text: str) -> None:
    """A mistake in the language is named on one line, and the context goes on working."""
    with Nftables() as nft:
        with pytest.raises(InvalidInput, match="nft does not accept '") as caught:
            nft.run(text)
        assert "\n" not in str(caught.value)
        assert nft.run("list tables") == ""


def test_missing_library_names_the_package() -> None:
    """Without the library the message says what to install; it is looked for at the first run, not before."""
    nft = Nftables(lambda: load("libnftables-not-there.so.1"))
    with pytest.raises(Unavailable, match="apt install libnftables1"):
        nft.run("list tables")


@isolated
def test_context_is_made_anew_after_close() -> None:
    """Close can be repeated, and a later run works."""
    nft = Nftables()
    nft.run("add table ip one")
    nft.close()
    nft.close()
    assert "one" in nft.run("list tables")
    nft.close()


@isolated
def test_threads_share_a_context() -> None:
    """Runs of several threads do not mix their text."""
    with Nftables() as nft:
        nft.run("add table ip base")

        def add(number: int) -> None:
            for step in range(10):
                nft.run(f"add table ip t{number}x{step}")

        threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(nft.run("list tables").splitlines()) == 41
