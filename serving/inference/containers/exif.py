"""The orientation in an Exif block, read as OpenCV reads it, who reads what is there and not what should be.

A value of another type than the standard's is taken by its first two bytes, a text or fraction that lies outside the
block ends the reading, and a block that begins with anything but a TIFF header is none: in a WebP, `Exif` and two zeros
may not stand before it, and OpenCV overlooks such a block.
"""

from typing import Literal

ORIENTATION_TAG = 0x0112
TEXT_TAGS = frozenset({0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x8298})
"""Description, make, model, software, date and copyright: OpenCV reads these on its way."""
FRACTIONS = {0x011A: 1, 0x011B: 1, 0x013E: 2, 0x013F: 6, 0x0211: 3, 0x0214: 6}
"""How many fractions of eight bytes it reads of resolutions, white, colours, and what black is."""
MOST_ENTRIES = 1000
"""Of a block; cameras write dozens, in rising order of the tags, and orientation is among the first."""
ORDERS: dict[bytes, Literal["little", "big"]] = {b"II*\x00": "little", b"MM\x00*": "big"}
"""Headers of a block, and which byte of a number comes first then."""


def is_exif(block: bytes) -> bool:
    """Whether a block has the header of one."""
    return block[:4] in ORDERS


def orientation_of(exif: bytes) -> int | None:
    """Returns the orientation that an Exif block asks for, 1 to 8; None if it says nothing of it that can be read."""
    if not is_exif(exif):
        return None
    order = ORDERS[exif[:4]]

    def number(at: int, size: int) -> int:
        if at + size > len(exif):
            raise EOFError
        return int.from_bytes(exif[at : at + size], order)

    try:
        first = number(4, 4) + 2
        for entry in range(first, first + 12 * min(number(first - 2, 2), MOST_ENTRIES), 12):
            tag = number(entry, 2)
            if tag == ORIENTATION_TAG:
                value = number(entry + 8, 2)
                return value if 1 <= value <= 8 else 1
            size = number(entry + 4, 4) if tag in TEXT_TAGS else 8 * FRACTIONS.get(tag, 0)
            if size > 4 and number(entry + 8, 4) + size > len(exif):
                return None
    except EOFError:
        pass
    return None
