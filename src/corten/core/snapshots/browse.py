"""Looking into a snapshot from the host without mounting it anywhere."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from corten.linux import mounts
from corten.oci.spec import Mount


@contextmanager
def tree(root: Mount) -> Iterator[str]:
    """Give the files that the snapshot mount *root* shows as a folder, read-only, for as long as the block lasts.

    The layers, the writable one on top, are stacked in a detached mount, so
    that a container which runs on it is not disturbed and no mount table shows it.
    """
    if root.type != "overlay":
        yield root.source
        return
    words = dict(option.partition("=")[::2] for option in root.options)
    upper = [words["upperdir"]] if words.get("upperdir") else []
    descriptor = mounts.overlay([*upper, *words["lowerdir"].split(":")])
    try:
        yield f"/proc/self/fd/{descriptor}/"
    finally:
        os.close(descriptor)
