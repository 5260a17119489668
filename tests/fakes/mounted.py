"""The tree that the mounts of a snapshot show, without attaching anything."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from corten.linux.mounts import AT_FDCWD, ATTR_RDONLY, clone_tree, overlay, set_attributes
from corten.oci.spec import Mount


@contextmanager
def mounted(mounts: Sequence[Mount]) -> Iterator[str]:
    """Make the one mount of a snapshot, detached; yield a path to its root; it is gone afterwards."""
    (mount,) = mounts
    options = dict(option.partition("=")[::2] for option in mount.options)
    if mount.type == "overlay":
        lower = options["lowerdir"].split(":")
        root = overlay(lower, options.get("upperdir", ""), options.get("workdir", ""))
    else:
        root = clone_tree(AT_FDCWD, mount.source)
    try:
        if "ro" in options:
            set_attributes(root, add=ATTR_RDONLY)
        yield f"/proc/self/fd/{root}"
    finally:
        os.close(root)
