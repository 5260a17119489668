"""Names of images, short and long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.errors import InvalidInput
from corten.oci.digest import Digest
from corten.oci.reference import Reference

DIGEST = Digest.of(b"")
HEX = DIGEST.hex

FORMS = [
    ("debian", "docker.io/library/debian:latest", "debian:latest"),
    ("debian:12", "docker.io/library/debian:12", "debian:12"),
    ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
    ("index.docker.io/library/debian", "docker.io/library/debian:latest", "debian:latest"),
    ("me/app", "docker.io/me/app:latest", "me/app:latest"),
    ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
    ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
    ("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"),
    ("Host/app", "Host/app:latest", "Host/app:latest"),
    ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
    ("a__b-c/d.e--f", "docker.io/a__b-c/d.e--f:latest", "a__b-c/d.e--f:latest"),
    (f"debian@{DIGEST}", f"docker.io/library/debian@{DIGEST}", f"debian@{DIGEST}"),
    (f"x.io/y:1@{DIGEST}", f"x.io/y:1@{DIGEST}", f"x.io/y:1@{DIGEST}"),
]


@pytest.mark.parametrize(("text", "full", "familiar"), FORMS)
def test_short_and_full_forms(text: str, full: str, familiar: str) -> None:
    """A name is completed as Docker completes it, and shortened again for people."""
    reference = Reference.parse(text)
    assert (str(reference), reference.familiar) == (full, familiar)


def test_name_leaves_tag_and_digest_out() -> None:
    """The parts of a name can be had one by one."""
    reference = Reference.parse(f"debian:12@{DIGEST}")
    assert (reference.name, reference.repository) == ("debian", "docker.io/library/debian")
    assert (reference.tag, reference.digest) == ("12", DIGEST)


def test_default_tag_can_be_left_away() -> None:
    """A caller that wants to know whether a tag was given passes an empty default."""
    assert not Reference.parse("debian", default_tag="").tag


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "a:",
        "a@",
        "-a",
        "a/",
        "/a",
        "a//b",
        "a b",
        "a:b:c",
        "a:-x",
        "a@sha256:12",
        "a:" + "t" * 129,
        "a\n",
    ],
)
def test_malformed_names_are_refused(text: str) -> None:
    """What is no name is refused in Docker's words."""
    with pytest.raises(InvalidInput, match="invalid reference format"):
        Reference.parse(text)


def test_upper_case_is_named_as_the_reason() -> None:
    """A repository in upper case gets a message of its own, with the repository in it."""
    with pytest.raises(InvalidInput, match=r"repository name \(library/Debian\) must be lowercase"):
        Reference.parse("Debian:12")


def test_an_id_is_no_name() -> None:
    """64 hex digits always mean an id."""
    with pytest.raises(InvalidInput, match="64-byte hexadecimal"):
        Reference.parse(HEX)


def test_names_have_a_longest_length() -> None:
    """A repository has at most 255 characters, registry included."""
    Reference.parse("x.io/" + "a" * 250)
    with pytest.raises(InvalidInput, match="255"):
        Reference.parse("x.io/" + "a" * 251)


COMPONENT = st.from_regex(r"[a-z0-9]{1,8}(?:(?:[._]|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)


@given(
    domain=st.sampled_from(["docker.io", "localhost", "reg.example:5000", "[fe80::1]"]),
    path=st.lists(COMPONENT, min_size=1, max_size=3).map("/".join),
    tag=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
)
def test_written_forms_read_back(domain: str, path: str, tag: str) -> None:
    """The full form of every name reads as itself, and its familiar form as the same name."""
    reference = Reference.parse(f"{domain}/{path}:{tag}")
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference


@given(st.text(max_size=40))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    """No text makes the reader fail in another way, and what it accepts reads back."""
    try:
        reference = Reference.parse(text)
    except InvalidInput:
        return
    assert Reference.parse(str(reference)) == reference
