"""Where the guard's rules stand; what they do is tried against the kernel."""

from hypothesis import given
from hypothesis import strategies as st

from corten.core.networks.guard import MARK, Guard
from corten.linux.rules import FR_ACT_GOTO, FR_ACT_NOP, FR_ACT_TO_TBL, Rule


def rules(tag: str) -> list[Rule]:
    """Return the rules of the engine *tag* in the order in which the kernel asks them."""
    return sorted(Guard(tag)._rules, key=lambda rule: rule.priority)


@given(st.text(max_size=20))
def test_rules_stand_between_the_local_and_the_main_table(tag: str) -> None:
    """Whatever the tag, the rules come after the host's own addresses and before any way to elsewhere."""
    first, *_, last = rules(tag)
    assert first.priority > 100
    assert last.priority < 1000


@given(st.text(max_size=20))
def test_rules_lead_around_the_table_by_mark_and_from_the_host(tag: str) -> None:
    """Marked packets and the host's own skip the look-up; the rules are in a row and of one table."""
    marked, own, look_up, end = rules(tag)
    assert [rule.priority - marked.priority for rule in (own, look_up, end)] == [1, 2, 3]
    assert (marked.action, marked.goto, marked.mark, marked.mask) == (FR_ACT_GOTO, end.priority, MARK, MARK)
    assert (own.action, own.goto, own.interface) == (FR_ACT_GOTO, end.priority, "lo")
    assert (look_up.action, end.action) == (FR_ACT_TO_TBL, FR_ACT_NOP)
    assert len({rule.table for rule in rules(tag)}) == 1


def test_engines_have_tables_of_their_own() -> None:
    """The number of the table follows from the tag alone and is none that others number by hand."""
    tables = [Guard(f"corten-{number}").table for number in range(100)]
    assert len(set(tables)) == 100
    assert min(tables) > 0xFFFF
    assert Guard("corten-7").table == tables[7]
