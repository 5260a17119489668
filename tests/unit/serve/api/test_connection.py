"""Where a request ends in what was received."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.serve.api.connection import end_of_request

LENGTH = b"POST /a HTTP/1.1\r\nHost: d\r\ncontent-LENGTH: 4\r\n\r\n{ab}"
CHUNKED = (
    b"POST /a HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4;x=y\r\n{ab}\r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n"
)
PLAIN = b"GET /a HTTP/1.1\r\nHost: d\r\n\r\n"


@pytest.mark.parametrize("request_bytes", [LENGTH, CHUNKED, PLAIN])
@given(behind=st.binary(max_size=40))
def test_ends_where_its_body_ends(request_bytes: bytes, behind: bytes) -> None:
    """Whatever follows does not belong to it."""
    assert end_of_request(request_bytes + behind) == len(request_bytes)


@pytest.mark.parametrize("request_bytes", [LENGTH, CHUNKED, PLAIN])
def test_is_incomplete_until_its_last_byte(request_bytes: bytes) -> None:
    """Every shorter piece has no end yet."""
    assert all(end_of_request(request_bytes[:size]) is None for size in range(len(request_bytes)))


@pytest.mark.parametrize("length", [b"-1", b"+1", b"1_0", b"", b"x"])
def test_malformed_lengths_are_refused(length: bytes) -> None:
    """They must not be read in a more generous way than the parser does."""
    with pytest.raises(ValueError, match=r"length|invalid literal"):
        end_of_request(PLAIN[:-2] + b"Content-Length: " + length + b"\r\n\r\n")
