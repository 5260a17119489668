"""Where an engine lives, and the names that follow from it."""

import pytest

from corten.serve.daemon.settings import ROOT, RUN, Settings, parse, rate


def test_the_default_engine_has_plain_names() -> None:
    """On the usual places nothing is added to the names."""
    usual = Settings(ROOT, RUN)
    assert (usual.suffix, usual.tag, usual.bridge, usual.table) == ("", "corten", "corten0", "corten")


def test_other_engines_have_names_of_their_own() -> None:
    """Two engines of one host share no kernel object, and the names do not change from start to start."""
    first, second = Settings("/a", "/b"), Settings("/a", "/c")
    names = [(e.suffix, e.tag, e.bridge, e.table) for e in (first, second, Settings("/a", "/b"))]
    assert names[0] == names[2]
    assert not set(names[0]) & set(names[1])
    assert Settings(ROOT, "/elsewhere").suffix != ""


def test_names_fit_the_kernel() -> None:
    """A link has at most 15 characters, a table of nftables no dash."""
    engine = Settings("/a" * 200, "/b" * 200)
    assert len(engine.bridge) <= 15
    assert "-" not in engine.table


def test_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given counts; places become absolute, since the daemon leaves its folder."""
    monkeypatch.setenv("CORTEN_ROOT", "/env/root")
    found = parse(["--root", "some/../place", "--run", "/r/", "--idle-exit", "30", "-D"])
    assert found.root.endswith("/place")
    assert found.root.startswith("/")
    assert (found.run, found.idle_exit, found.debug) == ("/r", 30.0, True)


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line leaves out comes from the environment, else from the usual places."""
    monkeypatch.setenv("CORTEN_ROOT", "/env/root")
    monkeypatch.delenv("CORTEN_RUN", raising=False)
    assert parse([]) == Settings("/env/root", RUN)
    monkeypatch.delenv("CORTEN_ROOT")
    assert parse([]) == Settings(ROOT, RUN)


def test_registries() -> None:
    """A file, mirrors, insecure registries, and a rate."""
    words = (
        "--registries r.toml --registry-mirror a --registry-mirror b --insecure-registry c --limit-rate 1.5M"
    )
    found = parse(words.split())
    assert found.registries.endswith("/r.toml")
    assert found.registries.startswith("/")
    assert (found.mirrors, found.insecure, found.limit_rate) == (("a", "b"), ("c",), 3 << 19)
    assert parse([]).limit_rate is None


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("1000", 1000), ("2k", 2048), ("1.5 MB/s", 3 << 19), ("1GiB", 1 << 30), ("7b", 7)],
)
def test_rates(text: str, count: int) -> None:
    """In powers of 1024, however people write them."""
    assert rate(text) == count


@pytest.mark.parametrize(
    "argv", [["--limit-rate", "fast"], ["--idle-exit", "soon"], ["--unknown"], ["extra"]]
)
def test_nonsense_is_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A command line that is not understood ends with a usage line."""
    with pytest.raises(SystemExit) as failure:
        parse(argv)
    assert failure.value.code == 2
    assert "usage: corten daemon" in capsys.readouterr().err
