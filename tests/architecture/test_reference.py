"""Every command, endpoint and setting stands in the documentation."""

from corten.cli.groups import paths
from tests.architecture import reference


def test_the_reference_is_that_of_the_code() -> None:
    """docs/reference.md says what the code does today: after a change, run ``make reference``."""
    assert reference.FILE.read_text(encoding="utf-8") == reference.text()


def test_every_command_can_be_reached() -> None:
    """A module among the commands that no words lead to is dead."""
    assert not [module for module in reference.commands() if not paths(module)]
