import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.inference.preprocess import STRIDE, Frame, Letterbox, Pixels, fill, orient, resize
from tests.unit.serving.images import noise, rotated
from tests.unit.serving.inference.theirs import LetterBox, scale_boxes

sides = st.integers(1, 700)


def pixels_of(width: int, height: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8)


@settings(max_examples=60)
@given(sides, sides, st.integers(1, 400), st.integers(1, 400))
def test_resizing_equals_opencvs_bilinear_bit_for_bit(width: int, height: int, to_w: int, to_h: int) -> None:
    pixels = pixels_of(width, height)
    assert np.array_equal(resize(pixels, to_w, to_h), cv2.resize(pixels, (to_w, to_h)))


@settings(max_examples=60)
@given(st.integers(8, 2000), st.integers(8, 2000), st.sampled_from([64, 320, 640]), st.booleans())
def test_the_letterbox_is_that_of_ultralytics(width: int, height: int, size: int, square: bool) -> None:
    pixels = pixels_of(width, height)
    box = Letterbox.fit(width, height, Frame.square(size, size if square else STRIDE))
    ours = np.empty((3, box.frame_height, box.frame_width), np.float32)
    fill(ours, pixels, 1, box)
    theirs = LetterBox((size, size), auto=not square)(image=pixels[:, :, :3].copy())
    assert isinstance(theirs, np.ndarray)
    assert np.array_equal(ours, theirs.transpose(2, 0, 1).astype(np.float32) / 255)


@settings(max_examples=60)
@given(st.integers(8, 5000), st.integers(8, 5000), st.sampled_from([64, 320, 640]))
def test_boxes_are_mapped_back_as_ultralytics_maps_them(width: int, height: int, size: int) -> None:
    """Told where the image lies. Left to guess it from the frame, it errs for one shape in 140 or so."""
    boxes = np.random.default_rng(width).uniform(-20, size + 20, (12, 4)).astype(np.float32)
    box = Letterbox.fit(width, height, Frame.square(size))
    ours = box.to_image(boxes)
    lies = ((box.inner_height / height, box.inner_width / width), (box.left, box.top))
    theirs = scale_boxes((box.frame_height, box.frame_width), boxes.copy(), (height, width), ratio_pad=lies)
    assert ours == pytest.approx(theirs, abs=0.01)


def test_the_thinnest_image_still_fills_one_row() -> None:
    box = Letterbox.fit(20_000, 1, Frame.square(320))
    assert (box.inner_width, box.inner_height) == (320, 1)
    assert (box.frame_width, box.frame_height) == (320, STRIDE)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_as_pillow_applies_it(orientation: int) -> None:
    import io

    from PIL import Image, ImageOps

    stored = Image.open(io.BytesIO(rotated(noise(40, 24), orientation)))
    expected = np.asarray(ImageOps.exif_transpose(stored))
    assert np.array_equal(orient(np.asarray(stored.convert("RGBX")), orientation)[:, :, :3], expected)


@settings(max_examples=40)
@given(st.integers(8, 900), st.integers(8, 900), st.sampled_from([(192, 192), (128, 320), (320, 64)]), st.booleans())
def test_frames_of_other_grids_and_sides_are_those_of_ultralytics(
    width: int, height: int, sides: tuple[int, int], stretched: bool
) -> None:
    pixels = pixels_of(width, height)
    box = Letterbox.fit(width, height, Frame(*sides, stride=64, stretched=stretched, least_width=64, least_height=64))
    ours = np.empty((3, box.frame_height, box.frame_width), np.float32)
    fill(ours, pixels, 1, box)
    theirs = LetterBox((sides[1], sides[0]), auto=not stretched, scale_fill=stretched, stride=64)
    framed = np.asarray(theirs(image=pixels[:, :, :3].copy()))
    assert np.array_equal(ours, framed.transpose(2, 0, 1).astype(np.float32) / 255)
