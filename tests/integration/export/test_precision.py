"""A model in 8-bit integers: made in a confined process, judged beside its own f32, served only where proven."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from banana_delivery.errors import ExportError, UnsupportedModelError
from banana_delivery.export.precision import choosing
from banana_delivery.export.precision.beside_worker import answer
from banana_delivery.export.precision.choosing import LEAST_CALIBRATION, choose_precision
from banana_delivery.export.precision.order import JudgingImage, PrecisionOrder
from banana_delivery.export.precision.protocol import BesideRequest, QuantiseRequest
from banana_delivery.export.precision.quantise_worker import quantise
from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.quality.precision import Asked, Precision, PrecisionChoice
from tests.support.layered_detector import CELL, CLASSES, GRID, layered_detector, painted
from tests.unit.serving.detectors import write_model

FRAME = {"width": CELL * GRID, "height": CELL * GRID, "stride": 32, "stretched": False}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[JudgingImage]:
    return painted(tmp_path_factory.mktemp("pictures"), 70)


def model_in(folder: Path, content: bytes) -> Path:
    return write_model(folder, content, classes=list(CLASSES), input_size=CELL * GRID, frame=FRAME)


def quantised(model: Path, images: Sequence[JudgingImage]) -> Path:
    to = model.with_name("int8.onnx")
    quantise(QuantiseRequest(model=model, to=to, images=tuple(image.path for image in images)))
    return to


def operators(file: Path) -> dict[str, str]:
    """What computes each node's input, by the node's name."""
    graph = onnx.load(file).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    return {node.name: made_by.get(node.input[0], "") for node in graph.node if node.op_type == "Conv"}


def test_integers_answer_nearly_alike_in_frames_of_every_shape(tmp_path: Path, pictures: list[JudgingImage]) -> None:
    model = model_in(tmp_path, layered_detector())
    int8 = quantised(model, pictures[:LEAST_CALIBRATION])
    wide = painted(tmp_path / "wide", 4)
    for image in wide:
        _crop(image.path, rows=CELL * 2)
    files = tuple(image.path for image in [*pictures[:20], *wide[:2]])
    found = answer(BesideRequest(model=model, int8=int8, images=files))
    for ours, theirs in zip(found.int8, found.f32, strict=True):
        strong = [[one for one in side if one.score > 0.3] for side in (ours, theirs)]
        assert len(strong[0]) == len(strong[1]) == 1
        assert strong[0][0].class_id == strong[1][0].class_id
        assert strong[0][0].box == strong[1][0].box
        assert strong[0][0].score == pytest.approx(strong[1][0].score, abs=0.02)
    assert min(found.f32_seconds, found.int8_seconds) > 0


def test_the_ends_of_the_head_stay_as_they_are_and_no_sum_of_products_needs_newer_instructions(
    tmp_path: Path, pictures: list[JudgingImage]
) -> None:
    int8 = quantised(model_in(tmp_path, layered_detector()), pictures[:LEAST_CALIBRATION])
    inputs = operators(int8)
    assert [inputs[f"/model.{min(layer, 2)}/{layer}/Conv"] for layer in range(4)] == ["DequantizeLinear"] * 4
    assert "DequantizeLinear" not in inputs["/model.2/5/Conv"]
    weights = [numpy_helper.to_array(one) for one in onnx.load(int8).graph.initializer]
    of_layers = [one for one in weights if one.dtype == np.int8 and one.ndim == 4]
    assert len(of_layers) == 4
    assert all(np.abs(one.astype(int)).max() * 255 * 2 <= np.iinfo(np.int16).max for one in of_layers)


def test_equal_images_make_equal_files(tmp_path: Path, pictures: list[JudgingImage]) -> None:
    first, second = (
        quantised(model_in(tmp_path / name, layered_detector()), pictures[:LEAST_CALIBRATION]) for name in "ab"
    )
    assert first.read_bytes() == second.read_bytes()


def test_a_transformers_layer_stays_as_it_is(tmp_path: Path, pictures: list[JudgingImage]) -> None:
    inputs = operators(quantised(model_in(tmp_path, layered_detector(transformer=True)), pictures[:LEAST_CALIBRATION]))
    assert inputs["/model.0/0/Conv"] == "DequantizeLinear"
    assert inputs["/model.1/1/Conv"] != "Quantize"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (layered_detector(named=False), "do not tell the head"),
        (layered_detector(loudness=float("inf")), "cannot quantise|numbers that are none"),
    ],
    ids=["no layer has a name", "numbers beyond all bounds"],
)
def test_what_cannot_be_quantised_is_one_sentence(
    tmp_path: Path, pictures: list[JudgingImage], content: bytes, says: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=says) as refused:
        quantised(model_in(tmp_path, content), pictures[:LEAST_CALIBRATION])
    assert "\n" not in str(refused.value)


def chosen(
    folder: Path,
    asked: Asked,
    calibration: Sequence[JudgingImage],
    judging: Sequence[JudgingImage],
    content: bytes | None = None,
    limit: float = 60.0,
) -> tuple[PrecisionChoice, Path]:
    model = model_in(folder, content or layered_detector())
    order = PrecisionOrder(
        asked=asked,
        calibration=tuple(image.path for image in calibration),
        judging=tuple(judging),
        class_names=CLASSES,
        margins=QualityMargins(),
    )
    return choose_precision(order, model, CLASSES, folder, limit, lambda _: None)


def test_who_insists_gets_integers_that_lose_nothing(tmp_path: Path, pictures: list[JudgingImage]) -> None:
    choice, file = chosen(tmp_path, Asked.INT8, pictures[:10], pictures[10:])
    assert (choice.taken, choice.rejected) == (Precision.INT8, False)
    assert file.name != "model.onnx"
    assert "DequantizeLinear" in operators(file).values()


def test_where_nothing_is_proven_f32_is_served_and_it_is_said_why(tmp_path: Path, pictures: list[JudgingImage]) -> None:
    choice, file = chosen(tmp_path, Asked.AUTO, pictures[:10], pictures[10:])
    assert choice.taken is Precision.F32
    assert "may lose" in choice.reason
    assert file == tmp_path / "model.onnx"


def test_integers_fitted_to_images_of_one_colour_lose_and_are_not_served(
    tmp_path: Path, pictures: list[JudgingImage]
) -> None:
    grey = painted(tmp_path / "grey", LEAST_CALIBRATION, plain=True)
    choice, _ = chosen(tmp_path, Asked.AUTO, grey, pictures)
    assert choice.taken is Precision.F32
    assert "of recall (0.03 allowed)" in choice.reason
    with pytest.raises(UnsupportedModelError, match="loses more than the policy allows"):
        chosen(tmp_path, Asked.INT8, grey, pictures)


@pytest.mark.parametrize("count", [0, 1, LEAST_CALIBRATION - 1])
def test_too_few_images_to_calibrate_on_are_nobodys_fault_but_the_labels(
    tmp_path: Path, pictures: list[JudgingImage], count: int
) -> None:
    choice, file = chosen(tmp_path, Asked.AUTO, pictures[:count], pictures)
    assert (choice.taken, file.name) == (Precision.F32, "model.onnx")
    assert f"there are {count}: label more" in choice.reason
    with pytest.raises(ExportError, match="label more, or set BANANA_PRECISION to f32"):
        chosen(tmp_path, Asked.INT8, pictures[:count], pictures)


def test_whoever_hangs_is_ended_and_f32_is_served(tmp_path: Path, pictures: list[JudgingImage]) -> None:
    choice, file = chosen(tmp_path, Asked.AUTO, pictures[:10], pictures[10:], limit=0.01)
    assert (choice.taken, file.name) == (Precision.F32, "model.onnx")
    assert "BANANA_EXPORT_SECONDS" in choice.reason or "did not finish" in choice.reason
    with pytest.raises(ExportError):
        chosen(tmp_path, Asked.INT8, pictures[:10], pictures[10:], limit=0.01)


def test_a_model_that_cannot_be_quantised_is_served_as_it_is_unless_somebody_insists(
    tmp_path: Path, pictures: list[JudgingImage]
) -> None:
    odd = layered_detector(named=False)
    choice, _ = chosen(tmp_path, Asked.AUTO, pictures[:10], pictures[10:], odd)
    assert choice.taken is Precision.F32
    assert "int8 could not be tried: Its nodes do not tell" in choice.reason
    with pytest.raises(UnsupportedModelError, match="Its nodes do not tell"):
        chosen(tmp_path, Asked.INT8, pictures[:10], pictures[10:], odd)


def test_many_images_are_judged_in_parts(
    tmp_path: Path, pictures: list[JudgingImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "AT_ONCE", 40)
    choice, _ = chosen(tmp_path, Asked.INT8, pictures[:10], pictures[10:])
    assert "on 60 labelled images" in choice.reason


def _crop(file: Path, rows: int) -> None:
    import cv2

    pixels = cv2.imread(str(file))
    assert pixels is not None
    cv2.imwrite(str(file), pixels[:rows])
