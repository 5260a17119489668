"""Any text: it parses, or is refused with a place and a reason, and it takes no time."""

import re
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corten.engine.builds.dockerfile import substitute
from corten.engine.builds.dockerfile.arguments import FLAGS, READERS
from corten.engine.builds.dockerfile.expand import ExpansionError, analyse
from corten.engine.builds.dockerfile.lint.lint import lint
from corten.engine.builds.dockerfile.parse import parse
from corten.errors import InvalidInput

REFUSAL = re.compile(r"Dockerfile:\d+:\d+: [^\n]+")
NAMES = st.sampled_from(["FROM", "ONBUILD", "onbuild", *READERS])
FLAG = st.sampled_from([f"--{name}" for flags in FLAGS.values() for name in flags])
PIECES = st.sampled_from(
    [
        *(
            "[",
            "]",
            '"a"',
            ",",
            "<<E",
            "\nE\n",
            "<<-'E'",
            "\\\n",
            "\n",
            "#",
            "$a",
            "${a",
            "}",
            ":-",
            "//",
            "%%",
        ),
        *(
            "=",
            "a=b",
            "target=/a",
            "type=cache",
            "CMD",
            "NONE",
            "AS",
            "x",
            "80/tcp",
            "1s",
            "`",
            "'",
            '"',
            "--",
            "\t",
        ),
    ]
)
LINES = st.lists(
    st.tuples(
        NAMES, st.lists(FLAG | PIECES | st.text(max_size=4), max_size=6), st.sampled_from(["", " "])
    ).map(lambda parts: f"{parts[0]} {parts[2].join(parts[1])}"),
    max_size=5,
).map("\n".join)


def attempt(call: Callable[[], object]) -> bool:
    """Return whether a call succeeds; a refusal must be one that helps."""
    message = ""
    try:
        call()
    except InvalidInput as refusal:
        message = str(refusal)
    assert not message or REFUSAL.fullmatch(message), message
    return not message


def read(text: str) -> None:
    """Do all that can be done with a text."""
    if not attempt(lambda: parse(text)):
        return
    found = parse(text)
    lint(found)
    for instruction in found.instructions:
        attempt(partial(substitute.expand, instruction, {"a": "b"}, found.escape))


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but InvalidInput comes out of a text that is no Dockerfile."""
    read(text)


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(LINES)
@example('x\nRUN ["\\ud800"]')
@example("\nRUN --mount=\r a")
def test_anything_like_a_dockerfile_is_read_or_refused(lines: str) -> None:
    """Instructions with any arguments are read or refused."""
    read(f"FROM x\n{lines}")


@given(st.text(alphabet="ab$\"'\\{}:-+?#%/*` "))
def test_any_word_is_expanded_or_refused(text: str) -> None:
    """Nothing but ExpansionError comes out of a word, and its offset is in the word."""
    offset = 0
    try:
        analyse(text, {"a": "b", "b": ""})
    except ExpansionError as refusal:
        offset = refusal.offset
    assert 0 <= offset <= len(text)


@pytest.mark.parametrize(
    "text",
    [
        "RUN " + "[" * 50_000,
        "RUN " + "'" * 50_001,
        "RUN cat <<E " + "$((" * 30_000,
        "RUN cat <<" + '"' * 50_001,
        "RUN cat " + "<<E " * 2_000,
        "ENV a=" + "${a:-" * 20_000,
        "ENV a=" + '"${a:-' * 10_000,
        "ENV " + "\\" * 50_001,
        "ENV a=" + "${a#" + "*a" * 10_000 + "}",
        "COPY " + "--exclude=a " * 5_000,
        "COPY " + "--exclude='" * 5_000,
        "RUN --mount=" + "a," * 20_000,
        "RUN a " + "\\\n" * 50_000,
        "HEALTHCHECK --interval=" + "1h" * 20_000 + " CMD a",
        "EXPOSE " + "0-65535 " * 10_000,
        "ONBUILD " * 10_000 + "RUN a",
        "# a\n" * 20_000,
    ],
    ids=lambda text: text[:24],
)
def test_long_texts_take_no_time(text: str) -> None:
    """Nothing is slower than the text is long: the whole list takes moments."""
    read(f"FROM x\n{text}")
