"""Exif blocks, whole and odd, ask for what OpenCV takes them to ask for."""

import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.inference.apart import decode
from serving.inference.containers import exif
from serving.inference.containers.exif import MOST_ENTRIES, orientation_of
from serving.inference.formats import outline
from serving.inference.preprocess import orient
from tests.unit.serving.images import encode, noise
from tests.unit.serving.inference.test_decode import behind_start, opencv, png_chunk, segment

PHOTO = noise(40, 24)
PREFIX = b"Exif\x00\x00"
Entry = tuple[int, int, int, bytes]
ORIENTATION, MAKE, X_RESOLUTION, WIDTH = 0x0112, 0x010F, 0x011A, 0x0100


def block(order: str, *entries: Entry) -> bytes:
    """An Exif block of entries: tag, type, count, and the four bytes of the value."""
    mark = b"II*\x00" if order == "<" else b"MM\x00*"
    packed = [struct.pack(order + "HHI", tag, kind, count) + value for tag, kind, count, value in entries]
    return mark + struct.pack(order + "IH", 8, len(entries)) + b"".join(packed) + bytes(4)


def blocks(order: str) -> dict[str, bytes]:
    short = (ORIENTATION, 3, 1, struct.pack(order + "HH", 6, 0))
    outside = struct.pack(order + "I", 4000)
    return {
        "as cameras write it": block(order, short),
        "a number of four bytes": block(order, (ORIENTATION, 4, 1, struct.pack(order + "I", 6))),
        "a number of one byte": block(order, (ORIENTATION, 1, 1, bytes([6, 0, 0, 0]))),
        "twice": block(order, short, (ORIENTATION, 3, 1, struct.pack(order + "HH", 3, 0))),
        "behind a maker outside": block(order, (MAKE, 2, 400, outside), short),
        "behind a short maker": block(order, (MAKE, 2, 3, b"Me\x00\x00"), short),
        "behind a resolution outside": block(order, (X_RESOLUTION, 5, 1, outside), short),
        "behind what nobody reads": block(order, (WIDTH, 2, 400, outside), short),
        "before a maker outside": block(order, short, (MAKE, 2, 400, outside)),
        "cut": block(order, short, (MAKE, 2, 400, outside))[:24],
        "without an end": block(order, short)[:-4],
        "nine": block(order, (ORIENTATION, 3, 1, struct.pack(order + "HH", 9, 0))),
        "of another format": block(order, short).replace(b"*", b"+", 1),
        "with a prefix of its own": PREFIX + block(order, short),
        "nothing": block(order),
    }


def in_jpeg(*found: bytes) -> bytes:
    return behind_start(encode(PHOTO), b"".join(segment(0xE1, PREFIX + one) for one in found))


def in_png(*found: bytes) -> bytes:
    data = encode(PHOTO, "PNG")
    return data[:33] + b"".join(png_chunk(b"eXIf", one) for one in found) + data[33:]


def in_webp(found: bytes) -> bytes:
    head = (
        b"VP8X" + struct.pack("<I", 10) + bytes([8, 0, 0, 0]) + (39).to_bytes(3, "little") + (23).to_bytes(3, "little")
    )
    chunk = b"EXIF" + struct.pack("<I", len(found)) + found + bytes(len(found) % 2)
    body = b"WEBP" + head + encode(PHOTO, "WEBP")[12:] + chunk
    return b"RIFF" + struct.pack("<I", len(body)) + body


def shown(data: bytes) -> NDArray[np.uint8]:
    decoded = decode(data, 10_000)
    return orient(decoded.pixels, decoded.orientation)[:, :, :3]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("container", [in_jpeg, in_png, in_webp])
def test_every_block_turns_as_opencv_turns(container: object, order: str) -> None:
    differing = []
    for name, found in blocks(order).items():
        data = container(found)  # type: ignore[operator]
        if not np.array_equal(shown(data), opencv(data)):
            differing.append(name)
    assert differing == []


@pytest.mark.parametrize("container", [in_jpeg, in_png])
@pytest.mark.parametrize("first", ["nothing", "nine", "of another format", "as cameras write it"])
def test_of_several_blocks_the_one_counts_that_opencv_takes(container: object, first: str) -> None:
    second = block("<", (ORIENTATION, 3, 1, struct.pack("<HH", 3, 0)))
    data = container(blocks("<")[first], second)  # type: ignore[operator]
    assert np.array_equal(shown(data), opencv(data))


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many entries of each block were looked at, at most."""
    seen: list[int] = []

    def counted(found: bytes, most: int = MOST_ENTRIES) -> int | None:
        seen.append(min(int.from_bytes(found[8:10], "little"), most))
        return orientation_of(found, most)

    monkeypatch.setattr(exif, "orientation_of", counted)
    return seen


def many(entries: int) -> bytes:
    return block("<", *[(WIDTH, 3, 1, bytes(4))] * entries)


TURNED = block("<", (ORIENTATION, 3, 1, struct.pack("<HH", 6, 0)))


@pytest.mark.parametrize(("blocks", "entries"), [(1, 5000), (2, 5000), (300, 1000), (1200, 1000), (3000, 100)])
def test_blocks_together_are_looked_at_no_longer_than_one(looked_at: list[int], blocks: int, entries: int) -> None:
    data = in_jpeg(*[many(entries)] * blocks, TURNED)
    found = outline(data)[2].orientation
    assert sum(looked_at) <= MOST_ENTRIES
    assert found == (6 if blocks * entries < MOST_ENTRIES else 1)


def test_the_largest_block_that_a_segment_holds_is_read_to_its_end() -> None:
    entries = [(WIDTH, 3, 1, bytes(4))] * 5450
    data = in_jpeg(block("<", *entries, (ORIENTATION, 3, 1, struct.pack("<HH", 6, 0))))
    assert np.array_equal(shown(data), opencv(data))
    assert shown(data).shape[:2] == (40, 24)


def test_a_block_of_countless_entries_is_given_up() -> None:
    entries = [(WIDTH, 3, 1, bytes(4))] * (2 * MOST_ENTRIES)
    assert orientation_of(block("<", *entries, (ORIENTATION, 3, 1, struct.pack("<HH", 6, 0)))) is None


def test_what_opencv_calls_upright_is_named_so() -> None:
    assert [orientation_of(block("<", (ORIENTATION, 3, 1, struct.pack("<HH", turn, 0)))) for turn in range(10)] == [
        1, 1, 2, 3, 4, 5, 6, 7, 8, 1,
    ]  # fmt: skip
    assert orientation_of(b"") is None
