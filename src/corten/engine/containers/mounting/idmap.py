"""The maps of an idmapped mount: ``uids=FILE-SEEN-COUNT[#...][;gids=...]``. Pure.

A file that belongs to FILE on the disk is SEEN as that in the container, and
what SEEN writes there belongs to FILE. Without ``uids=`` and ``gids=`` one map is
for both; a kind that is left out stays as it is. Source: mount_setattr(2),
"ID-mapped mounts"; user_namespaces(7).
"""

from corten.errors import InvalidInput

IDMAP = "X-mount.idmap"  # as mount(8) has it
MOST = 340  # lines that the kernel takes
_KINDS = {"uids": "u", "gids": "g"}


def idmap_option(text: str) -> str:
    """Return the option of mount(8) for the maps in *text*.

    Raises:
        InvalidInput: malformed, or ids that overlap.
    """
    words: list[str] = []
    for part in text.split(";"):
        kind, separator, triples = part.partition("=")
        if separator and kind not in _KINDS:
            raise _bad(text, f"unknown kind {kind}")
        letter, triples = (_KINDS[kind], triples) if separator else ("b", part)
        found = [_triple(triple, text) for triple in triples.split("#")]
        _check(found, text)
        words += [f"{letter}:{inside}:{seen}:{count}" for inside, seen, count in found]
    letters = [word[0] for word in words]
    if (
        text.count(";") > 1
        or ("b" in letters and set(letters) != {"b"})
        or len(set(letters)) <= text.count(";")
    ):
        raise _bad(text, "give uids and gids once each")
    return f"{IDMAP}={' '.join(words)}"


def _triple(text: str, whole: str) -> tuple[int, int, int]:
    parts = text.split("-")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise _bad(whole, f"'{text}' is not FILE-SEEN-COUNT")
    inside, seen, count = (int(part) for part in parts)
    if not count or max(inside, seen) + count > 2**32 - 1:
        raise _bad(whole, f"'{text}' is out of range")
    return inside, seen, count


def _check(found: list[tuple[int, int, int]], whole: str) -> None:
    for side in (0, 1):
        end = 0
        for start, count in sorted((triple[side], triple[2]) for triple in found):
            if start < end:
                raise _bad(whole, "ranges overlap")
            end = start + count
    if len(found) > MOST:
        raise _bad(whole, f"more than {MOST} ranges")


def _bad(text: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"invalid idmap '{text}': {why}; write for example uids=0-100000-65536;gids=0-100000-65536"
    )
