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

from banana_delivery.sample_data.leaves import CLASSES, make
from examples.quiet import ultralytics
from serving.inference.engine import Engine
from serving.inference.postprocess import Boxes
from serving.inference.predictor import Predictor
from serving.inference.preprocess import Frame
from tests.unit.serving.images import encode, noise

SAMPLE = Path("examples/models/better/best.pt")
INPUT_SIZE = 160
IMAGES = 200
CONFIDENCE = 0.25
IN_NOISE = 0.01
"""A confidence with which something is found in an image without leaves, too."""
SEED = 4242


@dataclass
class Exported:
    """The sample model as ultralytics runs it, and its ONNX file."""

    theirs: Any
    onnx: bytes
    end_to_end: bool

    def predictor(self) -> Predictor:
        engine = Engine(self.onnx, classes=len(CLASSES), frame=Frame.square(INPUT_SIZE), threads=1)
        return Predictor(engine, max_pixels=25_000_000)

    def answer(self, bgr: NDArray[np.uint8], confidence: float, **options: Any) -> Boxes:
        [result] = self.theirs.predict(bgr, conf=confidence, verbose=False, **{"imgsz": INPUT_SIZE, **options})
        boxes = result.boxes.cpu().numpy()
        return Boxes(boxes.xyxy, boxes.conf, boxes.cls.astype(np.int64))


@pytest.fixture(scope="module", params=["raw head", "end-to-end head"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    yolo, checkpoint = ultralytics().YOLO, tmp_path_factory.mktemp("sample") / "best.pt"
    shutil.copy(SAMPLE, checkpoint)
    end_to_end = request.param == "end-to-end head"
    options = {"nms": False} if end_to_end else {}
    with warnings.catch_warnings():
        # torch traces the model with its older exporter, and warns of both.
        warnings.simplefilter("ignore")
        path = yolo(checkpoint).export(
            format="onnx", imgsz=INPUT_SIZE, dynamic=True, simplify=False, verbose=False, **options
        )
    # The checkpoint itself, but its end-to-end head can only be asked for in an export.
    theirs = yolo(path if end_to_end else checkpoint, task="detect")
    yield Exported(theirs, Path(path).read_bytes(), end_to_end)


def photographs() -> Iterator[tuple[bytes, NDArray[np.uint8]]]:
    """JPEGs of leaves, and what OpenCV decodes them to."""
    for index in range(IMAGES):
        _, encoded = cv2.imencode(".jpg", make(SEED, index).image)
        jpeg = encoded.tobytes()
        yield jpeg, np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def test_every_box_and_score_is_that_of_ultralytics(exported: Exported) -> None:
    ours, found = exported.predictor(), 0
    for jpeg, bgr in photographs():
        mine, theirs = ours.predict(jpeg, CONFIDENCE, 300).boxes, exported.answer(bgr, CONFIDENCE)
        assert_equal(mine, theirs, pixels=0.02)
        found += len(mine.scores)
    assert found > IMAGES


@pytest.mark.parametrize("size", [(1280, 720), (640, 480), (480, 640), (500, 500)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_sizes_and_formats_change_nothing_of_that(exported: Exported, size: tuple[int, int], kind: str) -> None:
    assert_parity(exported, encode(noise(*size), kind))


def test_a_strip_gets_the_frame_its_head_needs(exported: Exported) -> None:
    """An export with an end-to-end head fails on it in ultralytics: it wants more anchors than such a frame has."""
    needed = {"imgsz": (INPUT_SIZE, 96), "rect": False} if exported.end_to_end else {}
    assert_parity(exported, encode(noise(37, 500)), **needed)


def assert_parity(exported: Exported, data: bytes, **options: Any) -> None:
    """Asserts that both find the same in an image; `options` are for ultralytics' prediction."""
    bgr = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)
    mine = exported.predictor().predict(data, IN_NOISE, 300).boxes
    assert len(mine.scores), "nothing was found, so nothing was compared"
    assert_equal(mine, exported.answer(bgr, IN_NOISE, **options), pixels=0.1)


def assert_equal(mine: Boxes, theirs: Boxes, pixels: float) -> None:
    """Asserts that two answers are the same, the boxes within `pixels`."""
    assert mine.class_ids.tolist() == theirs.class_ids.tolist()
    assert mine.scores == pytest.approx(theirs.scores, abs=1e-4)
    assert mine.corners == pytest.approx(theirs.corners, abs=pixels)
