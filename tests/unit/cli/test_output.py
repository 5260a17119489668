"""Tables and the formats of lists."""

import pytest

from corten.cli.output import listing, table
from corten.cli.template_functions import TemplateError

ROWS = [
    {"ID": "1", "Name": "a rather long name", "Label": lambda key: f"{key}=1"},
    {"ID": "22", "Name": "b", "Label": lambda key: f"{key}=2"},
]
HEADERS = {"ID": "THE ID", "Name": "NAME", "Label": lambda key: key}


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    """Three columns of gap, ten at least, nothing after the last cell."""
    assert (
        table([["A", "B", "C"], ["x" * 9, "y", "z"]]) == "A           B         C\nxxxxxxxxx   y         z\n"
    )


def test_rows_may_be_short() -> None:
    """A row with fewer cells does not widen the others."""
    assert table([["a" * 20], ["b", "c"]]) == "aaaaaaaaaaaaaaaaaaaa\nb         c\n"


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("", "THE ID    NAME\n1         a rather long name\n22        b\n"),
        ("table", "THE ID    NAME\n1         a rather long name\n22        b\n"),
        (
            "table {{.Name}}\\t{{.ID}}",
            "NAME                 THE ID\na rather long name   1\nb                    22\n",
        ),
        ('table {{.Label "x"}}', "x\nx=1\nx=2\n"),
        ("{{.ID}}", "1\n22\n"),
        ('{{.ID}}\\t{{.Label "k"}}', "1\tk=1\n22\tk=2\n"),
        ("json", '{"ID":"1","Name":"a rather long name"}\n{"ID":"22","Name":"b"}\n'),
    ],
)
def test_formats(form: str, text: str) -> None:
    """Every value of --format."""
    assert listing(ROWS, HEADERS, ("ID", "Name"), form) == text


def test_quiet_prints_one_field() -> None:
    """--quiet needs no header; a template wins over it."""
    assert listing(ROWS, HEADERS, ("ID",), "", key="ID") == "1\n22\n"
    assert listing(ROWS, HEADERS, ("ID",), "{{.Name}}", key="ID") == "a rather long name\nb\n"


def test_a_bad_template_is_refused() -> None:
    """The words are those of docker ps."""
    with pytest.raises(TemplateError, match="failed to parse template: template: :1: unclosed action"):
        listing(ROWS, HEADERS, ("ID",), "{{.ID")
