"""Variables in instructions: where they count, and where they are the shell's."""

import pytest

from corten.engine.builds.dockerfile import substitute
from corten.engine.builds.dockerfile.instructions import (
    Add,
    Arg,
    Argument,
    Copy,
    Env,
    Expose,
    From,
    Instruction,
    Label,
    Pair,
    Run,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from corten.engine.builds.dockerfile.mounts import CacheMount, typed
from corten.engine.builds.dockerfile.parse import parse
from corten.errors import InvalidInput

VARIABLES = {"a": "A", "two": "x y", "empty": "", "q": "a=b"}


def expanded(text: str) -> Instruction:
    """Return one instruction of a stage with values in place."""
    return substitute.expand(parse(f"FROM x\n{text}").stages[0].instructions[0], VARIABLES)


def test_words_of_files_are_expanded() -> None:
    """Sources, destination, owner, mode and patterns are; a value with blanks stays one word (V02, V10)."""
    copy = expanded("COPY --chown=$a --chmod=7$u${u:-55} --exclude=$a $two $a/\n")
    add = expanded("ADD --checksum=sha256:$a $a $a")

    assert isinstance(copy, Copy)
    assert copy.sources == ("x y",)
    assert copy.chown == "A"
    assert copy.destination == "A/"
    assert copy.chmod == "755"
    assert copy.exclude == ("A",)
    assert isinstance(add, Add)
    assert (add.sources, add.destination, add.checksum) == (("A",), "A", "sha256:A")


def test_bodies_are_expanded_unless_quoted() -> None:
    """COPY fills in what a here-document holds; RUN leaves that to the shell."""
    copy = expanded("COPY <<E <<'F' /d/\n$a\nE\n$a\nF\n")
    run = expanded("RUN <<E\n$a\nE\n")

    assert isinstance(copy, Copy)
    assert [found.body for found in copy.heredocs] == ["A\n", "$a\n"]
    assert isinstance(run, Run)
    assert run.heredocs[0].body == "$a\n"


def test_settings_are_expanded() -> None:
    """Names and values, with quotes removed (V01, V06)."""
    env = expanded('ENV a=1 b=$a "c d"=\'$a\' e="$two"')
    label = expanded("LABEL $a=$two")
    legacy = expanded("ENV b it is $a")
    arg = expanded("ARG b=$a c d=")

    assert isinstance(env, Env)
    assert env.pairs == (Pair("a", "1"), Pair("b", "A"), Pair("c d", "$a"), Pair("e", "x y"))
    assert isinstance(label, Label)
    assert label.pairs == (Pair("A", "x y"),)
    assert isinstance(legacy, Env)
    assert legacy.pairs == (Pair("b", "it is A"),)
    assert isinstance(arg, Arg)
    assert arg.arguments == (Argument("b", "A"), Argument("c"), Argument("d", ""))


def test_single_words_are_expanded() -> None:
    """USER, WORKDIR, STOPSIGNAL and VOLUME have words too."""
    user, workdir, volume = (
        expanded("USER $a:1"),
        expanded('WORKDIR "/$two"'),
        expanded('VOLUME ["/$a", "/$two"]'),
    )
    signal = expanded("STOPSIGNAL SIG${u:-TERM}")

    assert isinstance(user, User)
    assert user.user == "A:1"
    assert isinstance(workdir, Workdir)
    assert workdir.path == "/x y"
    assert isinstance(volume, Volume)
    assert volume.paths == ("/A", "/x y")
    assert isinstance(signal, StopSignal)
    assert signal.signal == "SIGTERM"


def test_ports_become_a_set() -> None:
    """EXPOSE splits values into words, spreads ranges and drops doubles (V10, O09)."""
    expose = parse("FROM x\nEXPOSE $p 80/tcp").stages[0].instructions[0]
    found = substitute.expand(expose, {"p": "80-81 53/UDP"})

    assert isinstance(found, Expose)
    assert found.ports == ("80/tcp", "81/tcp", "53/udp")


def test_from_is_expanded() -> None:
    """Image and platform are (F06)."""
    start = parse("FROM --platform=$p debian:${v:-12}").stages[0].start
    found = substitute.expand(start, {"p": "linux/arm64"})

    assert isinstance(found, From)
    assert (found.image, found.platform) == ("debian:12", "linux/arm64")


def test_mounts_are_expanded_and_judged() -> None:
    """Values of mounts may hold variables; what they become must fit."""
    run = expanded("RUN --mount=type=${u:-cache},target=/$a a $a")

    assert isinstance(run, Run)
    assert typed(run.mounts[0]) == CacheMount(target="/A", id="/A")
    assert run.command.words == ("a $a",)
    with pytest.raises(InvalidInput, match=r"^Dockerfile:2:5: expected target=PATH"):
        expanded("RUN --mount=type=cache,target=$empty a")


@pytest.mark.parametrize(
    "text", ["RUN $a", "CMD $a", 'ENTRYPOINT ["$a"]', "HEALTHCHECK CMD $a", 'SHELL ["$a"]', "MAINTAINER $a"]
)
def test_commands_are_left_alone(text: str) -> None:
    """The text of a command is the shell's matter (V01)."""
    instruction = parse(f"FROM x\n{text}").stages[0].instructions[0]
    assert substitute.expand(instruction, VARIABLES) is instruction
    assert not substitute.words_of(instruction)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("WORKDIR $empty", "2:9: expected a path, found an empty text: give the variable a value"),
        ("VOLUME /x $empty", "2:11: expected a path for each volume, found an empty one"),
        ("ENV $empty=x", '2:5: expected a name without equals sign, found ""'),
        ("ENV ${e:-$q}=x", '2:5: expected a name without equals sign, found "a=b"'),
        ("ARG ${u}", "2:5: expected a name, found an empty one"),
        ("ENV x=1 \\\n y=${a", "3:4: expected } to end ${a"),
        ("COPY --chmod=$a b c", "2:14: expected a mode such as 0755"),
        ("STOPSIGNAL $a", '2:12: expected a signal such as SIGTERM or 15, found "A"'),
        ("EXPOSE 1 $a", "2:10: expected PORT or FIRST-LAST"),
        ("EXPOSE ${a", "2:8: expected } to end ${a"),
        ("USER E'", "2:7: expected a closing single quote"),
        ("COPY <<E d\n${a:-\nE\n", "2:6: expected } to end ${...} in the here-document"),
        ('LABEL a="${u:?why not}"', "2:10: u: why not: give it a value"),
    ],
)
def test_what_values_make_of_words_is_judged(text: str, message: str) -> None:
    """A word that became impossible is pointed at."""
    with pytest.raises(InvalidInput) as failure:
        expanded(text)
    assert str(failure.value).startswith(f"Dockerfile:{message}")


def test_empty_users_and_labels_are_dockers() -> None:
    """An empty USER is root, and a label may have no name; Docker builds both."""
    user, label = expanded("USER $empty"), expanded("LABEL $empty=x")

    assert isinstance(user, User)
    assert not user.user
    assert isinstance(label, Label)
    assert label.pairs == (Pair("", "x"),)


def test_an_image_needs_a_name() -> None:
    """FROM with a variable that is empty says so."""
    with pytest.raises(InvalidInput, match=r"^Dockerfile:1:6: expected the name of an image"):
        substitute.expand(parse("FROM $x").stages[0].start, {})


@pytest.mark.parametrize(
    "text",
    [
        "COPY --chown=$1 --chmod=$2 --exclude=$3 $4 $5",
        "ADD --checksum=$1 --chown=$2 $3 $4",
        "ENV $1=$2",
        "LABEL $1=$2",
        "EXPOSE $1",
        "VOLUME $1",
        "USER $1",
        "WORKDIR $1",
        "STOPSIGNAL $1",
        "RUN --mount=target=$1 a",
        "ARG a=$1",
    ],
)
def test_lint_sees_the_same_words(text: str) -> None:
    """Every word that is expanded is told."""
    instruction = parse(f"FROM x\n{text}").stages[0].instructions[0]
    words = " ".join(substitute.words_of(instruction))
    assert words.count("$") == text.count("$")
