"""Every kind of failure has a code and a status of the specification."""

import pytest

from corten import errors
from corten.errors import CortenError, NotFound, StartFailed
from corten.serve.registry.refusal import KINDS, STATUS, Code, refusal_of

ALL = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, CortenError) and kind is not CortenError
]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_kind_is_translated(kind: type[CortenError]) -> None:
    """A failure is answered by its own row, with its message."""
    failure: CortenError
    if kind is NotFound:
        failure = NotFound("blob", "x")
    else:
        failure = StartFailed("text", 1) if kind is StartFailed else kind("text")
    assert kind in KINDS
    assert str(refusal_of(failure)) == str(failure)


def test_the_table_has_no_other_kind() -> None:
    """A row for a kind that no longer exists is dead."""
    assert set(KINDS) == set(ALL)
    assert set(STATUS) == set(Code)


def test_a_subclass_is_answered_as_its_kind() -> None:
    """A more special failure keeps its kind's code."""

    class Fuller(errors.OutOfSpace):
        """A disk that is fuller."""

    assert refusal_of(Fuller("x")).status == 507
