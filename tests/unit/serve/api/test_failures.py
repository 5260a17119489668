"""Failures as clients see them."""

import errno

import pytest

from corten.errors import CortenError, NotFound, StartFailed
from corten.serve.api.failures import STATUS, expected, message_of, status_of


def test_every_kind_has_a_status() -> None:
    """A kind without a row would be an internal error."""
    assert set(STATUS) == set(CortenError.__subclasses__())


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (NotFound("container", "x"), "No such container: x"),
        (NotFound("image", "x:latest"), "No such image: x:latest"),
        (NotFound("exec instance", "x"), "No such exec instance: x"),
        (NotFound("network", "x"), "network x not found"),
        (NotFound("network driver", "x"), 'plugin "x" not found'),
        (NotFound("volume plugin", "x"), 'error looking up volume plugin x: plugin "x" not found'),
        (NotFound("page", "/x"), "page not found"),
        (StartFailed("no such file", 127), "no such file"),
        (OSError(errno.EIO, "Input/output error"), "[Errno 5] Input/output error"),
    ],
)
def test_messages_are_in_dockers_words(failure: Exception, message: str) -> None:
    """Clients look for these words."""
    assert message_of(failure) == message


def test_a_defect_shows_no_detail() -> None:
    """The log has it, the client does not."""
    failure = ValueError("secret")

    assert "secret" not in message_of(failure)
    assert status_of(failure) == 500
    assert not expected(failure)
