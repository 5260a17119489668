"""Names of notes lead back to what they are about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.oci.digest import Digest
from corten.serve.registry import naming

DIGEST = Digest.of(b"x")
PARTS = st.from_regex(r"[a-z0-9]{1,5}(\.|_|__|-{1,3})?[a-z0-9]{1,5}", fullmatch=True)
REPOSITORIES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
TAGS = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,9}", fullmatch=True)


@given(REPOSITORIES, TAGS)
def test_notes_name_one_thing(repository: str, tag: str) -> None:
    """Every repository and tag of the grammar comes back from its notes."""
    assert naming.is_repository(repository)
    assert naming.is_tag(tag)
    assert naming.place_of(naming.tag_note(repository, tag)) == (repository, "_tags", tag)
    for note, kind in (
        (naming.blob_note(repository, DIGEST), "_blobs"),
        (naming.manifest_note(repository, DIGEST), "_manifests"),
    ):
        assert naming.place_of(note) == (repository, kind, DIGEST)


@pytest.mark.parametrize("tag", ["", ".", "..", ".a", "-a", "a/b", "a:b", "a b", "é", "a" * 129, "a\n"])
def test_what_is_no_tag(tag: str) -> None:
    """Nothing that could be a path or end a line is a tag."""
    assert not naming.is_tag(tag)
