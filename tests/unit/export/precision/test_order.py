"""What is tried beside f32, and by which images, as the settings ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from banana_delivery.evaluation.fake import FakeEvaluator
from banana_delivery.evaluation.http import HttpEvaluator
from banana_delivery.export.precision.order import PrecisionOrder, order_for
from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.quality.precision import Asked
from banana_delivery.sample_data.leaves import CLASSES, write_dataset
from banana_delivery.settings import Settings

MARGINS = QualityMargins(map50=0.01)


@pytest.fixture(scope="module")
def leaves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leaves")
    write_dataset(folder, 120, seed=5)
    return folder


def test_nothing_is_tried_unless_somebody_asks(tmp_path: Path, leaves: Path) -> None:
    settings = Settings(home=tmp_path, holdout=leaves)
    assert settings.precision == "f32"
    evaluator = HttpEvaluator(settings)
    assert order_for(settings, evaluator, MARGINS) is None
    assert len(evaluator.images) == 120
    assert evaluator.calibration_images() == []


def test_what_calibrates_judges_nothing_and_the_digest_is_that_of_what_judges(tmp_path: Path, leaves: Path) -> None:
    settings = Settings(home=tmp_path, holdout=leaves, precision="auto")
    evaluator = HttpEvaluator(settings)
    order = order_for(settings, evaluator, MARGINS)
    assert order
    assert (order.asked, order.class_names, order.margins) == (Asked.AUTO, CLASSES, MARGINS)
    assert len(order.calibration) >= 8
    assert len(order.calibration) + len(order.judging) == 120
    assert not set(order.calibration) & {image.path for image in order.judging}
    assert [image.name for image in order.judging] == [image.name for image in evaluator.images]
    assert not set(order.calibration) & set(evaluator.sample_images(120))
    assert evaluator.holdout != HttpEvaluator(Settings(home=tmp_path, holdout=leaves)).holdout
    assert PrecisionOrder.model_validate_json(order.model_dump_json()) == order
    assert (order.judging[0].truth.boxes == evaluator.images[0].boxes).all()


def test_of_generated_leaves_all_judge_and_others_calibrate(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, holdout_images=100, precision="int8")
    evaluator = HttpEvaluator(settings)
    order = order_for(settings, evaluator, MARGINS)
    assert order
    assert (len(order.calibration), len(order.judging)) == (64, 100)
    assert not {path.name for path in order.calibration} & {image.name for image in order.judging}
    assert evaluator.holdout == HttpEvaluator(settings.model_copy(update={"precision": "f32"})).holdout


def test_where_nobody_has_files_nothing_calibrates(tmp_path: Path) -> None:
    order = order_for(Settings(home=tmp_path, precision="auto"), FakeEvaluator(), MARGINS)
    assert order
    assert (order.calibration, order.judging) == ((), ())
