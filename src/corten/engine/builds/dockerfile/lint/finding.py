"""A finding: what a rule has to say about one place."""

import msgspec

from corten.engine.builds.dockerfile.lines import Position


class Finding(msgspec.Struct, frozen=True):
    """Something that works and should not be written so.

    Attributes:
        rule: The name by which Docker's build checks know it.
        position: Where it is.
        message: What is the matter and what to do, on one line.
    """

    rule: str
    position: Position
    message: str

    def __str__(self) -> str:
        return f"{self.position}: {self.message} ({self.rule})"
