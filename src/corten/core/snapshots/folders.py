"""Which folders a snapshot is made of, as people and their tools look for them."""

from corten.oci.spec import Mount


def folders(root: Mount) -> dict[str, str]:
    """Return the folders of the snapshot mount *root* by Docker's names, lower ones joined by colons.

    ``UpperDir`` takes what is written, or is the uppermost tree of what is for reading only.
    """
    words = dict(option.partition("=")[::2] for option in root.options)
    if "lowerdir" not in words and "upperdir" not in words:
        return {"UpperDir": root.source}
    lower = words.get("lowerdir", "").split(":")
    upper = words.get("upperdir") or lower.pop(0)
    named = {"LowerDir": ":".join(lower), "UpperDir": upper, "WorkDir": words.get("workdir", "")}
    return {name: path for name, path in named.items() if path}


def holds_changes(root: Mount) -> bool:
    """Tell whether the upper folder of *root* holds changes alone, with whiteouts, and not a whole tree."""
    return any(option.startswith("upperdir=") for option in root.options)
