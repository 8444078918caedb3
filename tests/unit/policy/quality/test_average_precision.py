import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO  # type: ignore[import-untyped]
from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]

from banana_delivery.policy.quality.average_precision import average_precisions, mean_over_classes, resamples
from banana_delivery.policy.quality.matching import IOUS, Labelled, match_answers
from tests.unit.policy.quality.random_leaves import CLASSES, random_images


@pytest.mark.parametrize("noise", [0.5, 4.0, 9.0])
def test_average_precision_equals_cocos(noise: float) -> None:
    images = random_images(60, seed=int(noise * 10), noise=noise, false_alarms=8, model_seed=1)
    ours = average_precisions(match_answers(images, CLASSES))[0]
    assert ours == pytest.approx(coco_ap50(images), abs=1e-9)


def test_a_resample_weighs_exactly_like_repeating_the_images() -> None:
    images = random_images(40, seed=3, noise=5.0, false_alarms=8, model_seed=1, decimals=12)
    counts = resamples(len(images), 5, seed=9)
    ours = average_precisions(match_answers(images, CLASSES), counts)
    for column in range(5):
        repeated = [image for image, count in zip(images, counts[:, column], strict=True) for _ in range(count)]
        assert ours[column] == pytest.approx(coco_ap50(repeated), abs=1e-9)


def test_a_class_that_no_image_shows_does_not_pull_the_mean_down() -> None:
    images = random_images(20, seed=1, noise=1.0, false_alarms=0, model_seed=1)
    precisions = average_precisions(match_answers(images, (*CLASSES, "never seen")))
    assert np.isnan(precisions[0, 3])
    assert mean_over_classes(precisions)[0] == pytest.approx(precisions[0, :3].mean())


def test_a_model_that_finds_nothing_scores_zero() -> None:
    images = random_images(20, seed=1, noise=500.0, false_alarms=2, model_seed=1)
    assert average_precisions(match_answers(images, CLASSES)).tolist() == [[0.0, 0.0, 0.0]]


def test_every_resample_draws_as_many_images_as_there_are() -> None:
    assert resamples(50, 7, seed=1).sum(axis=0).tolist() == [50] * 7


def coco_ap50(images: list[Labelled], overlap: float = 0.5) -> list[float]:
    """The AP50 of every class by pycocotools, the reference implementation."""
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": index} for index in range(len(images))],
        "categories": [{"id": klass, "name": name} for klass, name in enumerate(CLASSES)],
        "annotations": _annotations(images),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(_results(images)), "bbox")
        evaluation.params.iouThrs = np.array([overlap])
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, -1]
    return [float(column.mean()) for column in precision.T]


def _xywh(box: Any) -> list[float]:
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]


def _annotations(images: list[Labelled]) -> list[dict[str, object]]:
    pairs = [
        (index, box, klass)
        for index, image in enumerate(images)
        for box, klass in zip(image.truth.boxes, image.truth.classes, strict=True)
    ]
    return [
        {"id": 1 + k, "image_id": i, "category_id": int(c), "bbox": _xywh(b), "iscrowd": 0, "area": 1.0}
        for k, (i, b, c) in enumerate(pairs)
    ]


def _results(images: list[Labelled]) -> list[dict[str, object]]:
    return [
        {"image_id": index, "category_id": int(klass), "bbox": _xywh(box), "score": float(score)}
        for index, image in enumerate(images)
        for box, klass, score in zip(
            image.detections.boxes, image.detections.classes, image.detections.scores, strict=True
        )
    ]


@pytest.mark.parametrize("noise", [0.5, 4.0])
def test_the_mean_over_all_overlaps_equals_cocos(noise: float) -> None:
    images = random_images(60, seed=5, noise=noise, false_alarms=8, model_seed=1)
    found = match_answers(images, CLASSES)
    ours = [average_precisions(found.at(index))[0].mean() for index in range(len(IOUS))]
    theirs = [np.mean(coco_ap50(images, overlap=float(overlap))) for overlap in IOUS]
    assert ours == pytest.approx(theirs, abs=1e-9)
    assert ours[0] > ours[-1]
