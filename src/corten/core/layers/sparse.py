"""Maps of sparse files in the four forms that GNU tar has written.

A map lists the pieces of a file that have data, as (offset, length), both in
bytes; the rest are holes. Source: GNU tar manual, "Storing Sparse Files".
"""

from collections.abc import Iterable, Iterator, Mapping

from corten.errors import DataCorrupted

Pieces = list[tuple[int, int]]

HEADER_MAP = slice(386, 482)  # old GNU form: four pieces in the header
BLOCK_MAP = slice(0, 504)  # and 21 in each block that follows
HEADER_MORE, BLOCK_MORE = 482, 504  # where the byte stands that says whether one follows
HEADER_SIZE = slice(483, 495)
_PIECE = 24


def old_pieces(fields: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Split the map of an old GNU header into (offset, length) fields, up to the first empty one."""
    for at in range(0, len(fields), _PIECE):
        offset, length = fields[at : at + 12], fields[at + 12 : at + 24]
        if not length.strip(b"\0 "):
            return
        yield offset, length


def pax_pieces(records: Mapping[bytes, bytes], repeated: Iterable[tuple[bytes, bytes]]) -> Pieces:
    """Return the map that pax records hold: form 0.1 in one record, form 0.0 in repeated ones."""
    if b"GNU.sparse.map" in records:
        numbers = [_decimal(text) for text in records[b"GNU.sparse.map"].split(b",") if text]
    else:
        wanted = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
        numbers = [_decimal(value) for key, value in repeated if key in wanted]
    return _pairs(numbers)


def text_pieces(lines: Iterator[bytes]) -> Pieces:
    """Return the map of form 1.0, which precedes the data: a count, then a number on each line."""
    count = _decimal(next(lines))
    return _pairs([_decimal(next(lines)) for _ in range(2 * count)])


def check(pieces: Pieces, size: int, stored: int) -> Pieces:
    """Return *pieces* if they ascend, end within *size*, and add up to *stored*.

    Raises:
        DataCorrupted: they do not.
    """
    end = 0
    for offset, length in pieces:
        if offset < end:
            raise DataCorrupted("the map of a sparse file in the layer overlaps itself")
        end = offset + length
    if end > size or sum(length for _, length in pieces) != stored:
        raise DataCorrupted("the map of a sparse file in the layer does not match its size")
    return pieces


def _pairs(numbers: list[int]) -> Pieces:
    if len(numbers) % 2:
        raise DataCorrupted("the map of a sparse file in the layer is cut short")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise DataCorrupted(f"the map of a sparse file in the layer holds {text[:20]!r}, not a number")
    return int(text)
