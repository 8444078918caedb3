"""The committed samples are what the README says of them, on a slice of the hold-out."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from banana_delivery.policy.quality.average_precision import average_precisions, mean_over_classes
from banana_delivery.policy.quality.matching import Detections, Labelled, Truth, match_answers
from banana_delivery.sample_data.leaves import CLASSES, HOLDOUT_COUNT, HOLDOUT_SEED, LabelledImage, generate
from examples.quiet import ultralytics
from examples.train import INPUT_SIZE, MODELS, RECIPES


@pytest.fixture(scope="module")
def pictures() -> list[LabelledImage]:
    return list(generate(60, HOLDOUT_SEED))


@pytest.fixture(scope="module")
def precision(pictures: list[LabelledImage]) -> dict[str, float]:
    """mAP50 of every sample on the pictures."""
    return {name: _precision(name, pictures) for name in RECIPES}


def test_the_samples_are_small_detectors_of_the_same_classes_in_the_same_order() -> None:
    for name in RECIPES:
        file = MODELS / name / "best.pt"
        model = ultralytics().YOLO(file)
        assert model.task == "detect"
        assert list(model.names.values()) == list(CLASSES)
        assert model.overrides["imgsz"] == INPUT_SIZE
        assert file.stat().st_size < 6e6


def test_better_beats_modest_and_regressed_is_the_worst(precision: dict[str, float]) -> None:
    assert precision["better"] > precision["modest"] + 0.02
    assert precision["modest"] > precision["regressed"] + 0.02


def test_the_recorded_metrics_hold_on_a_slice(precision: dict[str, float]) -> None:
    for name, measured in precision.items():
        record = json.loads((MODELS / name / "metrics.json").read_text())
        assert record["holdout"] == {"images": HOLDOUT_COUNT, "seed": HOLDOUT_SEED}
        assert measured == pytest.approx(record["mAP50"], abs=0.1)


def _precision(name: str, pictures: list[LabelledImage]) -> float:
    matches = match_answers(_answers(name, pictures), CLASSES)
    return float(mean_over_classes(average_precisions(matches))[0])


def _answers(name: str, pictures: list[LabelledImage]) -> Iterator[Labelled]:
    model = ultralytics().YOLO(MODELS / name / "best.pt")
    results = model.predict([p.image for p in pictures], imgsz=INPUT_SIZE, conf=0.001, batch=20, verbose=False)
    for picture, result in zip(pictures, results, strict=True):
        found = result.boxes.numpy()
        detections = Detections(found.xyxy.astype(float), found.cls.astype(int), found.conf.astype(float))
        yield Labelled(picture.name, Truth(picture.boxes.astype(float), picture.classes), detections)
