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
from tests.unit.serving.inference.test_decode import behind_start, odd_jpegs, opencv, segment, shown

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
