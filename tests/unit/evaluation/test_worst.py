import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.evaluation.worst import (
    LONGEST_SIDE,
    MOST_IMAGES,
    MOST_PICTURE_BYTES,
    WorstImages,
    keep_worst,
    read_worst,
    thumbnail,
)
from banana_delivery.policy.quality.comparison import QualityComparison, compare
from tests.unit.policy.quality.random_leaves import random_answers

CANDIDATE = random_answers(20, seed=1, noise=9.0, model_seed=1)
PRODUCTION = random_answers(20, seed=1, noise=1.0)


def encoded(kind: str = "jpeg", size: tuple[int, int] = (300, 200), orientation: int = 1, mode: str = "RGB") -> bytes:
    """A picture that is red in the upper left quarter of its pixels."""
    pixels = Image.new(mode, size)
    pixels.paste(Image.new("RGB", (size[0] // 2, size[1] // 2), "red").convert(mode))
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    pixels.save(buffer, kind, exif=exif)
    return buffer.getvalue()


def labelled(name: str, jpeg: bytes, path: Path | None = None) -> LabelledImage:
    nothing = np.zeros((0, 4)), np.zeros(0, np.int64)
    return LabelledImage(name, 300, 200, *nothing, CANDIDATE.class_names, jpeg, path, "0" * 64)


@pytest.fixture(scope="module")
def comparison() -> QualityComparison:
    return compare(CANDIDATE, PRODUCTION, minimum_images=20, resample_count=10)


def kept(file: Path, comparison: QualityComparison, **changed: LabelledImage) -> WorstImages:
    images = {name: labelled(name, encoded()) for name in CANDIDATE.names} | changed
    keep_worst(file, comparison, CANDIDATE, PRODUCTION, images, "sha256:holdout")
    return read_worst(file)


def test_the_worst_are_kept_with_their_boxes_and_found_again(tmp_path: Path, comparison: QualityComparison) -> None:
    found = kept(tmp_path / "worst" / "a.json", comparison)
    assert found.of(comparison, "sha256:holdout") == found.images
    assert [one.errors for one in found.images] == list(comparison.disagreements[:MOST_IMAGES])
    assert all(one.boxes and not one.trouble for one in found.images)
    with Image.open(io.BytesIO(base64.b64decode(found.images[0].jpeg))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (300, 200))


def test_pictures_of_another_comparison_are_none_of_this_one(tmp_path: Path, comparison: QualityComparison) -> None:
    found = kept(tmp_path / "a.json", comparison)
    assert found.of(comparison, "sha256:other") == ()
    assert found.of(comparison.replace(disagreements=comparison.disagreements[2:4]), "sha256:holdout") == (
        found.images[2],
        found.images[3],
    )


def test_a_picture_that_cannot_be_read_costs_a_sentence(tmp_path: Path, comparison: QualityComparison) -> None:
    gone, broken = (one.image for one in comparison.disagreements[:2])
    found = kept(
        tmp_path / "a.json",
        comparison,
        **{gone: labelled(gone, b"", tmp_path / "gone.jpg"), broken: labelled(broken, encoded()[:-400])},
    )
    assert "cannot be read any more" in found.images[0].trouble
    assert found.images[1].trouble.startswith("It cannot be shown: ")
    assert [one.jpeg != "" for one in found.images] == [False, False, True, True, True, True]


@pytest.mark.parametrize("text", ["", "{", '{"images": [{"jpeg": 1}]}', "[" * 1_100_000])
def test_a_file_that_is_broken_or_a_strangers_costs_a_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    assert read_worst(file).trouble == "The pictures cannot be shown, since a.json cannot be read."


def test_of_older_deliveries_there_are_none(tmp_path: Path) -> None:
    assert read_worst(tmp_path / "none.json") == WorstImages()


def test_images_that_are_gone_from_the_hold_out_are_passed_over(tmp_path: Path, comparison: QualityComparison) -> None:
    keep_worst(tmp_path / "a.json", comparison, CANDIDATE, PRODUCTION, {}, "sha256:holdout")
    assert read_worst(tmp_path / "a.json") == WorstImages(holdout="sha256:holdout")


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
@pytest.mark.parametrize(("orientation", "red"), [(1, (0, 0)), (3, (1, 1)), (6, (1, 0)), (8, (0, 1))])
def test_a_picture_stands_as_viewers_show_it(kind: str, orientation: int, red: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(thumbnail(encoded(kind, orientation=orientation)))) as small:
        assert (small.width > small.height) == (orientation in {1, 3})
        at = (small.width // 4 + red[0] * small.width // 2, small.height // 4 + red[1] * small.height // 2)
        colour = small.getpixel(at)
    assert isinstance(colour, tuple)
    assert colour[0] > 200
    assert max(colour[1:3]) < 60


@pytest.mark.parametrize(("size", "mode"), [((3000, 2000), "RGB"), ((1, 900), "L"), ((40, 30), "RGBA")])
def test_a_picture_is_small_in_pixels_and_in_bytes(size: tuple[int, int], mode: str) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, "png")
    small = thumbnail(buffer.getvalue())
    with Image.open(io.BytesIO(small)) as picture:
        assert max(picture.size) <= LONGEST_SIDE
    assert len(small) <= MOST_PICTURE_BYTES


def test_answers_without_places_have_pictures_without_boxes(tmp_path: Path, comparison: QualityComparison) -> None:
    images = {name: labelled(name, encoded()) for name in CANDIDATE.names}
    keep_worst(tmp_path / "a.json", comparison, CANDIDATE, replace(PRODUCTION, placed=None), images, "h")
    assert all(one.jpeg and not one.boxes for one in read_worst(tmp_path / "a.json").images)
