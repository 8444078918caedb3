"""Of an animated PNG the picture is shown that OpenCV and browsers show first."""

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from serving.errors import RequestError
from serving.inference.apart import decode
from serving.inference.containers import png
from serving.inference.preprocess import orient
from tests.unit.serving.images import encode, noise
from tests.unit.serving.inference.test_decode import exif, opencv, png_chunk

OWN, FIRST, SECOND = (noise(60, 44, seed) for seed in range(3))
Chunk = tuple[bytes, bytes]


def chunks(*, own: bool, mode: str = "RGB") -> list[Chunk]:
    """Kind and content of each chunk of an animation, whose file begins with a picture of its own if so asked."""
    buffer = io.BytesIO()
    images = [image.convert(mode) for image in (OWN, FIRST, SECOND)]
    images[0].save(buffer, "PNG", save_all=True, append_images=images[1:], default_image=own)
    data, at, found = buffer.getvalue(), 8, []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4])
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def joined(parts: Sequence[Chunk]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, body) for kind, body in parts)


def looks(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    decoded = decode(data, 100_000)
    return orient(decoded.pixels, decoded.orientation)[:, :, :3]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
@pytest.mark.parametrize("own", [False, True])
def test_the_first_picture_of_the_animation_is_shown(own: bool, mode: str) -> None:
    data = joined(chunks(own=own, mode=mode))
    assert np.array_equal(looks(data), opencv(data))
    assert np.array_equal(looks(data), np.asarray((FIRST if own else OWN).convert(mode).convert("RGB"))) or mode == "P"


def test_a_picture_that_is_smaller_lies_on_black() -> None:
    parts = chunks(own=True)
    at = next(number for number, (kind, _) in enumerate(parts) if kind == b"fcTL")
    small = noise(20, 10, 7)
    head = parts[at][1]
    parts[at] = b"fcTL", head[:4] + struct.pack(">IIII", 20, 10, 30, 5) + head[20:]
    rows = b"".join(b"\x00" + row.tobytes() for row in np.asarray(small))
    data_at = next(number for number, (kind, _) in enumerate(parts) if kind == b"fdAT")
    after = next(number for number in range(data_at, len(parts)) if parts[number][0] != b"fdAT")
    parts[data_at:after] = [(b"fdAT", parts[data_at][1][:4] + zlib.compress(rows))]
    data = joined(parts)
    expected = np.zeros((44, 60, 3), np.uint8)
    expected[5:15, 30:50] = np.asarray(small)
    assert np.array_equal(looks(data), expected)
    assert np.array_equal(looks(data), opencv(data))


def test_one_that_reaches_outside_leaves_the_files_own_picture() -> None:
    parts = chunks(own=True)
    at = next(number for number, (kind, _) in enumerate(parts) if kind == b"fcTL")
    head = parts[at][1]
    parts[at] = b"fcTL", head[:4] + struct.pack(">IIII", 60, 44, 1, 0) + head[20:]
    assert np.array_equal(looks(joined(parts)), np.asarray(OWN))


def test_the_order_of_the_chunks_counts_and_not_their_numbers() -> None:
    parts = [
        (kind, b"\x00\x00\x00\x09" + body[4:] if kind in {b"fcTL", b"fdAT"} else body)
        for kind, body in chunks(own=True)
    ]
    data = joined(parts)
    assert np.array_equal(looks(data), np.asarray(FIRST))
    assert np.array_equal(looks(data), opencv(data))


@pytest.mark.parametrize("own", [False, True])
def test_exif_turns_a_still_and_no_animation(own: bool) -> None:
    parts = chunks(own=own)
    data = joined([*parts[:1], (b"eXIf", exif(6)), *parts[1:]])
    assert np.array_equal(looks(data), opencv(data))
    assert decode(data, 100_000).orientation == 1
    assert decode(encode(OWN, "PNG", exif=exif(6)), 100_000).orientation == 6


def test_an_animation_of_thousands_of_pictures_is_looked_at_up_to_its_second() -> None:
    parts = chunks(own=True)
    many = joined([*parts[:-1], *parts[-3:-1] * 2500, parts[-1]])
    assert png.shown(many).is_plain
    assert np.array_equal(looks(many), np.asarray(FIRST))


def test_the_whole_counts_for_the_limit_on_pixels() -> None:
    parts = chunks(own=True)
    parts[0] = b"IHDR", struct.pack(">II", 60_000, 44_000) + parts[0][1][8:]
    with pytest.raises(RequestError) as refused:
        decode(joined(parts), 25_000_000)
    assert refused.value.status == 413
    assert Image.MAX_IMAGE_PIXELS is None
