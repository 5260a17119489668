"""Here-documents: where one is asked for, and where its body ends."""

import pytest

from corten.engine.builds.dockerfile.heredoc import markers
from corten.engine.builds.dockerfile.instructions import Add, Copy, OnBuild, Run
from corten.engine.builds.dockerfile.parse import parse
from corten.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("RUN <<EOF", ["EOF"]),
        ("RUN cat <<A 3<<-B > x", ["A", "B"]),
        ("RUN cat <<A|sh", ["A"]),
        ("RUN cat <<A>x", ["A"]),
        ("RUN cat <<'E F' && echo", ["E F"]),
        ('RUN cat <<"EOF"', ["EOF"]),
        ("RUN cat <<\\EOF", ["EOF"]),
        ("RUN x=$(cat <<EOF", ["EOF"]),
        ("RUN echo '<<EOF'", []),
        ('RUN echo "a <<EOF"', []),
        ("RUN cat <<<word", []),
        ("RUN cat <<< word", []),
        ("RUN cat << EOF", []),
        ("RUN echo $((1 <<2))", []),
        ("RUN echo $((1<<2))", []),
        ("RUN echo $(( (1) <<2 ))", []),
        ('RUN ["sh", "-c", "cat <<EOF"]', []),
        ("RUN cat <<", []),
        ("RUN cat <<-", []),
        ("RUN cat <<''", []),
        ("RUN a\\ <<EOF", []),
    ],
)
def test_here_documents_are_words_of_their_own(text: str, names: list[str]) -> None:
    """Quoted text, arithmetic and here-strings are none."""
    assert [marker.name for marker in markers(text, "\\", shell=True)] == names


@pytest.mark.parametrize(
    ("word", "expands"),
    [("EOF", True), ('"EOF"', False), ("'EOF'", False), ("E\\OF", False), ('E"O"F', False)],
)
def test_a_quoted_word_keeps_variables(word: str, expands: bool) -> None:
    """Any quoting of the word switches expansion off."""
    run = parse(f"FROM x\nRUN <<{word}\n$a\nEOF\n").stages[0].instructions[0]

    assert isinstance(run, Run)
    assert [(found.name, found.body, found.expands) for found in run.heredocs] == [("EOF", "$a\n", expands)]


def test_several_bodies_follow_in_order() -> None:
    """Each body begins where the one before ended, and instructions go on after the last."""
    stage = parse("FROM x\nCOPY <<A <<B s /d/\na\n# no comment\n\nA\nb \\\nB\nRUN c").stages[0]

    copy, run = stage.instructions
    assert isinstance(copy, Copy)
    assert copy.sources == ("s",)
    assert copy.destination == "/d/"
    assert [found.body for found in copy.heredocs] == ["a\n# no comment\n\n", "b \\\n"]
    assert isinstance(run, Run)


def test_tabs_are_stripped_on_request() -> None:
    """``<<-`` strips leading tabs of the body and of its end, and no blanks."""
    add = parse("FROM x\nADD <<-E /d\n\t\ta\n \tb\n\tE\n").stages[0].instructions[0]

    assert isinstance(add, Add)
    assert add.heredocs[0].body == "a\n \tb\n"


def test_only_the_word_alone_ends_a_body() -> None:
    """Blanks around the word make it part of the body; the end of a Windows line does not."""
    run = parse("FROM x\nRUN <<E\nE \n E\nE\r\n").stages[0].instructions[0]

    assert isinstance(run, Run)
    assert run.heredocs[0].body == "E \n E\n"


def test_a_body_without_end_is_pointed_at() -> None:
    """The message names the place of the here-document, not the end of the file."""
    with pytest.raises(InvalidInput, match=r'^Dockerfile:2:9: .*line that holds only "EOF"$'):
        parse("FROM x\nRUN cat <<EOF\na\n EOF\n")


def test_a_destination_is_a_path() -> None:
    """A here-document cannot be copied to."""
    with pytest.raises(InvalidInput, match=r"^Dockerfile:2:8: expected a path as destination"):
        parse("FROM x\nCOPY a <<EOF\nEOF\n")
    with pytest.raises(InvalidInput, match="destination"):
        parse("FROM x\nCOPY <<EOF\nEOF\n")


def test_other_instructions_have_none() -> None:
    """CMD leaves ``<<EOF`` to the shell."""
    assert len(parse("FROM x\nCMD cat <<EOF\nRUN EOF").stages[0].instructions) == 2


def test_a_sole_here_document_is_the_script() -> None:
    """Alone it is what the shell runs; with ``#!`` it is a program."""
    plain, script = (
        parse("FROM x\nRUN <<E\na\nb\nE\nRUN <<-'E'\n\t#!/bin/x\n\ta\n\tE\n").stages[0].instructions
    )

    assert isinstance(plain, Run)
    assert isinstance(script, Run)
    assert plain.script is None
    assert plain.arguments(("sh", "-c")) == ("sh", "-c", "a\nb\n")
    assert script.script is not None
    assert script.script.body == "#!/bin/x\na\n"


def test_a_command_gets_its_here_documents() -> None:
    """With a command the shell gets both, as it would from a file."""
    run = parse("FROM x\nRUN cat <<A <<'B' > x\na\nA\nb\nB\n").stages[0].instructions[0]

    assert isinstance(run, Run)
    assert run.arguments() == ("/bin/sh", "-c", "cat <<A <<'B' > x\na\nA\nb\nB")


def test_a_trigger_keeps_its_body() -> None:
    """ONBUILD stores the body with the instruction."""
    found = parse("FROM x\nONBUILD COPY <<E /d\n\tb\nE\n").stages[0].instructions[0]

    assert isinstance(found, OnBuild)
    assert found.trigger == "COPY <<E /d\n\tb\nE"
