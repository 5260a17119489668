"""Names of volumes and snapshots."""

import pytest

from corten.engine.volumes.naming import check, check_snapshot, generate
from corten.errors import InvalidInput


@pytest.mark.parametrize("name", ["ab", "A-b_c.9", "0x", "a" * 255, "data..", "a-"])
def test_allowed(name: str) -> None:
    """Letters, digits and three signs, of which none comes first."""
    assert check(name) == check_snapshot(name) == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "invalid characters"),
        (".trash", "invalid characters"),
        ("../x", "invalid characters"),
        ("a/b", "If you intended to pass a host directory, use absolute path"),
        ("a b", "invalid characters"),
        ("ab\n", "invalid characters"),
        ("äb", "invalid characters"),
        ("a" * 256, "too long"),
    ],
)
def test_refused(name: str, said: str) -> None:
    """Whatever else, in Docker's words where it has some."""
    with pytest.raises(InvalidInput, match=said):
        check(name)
    with pytest.raises(InvalidInput, match="snapshot name"):
        check_snapshot(name)


def test_one_letter_is_a_snapshot_but_no_volume() -> None:
    """As Docker has it for volumes."""
    assert check_snapshot("a") == "a"
    with pytest.raises(InvalidInput, match="too short"):
        check("a")


def test_an_anonymous_volume_has_a_long_name() -> None:
    """Of 64 hex digits, never the same."""
    assert len({generate(), generate()}) == 2
    assert len(check(generate())) == 64
