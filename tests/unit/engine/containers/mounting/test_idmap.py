"""The maps of owners."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.engine.containers.mounting.idmap import idmap_option
from corten.errors import InvalidInput
from corten.linux.idmap import ALL, maps


@pytest.mark.parametrize(
    ("text", "option", "lines"),
    [
        ("0-100000-65536", "b:0:100000:65536", ("0 100000 65536", "0 100000 65536")),
        ("uids=1000-0-1", "u:1000:0:1", ("1000 0 1", ALL)),
        ("gids=1000-0-1", "g:1000:0:1", (ALL, "1000 0 1")),
        ("uids=0-1-2#5-6-7;gids=8-9-10", "u:0:1:2 u:5:6:7 g:8:9:10", ("0 1 2\n5 6 7", "8 9 10")),
        ("gids=8-9-10;uids=0-1-2", "g:8:9:10 u:0:1:2", ("0 1 2", "8 9 10")),
    ],
)
def test_maps(text: str, option: str, lines: tuple[str, str]) -> None:
    """What is written becomes the option of mount(8), and from that the lines that the kernel wants."""
    assert idmap_option(text) == f"X-mount.idmap={option}"
    assert maps(option) == lines


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is not FILE-SEEN-COUNT"),
        ("uids=", "'' is not FILE-SEEN-COUNT"),
        ("0-1", "'0-1' is not FILE-SEEN-COUNT"),
        ("0--1-2", "is not FILE-SEEN-COUNT"),
        ("0-1-x", "is not FILE-SEEN-COUNT"),
        ("0-1-0", "is out of range"),
        ("0-4294967295-1", "is out of range"),
        ("0-0-10#5-20-1", "ranges overlap"),
        ("0-0-10#20-5-1", "ranges overlap"),
        ("pids=0-1-2", "unknown kind pids"),
        ("uids=0-1-2;uids=5-6-7", "once each"),
        ("0-1-2;gids=0-1-2", "once each"),
        ("uids=0-1-2;gids=0-1-2;uids=9-9-9", "once each"),
        ("#".join(f"{number}-{number}-1" for number in range(341)), "more than 340 ranges"),
    ],
)
def test_bad_maps(text: str, why: str) -> None:
    """The reason is one line that shows how it is written."""
    with pytest.raises(InvalidInput, match=why) as failure:
        idmap_option(text)
    assert "write for example uids=0-100000-65536" in str(failure.value)


@given(st.text(alphabet="uidsg=-;#0123456789x ", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes it fail otherwise, and what is taken has no blank inside a word."""
    try:
        option = idmap_option(text)
    except InvalidInput:
        return
    assert all(len(word.split(":")) == 4 for word in option.partition("=")[2].split())
