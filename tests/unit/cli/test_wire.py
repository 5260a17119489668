"""JSON without the json module."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corten.cli.wire import dumps, loads, pretty

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=40)
@given(VALUES)
def test_writes_what_json_reads(value: Any) -> None:
    """Both writers make JSON of the same meaning."""
    assert json.loads(dumps(value)) == value
    assert json.loads(pretty(value)) == value


@settings(max_examples=40)
@given(VALUES)
def test_reads_what_json_writes(value: Any) -> None:
    """The reader agrees with the standard library, with any layout."""
    assert loads(json.dumps(value)) == value
    assert loads(b" \n" + json.dumps(value, indent=2).encode() + b"\r\n") == value


@pytest.mark.parametrize("text", ["", "{", "nope", '{"a":1} x'])
def test_refuses_what_is_no_json(text: str) -> None:
    """Anything else is a ValueError."""
    with pytest.raises(ValueError, match=r"JSON|Expect"):
        loads(text)


def test_indents_by_four_and_keeps_empty_things_short() -> None:
    """The layout is that of docker inspect."""
    assert pretty([{"a": [], "b": {}, "c": ["ü<"]}]) == (
        '[\n    {\n        "a": [],\n        "b": {},\n        "c": [\n            "ü<"\n        ]\n    }\n]'
    )
