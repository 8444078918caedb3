"""The segments of a JPEG before its first scan."""

import re
from collections.abc import Iterator

from serving.inference.containers.exif import Search

EXIF_PREFIX = b"Exif\x00\x00"
MAX_SEGMENTS = 4000
"""That are looked at here."""
APP1, SCAN, END = 0xE1, 0xDA, 0xD9
READ_OTHERWISE = frozenset({0xC8, *range(0xF0, 0xFE)})
"""Reserved segments, of which no camera writes one: Pillow overlooks their length, and reads on within them."""
_NEXT = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")
"""A marker with a length, or the end, behind a scan or a segment."""
NOTHING = b"\xff\xfe\x00\x02"
"""A comment without a word."""
LEFT_OUT = frozenset({*range(0xE1, 0xEE), 0xEF, 0xFE})
"""Applications' segments and comments, but for those of JFIF and Adobe, which say what the colours are."""


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker of each segment, where it begins and where it ends; the last is the first scan or the file's end.

    One that has too many ends without.
    """
    at = 2
    for _ in range(MAX_SEGMENTS):
        at = data.find(b"\xff", at)
        marker = data[at + 1] if 0 <= at < len(data) - 1 else END
        if marker in {SCAN, END}:
            yield marker, at if at >= 0 else len(data), len(data)
            return
        if marker in {0xFF, 0x00, 0x01} or 0xD0 <= marker <= 0xD8:
            at += 1  # padding between segments, and markers without a length
            continue
        end = at + 2 + max(int.from_bytes(data[at + 2 : at + 4]), 2)
        yield marker, at, end
        at = end


def has_more_scans(data: bytes, at: int, most: int) -> bool:
    """Whether the image has more scans than so many, as libjpeg reads them: from the first one at ``at`` to its end.

    What stands behind the end is no part of it. A phone puts a video there, in which as much looks like scans.
    """
    if data.count(b"\xff\xda", at) <= most:
        return False
    found = 0
    for _ in range(MAX_SEGMENTS):
        following = _NEXT.search(data, at)
        marker = following[1][0] if following else END
        if not following or marker == END:
            return False
        found += marker == SCAN
        if found > most:
            return True
        at = following.end() + max(int.from_bytes(data[following.end() : following.end() + 2]), 2)
    return True


def orientation_at(data: bytes, at: int, end: int, search: Search) -> None:
    """Looks for an orientation in an application's segment, if it is Exif and none was found before."""
    if search.goes_on and data.startswith(EXIF_PREFIX, at + 4):
        search.take(data[at + 4 + len(EXIF_PREFIX) : end])


def bare(data: bytes) -> bytes:
    """The file without what its pixels do not need: profiles, thumbnails, remarks.

    Pillow puts Exif blocks together one by one and reads all that they name, which takes minutes and gigabytes where
    somebody means it.
    """
    kept, done = [], 0
    for marker, at, end in segments(data):
        if marker in LEFT_OUT:
            kept.append(data[done:at])
            done = end
    if not done:
        return data
    rest = b"".join([*kept, data[done:]])
    # Pillow knows a JPEG by a marker right behind its start, where stray bytes behind what is left out would stand now.
    return rest if rest[2:3] in {b"\xff", b""} else rest[:2] + NOTHING + rest[2:]
