"""Where this machine gets its Debian packages."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.engine.images.apt_sources import Source, for_suite, parse_deb822, parse_list, read
from corten.errors import NotFound

DEB822 = """\
# comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: https://third.example/node_20.x
Suites: nodistro
Components: main

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""

ONE_LINE = """\
# deb http://off.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg trusted=yes] http://mirror.example/debian bookworm main non-free # note
deb-src http://mirror.example/debian bookworm main
deb http://security.example/debian-security bookworm-security main
deb https://node.example/node_18.x bookworm main
deb https://docker.example/linux/debian bookworm stable
deb http://flat.example/ ./
nonsense
"""


def suites(sources: list[Source]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the URI and the suites of each source."""
    return [(source.uris[0], source.suites) for source in sources]


def test_deb822() -> None:
    """Enabled binary sources come with their options; keys in place keep their lines."""
    found = list(parse_deb822(DEB822))
    assert [source.uris[0].rpartition("/")[2] for source in found] == [
        "debian",
        "debian-security",
        "node_20.x",
    ]
    assert found[0].keyring == "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert found[1].options["Signed-By"].splitlines()[3] == " abc"
    assert found[1].keyring == ""


def test_one_line() -> None:
    """Options get their deb822 names; comments, source packages and nonsense are left out."""
    first = next(parse_list(ONE_LINE))
    assert first.components == ("main", "non-free")
    assert first.options == {"Architectures": "amd64", "Signed-By": "/k.gpg", "Trusted": "yes"}


def test_the_machines_own_release() -> None:
    """Release, updates and security stay, of main alone; backports and third parties go."""
    found = for_suite(parse_deb822(DEB822), "bookworm", "bookworm")
    assert suites(found) == [
        ("http://mirror.example/debian", ("bookworm", "bookworm-updates")),
        ("http://mirror.example/debian-security", ("bookworm-security",)),
    ]
    assert {source.components for source in found} == {("main",)}


def test_third_parties_with_debians_suite_names() -> None:
    """A suite named like the release is not enough: the archive must be Debian's, and have main."""
    found = for_suite(parse_list(ONE_LINE), "bookworm", "bookworm")
    assert [uri for uri, _ in suites(found)] == [
        "http://mirror.example/debian",
        "http://security.example/debian-security",
    ]


def test_another_release_from_the_same_archive() -> None:
    """A release that the machine does not name is taken from where its own comes from."""
    found = for_suite(parse_deb822(DEB822), "trixie", "bookworm")
    assert [found_suites for _, found_suites in suites(found)] == [
        ("trixie", "trixie-updates"),
        ("trixie-security",),
    ]


def test_sid_has_no_updates() -> None:
    """The unstable release has neither updates nor security fixes of its own."""
    found = for_suite(parse_deb822(DEB822), "sid", "bookworm")
    assert [found_suites for _, found_suites in suites(found)] == [("sid",)]


def test_a_machine_that_says_stable() -> None:
    """Sources may name a release by its role."""
    sources = [Source(uris=("http://m.example/debian",), suites=("stable",), components=("main",))]
    assert suites(for_suite(sources, "bookworm", "bookworm")) == [("http://m.example/debian", ("bookworm",))]


def test_a_mirror_without_debian_in_its_name() -> None:
    """Where nothing is named debian, whoever has the suite and main is taken."""
    sources = [Source(uris=("http://m.example/os",), suites=("bookworm",), components=("main",))]
    assert len(for_suite(sources, "bookworm", "bookworm")) == 1


@pytest.mark.parametrize(
    "text", ["", "Types: deb\nURIs: https://x.example/y\nSuites: other\nComponents: main\n"]
)
def test_no_archive(text: str) -> None:
    """Without a Debian archive the failure says what to add."""
    with pytest.raises(NotFound, match="add one to"):
        for_suite(parse_deb822(text), "bookworm", "bookworm")


def test_written_form_reads_back() -> None:
    """What is handed on says the same as what was read."""
    found = for_suite(parse_deb822(DEB822), "bookworm", "bookworm")
    assert list(parse_deb822("\n".join(source.deb822() for source in found))) == found


def test_reading_a_folder(tmp_path: Path) -> None:
    """Both formats are read; other files are not."""
    (tmp_path / "sources.list").write_text(ONE_LINE)
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "debian.sources").write_text(DEB822)
    (tmp_path / "sources.list.d" / "old.list.disabled").write_text(ONE_LINE)
    assert len(read(tmp_path)) == 5 + 3
    assert read(tmp_path / "missing") == []


@given(st.text(alphabet="deb:[]=# \n/aTypesURIsSuites", max_size=80))
def test_any_text_is_read(text: str) -> None:
    """No text makes the readers fail."""
    list(parse_deb822(text))
    list(parse_list(text))
