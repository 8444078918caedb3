"""What is said where int8 could not be tried: it is part of the image, which must be the same when it is made again."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from banana_delivery.errors import ExportError, UnsupportedModelError
from banana_delivery.export import sandbox
from banana_delivery.export.precision import choosing
from banana_delivery.export.precision.choosing import LEAST_CALIBRATION, choose_precision
from banana_delivery.export.precision.cpu import kind_of_cpu
from banana_delivery.export.precision.order import JudgingImage, PrecisionOrder
from banana_delivery.export.precision.protocol import Beside, Quantised, QuantiseRequest
from banana_delivery.export.protocol import Detection
from banana_delivery.policy.model import Model
from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.quality.precision import Asked

ORDER = PrecisionOrder(
    asked=Asked.AUTO,
    calibration=tuple(Path(f"c{number}.jpg") for number in range(LEAST_CALIBRATION)),
    judging=tuple(
        JudgingImage(name=f"{number}", path=Path(f"j{number}.jpg"), size=(8, 8), boxes=(), classes=())
        for number in range(2)
    ),
    class_names=("spot",),
    margins=QualityMargins(),
)


def reason(scratch: Path, limit: float = 60.0) -> str:
    scratch.mkdir()
    choice, _ = choose_precision(ORDER, scratch / "model.onnx", ("spot",), scratch, limit, lambda _: None)
    return choice.reason


def test_the_folder_in_which_it_was_tried_is_no_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_module: str, request: QuantiseRequest, *_: object) -> Model:
        raise UnsupportedModelError(f"ONNX Runtime cannot quantise it (Load model from {request.to} failed).")

    monkeypatch.setattr(sandbox, "run", refuse)
    first, second = (reason(tmp_path / folder) for folder in (".converting-ab", ".converting-cd"))

    assert first == second
    assert "Load model from model.int8.onnx failed" in first


def test_how_much_time_was_left_for_the_last_images_is_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = itertools.count()

    def run(_module: str, request: Model, _answer: type, _scratch: Path, left: float, _quiet: float) -> Model:
        if isinstance(request, QuantiseRequest):
            request.to.write_bytes(b"int8")
            return Quantised(convolutions=1, in_integers=1)
        if next(slow) % 2:
            time.sleep(left)
            raise ExportError(f"The process beside_worker took more than {left:.4f} s.")
        return Beside(f32=((),), int8=((),), f32_seconds=1.0, int8_seconds=1.0)

    monkeypatch.setattr(sandbox, "run", run)
    monkeypatch.setattr(choosing, "AT_ONCE", 1)
    first, second = (reason(tmp_path / folder, limit=0.1) for folder in "ab")

    assert first == second
    assert "Judging int8 by 2 images took more than" in first


SPOT = Detection(class_id=0, score=0.9, box=(0, 0, 4, 4))


@pytest.mark.parametrize(
    "answers",
    [((), (SPOT.replace(class_id=7),)), ((),), ((SPOT.replace(box=(0, 0, float("nan"), 4)),), ())],
    ids=["a class that it does not know", "no answer", "a box that is none"],
)
def test_answers_that_are_none_are_no_reason_to_deliver_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: tuple[tuple[Detection, ...], ...]
) -> None:
    def run(_module: str, request: Model, *_: object) -> Model:
        if isinstance(request, QuantiseRequest):
            request.to.write_bytes(b"int8")
            return Quantised(convolutions=1, in_integers=1)
        return Beside(f32=((), ()), int8=answers, f32_seconds=2.0, int8_seconds=1.0)

    monkeypatch.setattr(sandbox, "run", run)

    assert "both forms of the model answered what it should not" in reason(tmp_path / "scratch")


@pytest.mark.parametrize("known", [True, False], ids=["this kind of CPU", "another kind"])
def test_what_was_measured_once_of_a_checkpoint_and_a_cpu_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    def run(_module: str, request: Model, _answer: type, *_: object) -> Model:
        if isinstance(request, QuantiseRequest):
            request.to.write_bytes(b"int8")
            return Quantised(convolutions=1, in_integers=1)
        return Beside(f32=((), ()), int8=((), ()), f32_seconds=3.0, int8_seconds=2.0)

    monkeypatch.setattr(sandbox, "run", run)
    shown = [image.replace(boxes=((1.0, 1.0, 5.0, 5.0),), classes=(0,)) for image in ORDER.judging]
    order = ORDER.replace(judging=tuple(shown), gains={kind_of_cpu() if known else "another": 1.04})
    choice, _ = choose_precision(order, tmp_path / "model.onnx", ("spot",), tmp_path, 60.0, lambda _: None)

    assert (choice.gain, choice.cpu) == (1.04 if known else 1.5, kind_of_cpu())
