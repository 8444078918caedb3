"""What a JPEG holds beside its pixels is left out before Pillow would read all of it."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.inference.apart import decode
from serving.inference.containers.jpeg import MAX_SEGMENTS, bare
from serving.inference.formats import outline_jpeg
from tests.unit.serving.images import encode, noise
from tests.unit.serving.inference.containers.test_exif import TURNED
from tests.unit.serving.inference.test_decode import behind_start, odd_jpegs, opencv, segment, shown, with_scans

PLAIN = encode(noise(96, 64), subsampling=0)
EXIF = segment(0xE1, b"Exif\x00\x00" + TURNED)
BESIDE = {
    "Exif": EXIF,
    "XMP": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\x00<x/>"),
    "a profile": segment(0xE2, b"ICC_PROFILE\x00\x01\x01" + bytes(300)),
    "several pictures": segment(0xE2, b"MPF\x00" + TURNED),
    "Photoshop's": segment(0xED, b"Photoshop 3.0\x008BIM" + bytes(40)),
    "a remark": segment(0xFE, b"a remark"),
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_is_no_pixel_is_left_out(name: str) -> None:
    assert bare(behind_start(PLAIN, BESIDE[name] * 3)) == PLAIN


def test_what_says_what_the_colours_are_stays() -> None:
    inks = encode(noise(96, 64).convert("CMYK"), subsampling=0)
    assert b"Adobe" in bare(inks)
    assert PLAIN[:20] == bare(PLAIN)[:20]


@pytest.mark.parametrize("cut", [2, 3, 4, 6, 30, 200])
def test_a_file_that_is_cut_is_walked_to_its_end(cut: int) -> None:
    assert PLAIN.startswith(bare(behind_start(PLAIN, EXIF)[:cut]))


def test_one_with_too_many_segments_is_cleared_of_so_many() -> None:
    data = behind_start(PLAIN, segment(0xFE, b"") * (MAX_SEGMENTS + 10))
    assert len(data) - len(bare(data)) == 4 * MAX_SEGMENTS


@pytest.mark.parametrize("hidden", [b"\xff\xd9" + EXIF, *(segment(one, EXIF) for one in (0xC8, 0xF0, 0xF7, 0xFD))])
def test_where_pillow_finds_segments_that_are_not_found_here_it_reads_them_where_it_can_be_ended(hidden: bytes) -> None:
    """Those of 16 MB took it 16 s, in the thread that asked."""
    assert not outline_jpeg(behind_start(PLAIN, hidden)).is_plain
    with Image.open(io.BytesIO(bare(behind_start(PLAIN, hidden)))) as found:
        assert "exif" in found.info, "another Pillow finds what is found here"
    assert outline_jpeg(behind_start(PLAIN, EXIF)).is_plain


def test_pillow_is_given_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would put the blocks together, each time anew, and read whatever they name."""
    odd, given, whole = dict(odd_jpegs())["stray bytes between segments"], list[bytes](), Image.open

    def opened(file: Any, **options: Any) -> Image.Image:
        given.append(file.getvalue())
        return whole(file, **options)

    monkeypatch.setattr(Image, "open", opened)
    data = behind_start(odd, EXIF * 200 + BESIDE["a profile"] * 200)
    assert decode(data, 10_000).orientation == 6
    assert given == [odd]
    assert np.array_equal(shown(data), opencv(data))


VIDEO = np.random.default_rng(5).bytes(6 << 20)
PROGRESSIVE = encode(noise(96, 64), progressive=True)
BEHIND = {
    "a video": VIDEO,
    "a brighter picture": PROGRESSIVE * 9,
    "a video that begins with a scan": b"\xff\xda" + VIDEO,
}


@pytest.mark.parametrize("first", [PLAIN, PROGRESSIVE], ids=["baseline", "progressive"])
@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
def test_what_stands_behind_a_photo_makes_it_no_unusual_one(first: bytes, behind: bytes) -> None:
    """Phones store a moving picture there."""
    assert outline_jpeg(first + behind).is_plain
    assert np.array_equal(shown(first + behind), opencv(first))


@pytest.mark.parametrize(
    "between",
    [
        b"",
        segment(0xFE, b"\xff\xd9"),
        segment(0xE5, b"\xff\xd9" * 9),
        b"\xff\x00\xff\xd0",
        b"\xff" * 9,
        b"\x00\xd9",
    ],
    ids=["nothing", "a remark like an end", "a segment like ends", "a restart", "padding", "no marker"],
)
def test_many_scans_are_counted_whatever_stands_between_them(between: bytes) -> None:
    assert not outline_jpeg(with_scans(PROGRESSIVE, 100, between) + VIDEO).is_plain


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\x00", b"\xff\xd0", segment(0xFE, b"")], ids=lambda one: one.hex())
def test_no_filling_takes_long_to_walk(filling: bytes) -> None:
    """A walk that went back over it would not end within this test's time."""
    start = PROGRESSIVE.rindex(b"\xff\xda")
    outline_jpeg(PROGRESSIVE[:start] + filling * ((8 << 20) // len(filling)) + PROGRESSIVE[start : start + 14] * 100)
    outline_jpeg(PROGRESSIVE[: start + 14] + filling * ((8 << 20) // len(filling)) + b"\xff\xda" * 100)
