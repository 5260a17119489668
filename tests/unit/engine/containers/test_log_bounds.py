"""How large a container's log may become."""

import pytest
from msgspec.structs import replace

from corten.engine.containers.start import LOG_FILES, LOG_SIZE, log_bounds
from corten.engine.containers.status import Status
from corten.engine.records.config import HostConfig, LogConfig
from corten.errors import InvalidInput
from tests.unit.engine.containers.test_status import container


def bounds(kind: str = "json-file", **options: str) -> tuple[int, int]:
    """Return the bounds of a container with these options; ``max_size`` stands for ``max-size``."""
    config = {key.replace("_", "-"): value for key, value in options.items()}
    wishes = HostConfig(log_config=LogConfig(type=kind, config=config))
    return log_bounds(replace(container(Status.CREATED), host_config=wishes))


def test_logs_are_bounded_by_default() -> None:
    """Without a word of the user's a log cannot fill the disk."""
    assert bounds() == (10 << 20, 3) == (LOG_SIZE, LOG_FILES)
    assert bounds("local", compress="true", tag="x") == (LOG_SIZE, LOG_FILES)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500", 500),
        ("500b", 500),
        ("10k", 10 << 10),
        ("10K", 10 << 10),
        ("10kb", 10 << 10),
        ("10KiB", 10 << 10),
        ("5m", 5 << 20),
        ("1.5g", 3 << 29),
        ("1g", 1 << 30),
    ],
)
def test_sizes(text: str, size: int) -> None:
    """Sizes are written as elsewhere: powers of 1024, any case."""
    assert bounds(max_size=text) == (size, LOG_FILES)


def test_the_number_of_files() -> None:
    """The number is taken as it is."""
    assert bounds(max_file="7") == (LOG_SIZE, 7)
    assert bounds(max_size="1m", max_file="1") == (1 << 20, 1)


def test_no_log_at_all() -> None:
    """The driver none keeps nothing, whatever else is said."""
    assert bounds("none", max_size="nonsense")[1] == 0


@pytest.mark.parametrize(
    "options",
    [
        {"max_size": ""},
        {"max_size": "big"},
        {"max_size": "10x"},
        {"max_size": "m"},
        {"max_size": "-1"},
        {"max_size": "-5m"},
        {"max_size": "0"},
        {"max_size": "1mk"},
        {"max_size": "nan"},
        {"max_size": "inf"},
        {"max_size": "1e999"},
        {"max_file": "0"},
        {"max_file": "-1"},
        {"max_file": "three"},
        {"max_file": "1.5"},
    ],
)
def test_nonsense_is_refused(options: dict[str, str]) -> None:
    """What is no size or number is refused with an example of one."""
    with pytest.raises(InvalidInput, match="bad log option"):
        bounds(**options)
