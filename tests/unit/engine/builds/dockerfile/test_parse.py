"""Instructions: every form of every one, and messages that point at what is wrong."""

import pytest

from corten.engine.builds.dockerfile.instructions import (
    Add,
    Arg,
    Argument,
    Cmd,
    Command,
    Copy,
    Device,
    Entrypoint,
    Env,
    Expose,
    From,
    HealthCheck,
    Instruction,
    Label,
    Maintainer,
    OnBuild,
    Pair,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from corten.engine.builds.dockerfile.lines import Line
from corten.engine.builds.dockerfile.parse import parse, parse_trigger
from corten.errors import InvalidInput
from corten.oci.image import Healthcheck

LINE = Line("", "", ((0, 1, 1),), 1)


def one(text: str) -> Instruction:
    """Return the instruction that stands alone in a stage."""
    return parse(f"FROM x\n{text}\n").stages[0].instructions[0]


def same(found: Instruction, expected: Instruction) -> bool:
    """Compare all but the source."""
    assert type(found) is type(expected)
    names = [name for name in found.__struct_fields__ if name != "line"]
    return all(getattr(found, name) == getattr(expected, name) for name in names)


def shell(text: str) -> Command:
    """Return a command in shell form."""
    return Command((text,), True)


def program(*words: str) -> Command:
    """Return a command in exec form."""
    return Command(words, False)


@pytest.mark.parametrize(
    ("text", "image", "platform", "alias"),
    [
        ("FROM a", "a", "", ""),
        ("from a:1@sha256:b as Base", "a:1@sha256:b", "", "Base"),
        ("FROM --platform=$BUILDPLATFORM ${A:-b} AS c_d-e.f1", "${A:-b}", "$BUILDPLATFORM", "c_d-e.f1"),
    ],
)
def test_from(text: str, image: str, platform: str, alias: str) -> None:
    """FROM has an image, and may have a platform and a name (F01, F02)."""
    start = parse(text).stages[0].start
    assert (start.image, start.platform, start.alias) == (image, platform, alias)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN a  b", Run(line=LINE, command=shell("a  b"))),
        ('RUN ["a", "b c"]', Run(line=LINE, command=program("a", "b c"))),
        ("RUN ['a']", Run(line=LINE, command=shell("['a']"))),
        ("RUN [ -f x ] && y", Run(line=LINE, command=shell("[ -f x ] && y"))),
        ("RUN it's", Run(line=LINE, command=shell("it's"))),
        (
            "RUN --network=none --security=insecure a",
            Run(line=LINE, command=shell("a"), network="none", security="insecure"),
        ),
        (
            "RUN --device=v/c=d,required --device=name=e --device=f,required=0 a",
            Run(line=LINE, command=shell("a"), devices=(Device("v/c=d", True), Device("e"), Device("f"))),
        ),
        ("CMD a b", Cmd(line=LINE, command=shell("a b"))),
        ("CMD []", Cmd(line=LINE, command=program())),
        ("CMD", Cmd(line=LINE, command=program())),
        ("ENTRYPOINT", Entrypoint(line=LINE, command=program())),
        ('ENTRYPOINT ["a"]', Entrypoint(line=LINE, command=program("a"))),
        ("entrypoint a", Entrypoint(line=LINE, command=shell("a"))),
        ('SHELL ["a", "-c"]', Shell(line=LINE, words=("a", "-c"))),
    ],
)
def test_commands(text: str, expected: Instruction) -> None:
    """A JSON array is a program, anything else is for the shell (P09, R01, R06 to R08)."""
    assert same(one(text), expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("COPY a b c/", Copy(line=LINE, sources=("a", "b"), destination="c/")),
        ('COPY ["a b", "c"]', Copy(line=LINE, sources=("a b",), destination="c")),
        (
            "COPY --from=s --chown=u:g --chmod=u=rwX --link --parents=true --exclude=*.a --exclude=b x y",
            Copy(
                line=LINE,
                sources=("x",),
                destination="y",
                from_="s",
                chown="u:g",
                chmod="u=rwX",
                link=True,
                parents=True,
                exclude=("*.a", "b"),
            ),
        ),
        ("COPY --link=false -- --a b", Copy(line=LINE, sources=("--a",), destination="b")),
        (
            "ADD --chown=1 --chmod=644 --link --exclude=x --checksum=sha256:a --keep-git-dir --unpack=false u d",
            Add(
                line=LINE,
                sources=("u",),
                destination="d",
                chown="1",
                chmod="644",
                link=True,
                exclude=("x",),
                checksum="sha256:a",
                keep_git_dir=True,
                unpack=False,
            ),
        ),
        ("ADD a b", Add(line=LINE, sources=("a",), destination="b")),
    ],
)
def test_files(text: str, expected: Instruction) -> None:
    """COPY and ADD have each their flags (C01, K01 to K06, A02 to A07)."""
    assert same(one(text), expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "ENV a=1 b=\"x y\" c='z' d=",
            Env(line=LINE, pairs=(Pair("a", "1"), Pair("b", '"x y"'), Pair("c", "'z'"), Pair("d", ""))),
        ),
        ("ENV a b  c = d", Env(line=LINE, pairs=(Pair("a", "b  c = d"),), legacy=True)),
        ('LABEL a.b=c "d e"=f', Label(line=LINE, pairs=(Pair("a.b", "c"), Pair('"d e"', "f")))),
        ("LABEL a b", Label(line=LINE, pairs=(Pair("a", "b"),), legacy=True)),
        ("ARG a b=1 c=", Arg(line=LINE, arguments=(Argument("a"), Argument("b", "1"), Argument("c", "")))),
        ("EXPOSE 80 81-83/udp $p", Expose(line=LINE, ports=("80", "81-83/udp", "$p"))),
        ("VOLUME /a /b", Volume(line=LINE, paths=("/a", "/b"))),
        ('VOLUME ["/a b"]', Volume(line=LINE, paths=("/a b",))),
        ("USER a:b", User(line=LINE, user="a:b")),
        ("WORKDIR /a b", Workdir(line=LINE, path="/a b")),
        ("STOPSIGNAL 9", StopSignal(line=LINE, signal="9")),
        ("MAINTAINER it's me", Maintainer(line=LINE, author="it's me")),
    ],
)
def test_settings(text: str, expected: Instruction) -> None:
    """The other instructions keep their words as written (O01, O02, O08 to O14, O17)."""
    assert same(one(text), expected)


@pytest.mark.parametrize(
    ("text", "health"),
    [
        ("HEALTHCHECK NONE", Healthcheck(test=("NONE",))),
        ("HEALTHCHECK none", Healthcheck(test=("NONE",))),
        ("HEALTHCHECK CMD a  b", Healthcheck(test=("CMD-SHELL", "a  b"))),
        ('HEALTHCHECK cmd ["a", "b"]', Healthcheck(test=("CMD", "a", "b"))),
        (
            "HEALTHCHECK --interval=1s --timeout=2s --start-period=3s --start-interval=4s --retries=5 CMD a",
            Healthcheck(
                test=("CMD-SHELL", "a"),
                interval=10**9,
                timeout=2 * 10**9,
                start_period=3 * 10**9,
                start_interval=4 * 10**9,
                retries=5,
            ),
        ),
    ],
)
def test_health_checks(text: str, health: Healthcheck) -> None:
    """A check is a command of either form, or none (O15)."""
    assert same(one(text), HealthCheck(line=LINE, health=health))


def test_triggers() -> None:
    """ONBUILD holds the text and the instruction, which points into the same file (O16)."""
    found = one("ONBUILD  run --network=none \\\n  a")

    assert isinstance(found, OnBuild)
    assert found.trigger == "run --network=none   a"
    assert isinstance(found.instruction, Run)
    assert str(found.instruction.position) == "Dockerfile:2:10"


def test_a_stored_trigger_is_read_again() -> None:
    """What an image stores becomes the instruction that was meant."""
    found = parse_trigger("COPY <<E /d\nb\nE", "base:1")

    assert isinstance(found, Copy)
    assert found.heredocs[0].body == "b\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ONBUILD of i:1:1: expected an instruction, found nothing"),
        ("FROM x", "ONBUILD of i:1:1: FROM cannot follow ONBUILD: expected RUN, COPY or another instruction"),
        ("RUN a\nRUN b", 'ONBUILD of i:2:1: expected one instruction, found another one: "RUN b"'),
        ("FOO", 'ONBUILD of i:1:1: unknown instruction "FOO"'),
    ],
)
def test_a_bad_trigger_names_its_image(text: str, message: str) -> None:
    """The reader learns where to look."""
    with pytest.raises(InvalidInput) as failure:
        parse_trigger(text, "i")
    assert str(failure.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FORM x", '1:1: unknown instruction "FORM": did you mean FROM?'),
        ("FROM x\nEXPSOE 1", '2:1: unknown instruction "EXPSOE": did you mean EXPOSE?'),
        ("FROM x\nRUN\u00a0a", '2:1: unknown instruction "RUN\\xa0a": did you mean'),
        ("FROM x\nqqq 1", '2:1: unknown instruction "qqq": expected ADD, ARG,'),
        ("", "1:1: expected FROM, found the end of the file"),
        ("# a\nARG x\n", "2:1: expected FROM, found the end of the file"),
        ("RUN a\nFROM x", "1:1: expected FROM before RUN, which needs a stage"),
        ("FROM", '1:5: expected FROM IMAGE or FROM IMAGE AS NAME, found ""'),
        ("FROM a b", '1:6: expected FROM IMAGE or FROM IMAGE AS NAME, found "a b"'),
        ("FROM a AS 1b", "1:11: expected a stage name of letters, digits and -_. that begins with a letter"),
        ("FROM --platfrm=a b", '1:6: unknown flag "--platfrm" of FROM: did you mean --platform?'),
        ("FROM x\nRUN", "2:4: expected a command, found nothing"),
        ("FROM x\nRUN []", "2:5: expected a command, found an empty one"),
        ("FROM x\nRUN [1]", "2:5: expected a JSON array of strings: put every member in quotes"),
        ("FROM x\nRUN --network=hots a", "2:5: unknown --network=hots: did you mean host?"),
        ("FROM x\nRUN --security=x a", "2:5: unknown --security=x: expected insecure, sandbox"),
        ("FROM x\nRUN --device= a", '2:5: expected --device=KEY=VALUE,..., found ""'),
        ("FROM x\nRUN --device=required a", "2:5: expected --device=NAME[,required]"),
        ("FROM x\nRUN --device=a,b a", '2:5: expected required in --device, found "b"'),
        ("FROM x\nRUN --device=a,required=b a", '2:5: expected true or false, found "b" in --device'),
        ("FROM x\nRUN --mount=target=/ a", "2:5: expected target=PATH"),
        ("FROM x\nCOPY", "2:5: expected SOURCE... DESTINATION, found nothing"),
        ("FROM x\nCOPY a", "2:7: expected a destination after the source"),
        ("FROM x\nCOPY --from=$a b c", "2:6: --from takes no variable"),
        ("FROM x\nCOPY --checksum=a b c", '2:6: unknown flag "--checksum" of COPY'),
        ("FROM x\nCOPY --chmod=x b c", "2:14: expected a mode such as 0755 or u=rwX,go=rX"),
        ("FROM x\nADD --from=a b c", '2:5: unknown flag "--from" of ADD'),
        ("FROM x\nADD --parents a b", '2:5: unknown flag "--parents" of ADD'),
        ("FROM x\nENV", "2:4: expected ENV NAME=VALUE ..., found nothing"),
        ("FROM x\nENV a", '2:5: expected ENV NAME=VALUE, found "a" without a value'),
        ("FROM x\nENV a=b c", '2:9: expected NAME=VALUE, found "c": put values with blanks in quotes'),
        ("FROM x\nENV =b", '2:5: expected NAME=VALUE, found "=b"'),
        ('FROM x\nENV ""=b', '2:5: expected a name without equals sign, found ""'),
        ("FROM x\nENV a=b \\\n  c=it's", "3:7: expected a closing single quote"),
        ("FROM x\nLABEL", "2:6: expected LABEL NAME=VALUE ..., found nothing"),
        ("FROM x\nARG", "2:4: expected ARG NAME[=DEFAULT] ..., found nothing"),
        ("FROM x\nARG =a", '2:5: expected NAME or NAME=DEFAULT, found "=a"'),
        ("FROM x\nEXPOSE", "2:7: expected EXPOSE PORT[/PROTOCOL] ..., found nothing"),
        ("FROM x\nEXPOSE 80 x", "2:11: expected PORT or FIRST-LAST with /tcp, /udp or /sctp, found"),
        ("FROM x\nVOLUME []", "2:8: expected VOLUME PATH ..., found nothing"),
        ('FROM x\nVOLUME [""]', "2:7: expected a path for each volume, found an empty one"),
        ("FROM x\nUSER", "2:5: expected USER NAME[:GROUP], found nothing"),
        ("FROM x\nSTOPSIGNAL FOO", '2:12: expected a signal such as SIGTERM or 15, found "FOO"'),
        ("FROM x\nSHELL a", '2:7: expected a JSON array such as ["/bin/sh", "-c"], found "a"'),
        ("FROM x\nSHELL []", "2:7: expected a JSON array such as"),
        ("FROM x\nHEALTHCHECK", "2:12: expected HEALTHCHECK CMD COMMAND or HEALTHCHECK NONE"),
        ("FROM x\nHEALTHCHECK NONE a", "2:13: expected HEALTHCHECK CMD COMMAND or HEALTHCHECK NONE"),
        ("FROM x\nHEALTHCHECK CMD", "2:16: expected a command after CMD, found nothing"),
        ("FROM x\nHEALTHCHECK CMD []", "2:17: expected a command after CMD, found an empty one"),
        (
            "FROM x\nHEALTHCHECK --interval=1 CMD a",
            '2:13: expected a duration such as 30s or 1m30s, found "1"',
        ),
        (
            "FROM x\nHEALTHCHECK --retries=x CMD a",
            '2:13: expected a number from 0 on, found "x" for --retries',
        ),
        ("FROM x\nONBUILD", "2:8: expected an instruction after ONBUILD, found nothing"),
        ("FROM x\nONBUILD ONBUILD RUN a", "2:9: ONBUILD cannot follow ONBUILD"),
        ("FROM x\nONBUILD MAINTAINER a", "2:9: MAINTAINER cannot follow ONBUILD"),
        ("FROM x\nONBUILD RUN", "2:12: expected a command, found nothing"),
        ("FROM x\nWORKDIR --a b", '2:9: unknown flag "--a" of WORKDIR: WORKDIR takes none'),
        ("FROM x\nRUN a \\\n  b\n  # c\nCOPY x", "5:7: expected a destination after the source"),
    ],
)
def test_mistakes_are_pointed_at(text: str, message: str) -> None:
    """Each message has file, line, column and what was expected, on one line (P06, P07)."""
    with pytest.raises(InvalidInput) as failure:
        parse(text, "D/f")
    assert str(failure.value).startswith(f"D/f:{message}")
    assert "\n" not in str(failure.value)


def test_what_holds_variables_waits() -> None:
    """A word that may become anything is not judged yet."""
    assert parse("FROM x\nEXPOSE $a\nSTOPSIGNAL $b\nUSER $c\nCOPY --chmod=$d e f")
    assert parse("FROM x\nCOPY <<E f\n${x:?}\nE\n")


def test_another_escape_character_is_used_everywhere() -> None:
    """With a backquote, paths of Windows stay whole (D04)."""
    found = parse('# escape=`\nFROM x\nENV a=C:\\b c=`"d`\ne\n').stages[0].instructions[0]

    assert isinstance(found, Env)
    assert found.pairs[0] == Pair("a", "C:\\b")


def test_arguments_of_a_command_in_shell_form() -> None:
    """The shell stands in front of a text, never of a program."""
    assert shell("a").arguments(("sh",)) == ("sh", "a")
    assert program("a").arguments(("sh",)) == ("a",)


def test_a_file_gives_its_instructions_in_order() -> None:
    """Global arguments, stages and what is in them."""
    found = parse("ARG a\nFROM x\nRUN a\nFROM y\n")
    assert [type(instruction) for instruction in found.instructions] == [Arg, From, Run, From]
