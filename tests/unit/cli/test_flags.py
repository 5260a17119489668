"""Reading command lines as pflag does."""

import pytest

from corten.cli.flags import BOOL, FILTER, INT, LIST, STRING, STRINGS, HelpWanted, Parser, UsageError


def parser(least: int = 0, most: int | None = None, *, interspersed: bool = True) -> Parser:
    """A parser with a flag of each kind."""
    made = Parser("corten verb", "[OPTIONS] WORD")
    made.words(least, most, interspersed=interspersed)
    made.flag("all", BOOL, "All", short="a")
    made.flag("proxy", BOOL, "Proxy", default=True)
    made.flag("name", STRING, "Name", short="n")
    made.flag("env", LIST, "Env", short="e")
    made.flag("include", STRINGS, "Include")
    made.flag("last-one", INT, "Last", short="l", default=-1)
    made.flag("filter", FILTER, "Filter")
    made.alias("old", "name")
    return made


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--name", "x"], "name", "x"),
        (["--name=x=y"], "name", "x=y"),
        (["--name="], "name", ""),
        (["-n", "x"], "name", "x"),
        (["-nx"], "name", "x"),
        (["-n=x"], "name", "x"),
        (["-an", "x"], "name", "x"),
        (["--old", "x"], "name", "x"),
        (["-a"], "all", True),
        (["--all=false"], "all", False),
        (["--proxy=0"], "proxy", False),
        ([], "proxy", True),
        (["-a=true"], "all", True),
        (["-e", "A=1", "-eB=2", "--env", "C"], "env", ["A=1", "B=2", "C"]),
        (["--include", "a,b", "--include=c"], "include", ["a", "b", "c"]),
        (["-l", "0x10"], "last_one", 16),
        (["-l", "010"], "last_one", 8),
        (["-l-3"], "last_one", -3),
        ([], "last_one", -1),
        (["--filter", "a=b"], "filter", ["a=b"]),
        (["--name", "-a"], "name", "-a"),
    ],
)
def test_reads_every_form_of_a_flag(words: list[str], name: str, value: object) -> None:
    """Long and short forms, joined and apart, repeated, and the defaults."""
    assert getattr(parser().parse(words), name) == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--foo"], "unknown flag: --foo"),
        (["-X"], "unknown shorthand flag: 'X' in -X"),
        (["-aX"], "unknown shorthand flag: 'X' in -aX"),
        (["--name"], "flag needs an argument: --name"),
        (["-n"], "flag needs an argument: 'n' in -n"),
        (["-an"], "flag needs an argument: 'n' in -an"),
        (
            ["--all=maybe"],
            'invalid argument "maybe" for "-a, --all" flag: strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
        (
            ["--last-one", "x"],
            'invalid argument "x" for "-l, --last-one" flag: strconv.ParseInt: parsing "x": invalid syntax',
        ),
        (["---x"], "bad flag syntax: ---x"),
    ],
)
def test_says_what_docker_says(words: list[str], message: str) -> None:
    """A flag that cannot be read ends with Docker's words and status 125."""
    with pytest.raises(UsageError) as caught:
        parser().parse(words)

    assert (str(caught.value), caught.value.status) == (message, 125)


@pytest.mark.parametrize(
    ("least", "most", "words", "what"),
    [
        (1, None, [], "requires at least 1 argument"),
        (2, None, ["a"], "requires at least 2 arguments"),
        (0, 0, ["a"], "accepts no arguments"),
        (1, 1, [], "requires 1 argument"),
        (2, 2, ["a"], "requires 2 arguments"),
        (0, 1, ["a", "b"], "requires at most 1 argument"),
        (1, 2, [], "requires at least 1 and at most 2 arguments"),
    ],
)
def test_counts_the_words(least: int, most: int | None, words: list[str], what: str) -> None:
    """Too few or too many words end with status 1."""
    with pytest.raises(UsageError) as caught:
        parser(least, most).parse(words)

    assert (str(caught.value), caught.value.status) == (f"corten: 'corten verb' {what}", 1)


def test_words_and_flags_may_be_mixed() -> None:
    """Flags are read after words too, until two dashes."""
    args = parser().parse(["one", "-a", "two", "--", "-x"])

    assert (args.all, args.words) == (True, ["one", "two", "-x"])


def test_a_command_line_in_the_words_keeps_its_flags() -> None:
    """Where flags come first only, the first word ends them."""
    args = parser(interspersed=False).parse(["-a", "image", "ls", "-a", "--", "x"])

    assert args.words == ["image", "ls", "-a", "--", "x"]


def test_tells_what_was_given() -> None:
    """A default that was typed counts as given."""
    assert parser().parse(["--last-one", "-1"]).given == {"last_one"}


def test_lists_do_not_leak_into_the_next_parse() -> None:
    """Each parse starts with the defaults."""
    made = parser()
    made.parse(["-e", "A"])

    assert made.parse([]).env == []


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--bogus-later", "--help"][1:]])
def test_asks_for_help(words: list[str]) -> None:
    """--help, and -h where no flag has that letter."""
    with pytest.raises(HelpWanted):
        parser().parse(words)
