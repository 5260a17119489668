"""What the conformance suites share."""

from collections.abc import Iterator

import pytest

from tests import object_store


@pytest.fixture(scope="session", autouse=True)
def _object_store() -> Iterator[None]:
    """End the S3 server after the last test, if one needed it."""
    yield
    object_store.stop()
