"""The orientation in an Exif block, read as OpenCV reads it, who reads what is there and not what should be.

A value of another type than the standard's is taken by its first two bytes, a text or fraction that lies outside the
block ends the reading, and a block that begins with anything but a TIFF header is none: in a WebP, `Exif` and two zeros
may not stand before it, and OpenCV overlooks such a block.
"""

from dataclasses import dataclass
from typing import Literal

ORIENTATION_TAG = 0x0112
TEXT_TAGS = frozenset({0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x8298})
"""Description, make, model, software, date and copyright: OpenCV reads these on its way."""
FRACTIONS = {0x011A: 1, 0x011B: 1, 0x013E: 2, 0x013F: 6, 0x0211: 3, 0x0214: 6}
"""How many fractions of eight bytes it reads of resolutions, white, colours, and what black is."""
MOST_ENTRIES = 6000
"""Of a file, that are looked at: 5 ms. Cameras write dozens, in rising order of the tags, and a segment of a JPEG holds
5,460."""
ORDERS: dict[bytes, Literal["little", "big"]] = {b"II*\x00": "little", b"MM\x00*": "big"}
"""Headers of a block, and which byte of a number comes first then."""


def is_exif(block: bytes) -> bool:
    """Whether a block has the header of one."""
    return block[:4] in ORDERS


@dataclass(slots=True)
class Search:
    """The first orientation in the Exif blocks of one file.

    Attributes:
        orientation: 1 to 8; None as long as there is none that can be read.
        left: entries that are still looked at, however many blocks there are.
    """

    orientation: int | None = None
    left: int = MOST_ENTRIES

    @property
    def goes_on(self) -> bool:
        """Whether another block would be looked at."""
        return self.orientation is None and self.left > 0

    def take(self, block: bytes) -> None:
        """Looks at the next block."""
        self.orientation = orientation_of(block, self.left)
        self.left -= 1 + _entries_in(block)


def _entries_in(exif: bytes) -> int:
    """How many entries a block has, as far as they lie in it."""
    if not is_exif(exif):
        return 0
    order = ORDERS[exif[:4]]
    first = int.from_bytes(exif[4:8], order)
    return min(int.from_bytes(exif[first : first + 2], order), max(len(exif) - first - 2, 0) // 12 + 1)


def orientation_of(exif: bytes, most: int = MOST_ENTRIES) -> int | None:
    """Returns the orientation that an Exif block asks for, 1 to 8; None if it says nothing of it that can be read.

    Args:
        exif: the block.
        most: entries that are looked at.
    """
    if not is_exif(exif):
        return None
    order = ORDERS[exif[:4]]

    def number(at: int, size: int) -> int:
        if at + size > len(exif):
            raise EOFError
        return int.from_bytes(exif[at : at + size], order)

    try:
        first = number(4, 4) + 2
        for entry in range(first, first + 12 * min(number(first - 2, 2), most), 12):
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
