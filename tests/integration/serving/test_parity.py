import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from examples.leaves import CLASSES, make
from serving.engine import Engine, Precision
from serving.postprocess import Boxes
from serving.predictor import Predictor
from tests.unit.serving.images import encode, noise

SAMPLE = Path("examples/models/better/best.pt")
INPUT_SIZE = 160
IMAGES = 200
CONFIDENCE = 0.25
SEED = 4242


@dataclass
class Exported:
    """The sample model as ultralytics runs it, and its ONNX file."""

    theirs: Any
    onnx: bytes

    def predictor(self, precision: Precision) -> Predictor:
        engine = Engine(
            self.onnx, classes=len(CLASSES), input_size=INPUT_SIZE, workers=1, threads=1, precision=precision
        )
        return Predictor(engine, max_pixels=25_000_000)

    def answer(self, bgr: NDArray[np.uint8]) -> Boxes:
        [result] = self.theirs.predict(bgr, imgsz=INPUT_SIZE, conf=CONFIDENCE, rect=False, verbose=False)
        boxes = result.boxes.cpu().numpy()
        return Boxes(boxes.xyxy, boxes.conf, boxes.cls.astype(np.int64))


@pytest.fixture(scope="module", params=["raw head", "end-to-end head"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    from ultralytics.models import YOLO

    checkpoint = tmp_path_factory.mktemp("sample") / "best.pt"
    shutil.copy(SAMPLE, checkpoint)
    end_to_end = request.param == "end-to-end head"
    options = {"nms": False} if end_to_end else {}
    with warnings.catch_warnings():
        # torch traces the model with its older exporter, and warns of both.
        warnings.simplefilter("ignore")
        path = YOLO(checkpoint).export(format="onnx", imgsz=INPUT_SIZE, simplify=False, verbose=False, **options)
    # The checkpoint itself, but its end-to-end head can only be asked for in an export.
    theirs = YOLO(path if end_to_end else checkpoint, task="detect")
    yield Exported(theirs, Path(path).read_bytes())


def photographs() -> Iterator[tuple[bytes, NDArray[np.uint8]]]:
    """JPEGs of leaves, and what OpenCV decodes them to."""
    for index in range(IMAGES):
        _, encoded = cv2.imencode(".jpg", make(SEED, index).image)
        jpeg = encoded.tobytes()
        yield jpeg, np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def test_in_f32_every_box_and_score_is_that_of_ultralytics(exported: Exported) -> None:
    ours, found = exported.predictor("f32"), 0
    for jpeg, bgr in photographs():
        mine, theirs = ours.predict(jpeg, CONFIDENCE, 300).boxes, exported.answer(bgr)
        assert mine.class_ids.tolist() == theirs.class_ids.tolist()
        assert mine.scores == pytest.approx(theirs.scores, abs=1e-4)
        assert mine.corners == pytest.approx(theirs.corners, abs=0.02)
        found += len(mine.scores)
    assert found > IMAGES


def test_in_bf16_nine_of_ten_boxes_and_scores_are_those_of_ultralytics(exported: Exported) -> None:
    """Half the mantissa moves scores near the limit by more than 0.01; the quality gate judges what is served."""
    ours = exported.predictor("bf16")
    same = total = 0
    for jpeg, bgr in photographs():
        mine, theirs = ours.predict(jpeg, CONFIDENCE - 0.02, 300).boxes, exported.answer(bgr)
        same += sum(_has(mine, theirs, index) for index in range(len(theirs.scores)))
        total += len(theirs.scores)
    assert same / total >= 0.9


def _has(boxes: Boxes, others: Boxes, index: int) -> bool:
    """Whether `boxes` has a box of the same class within a pixel and 0.01 of score."""
    near = np.abs(boxes.corners - others.corners[index]).max(axis=1, initial=0) <= 1
    alike = np.abs(boxes.scores - others.scores[index]) <= 0.01
    return bool((near & alike & (boxes.class_ids == others.class_ids[index])).any())


@pytest.mark.parametrize("size", [(1280, 720), (640, 480), (37, 500)])
def test_sizes_and_formats_change_nothing_of_that(exported: Exported, size: tuple[int, int]) -> None:
    ours = exported.predictor("f32")
    for kind in ("JPEG", "PNG"):
        data = encode(noise(*size), kind)
        bgr = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)
        mine, theirs = ours.predict(data, CONFIDENCE, 300).boxes, exported.answer(bgr)
        assert mine.scores == pytest.approx(theirs.scores, abs=1e-4)
        assert mine.corners == pytest.approx(theirs.corners, abs=0.1)
