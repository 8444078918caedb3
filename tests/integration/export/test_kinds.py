"""Every kind of detector that ultralytics builds is served as ``predict`` answers; what is not is one sentence."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, UnidentifiedImageError
from ultralytics.models import YOLO
from ultralytics.nn import tasks
from ultralytics.utils import loss

from banana_delivery.errors import (
    NotADetectorError,
    RejectedModelError,
    UnreadableCheckpointError,
    UnsupportedModelError,
)
from banana_delivery.export import export_worker, serving_worker
from banana_delivery.export.checkpoint_scan import scan
from banana_delivery.export.detector import loading
from banana_delivery.export.detector.reference import _read
from banana_delivery.export.export import write_version_file
from banana_delivery.export.parity import Agreement, compare
from banana_delivery.export.precision.beside_worker import answer
from banana_delivery.export.precision.protocol import BesideRequest, QuantiseRequest
from banana_delivery.export.precision.quantise_worker import quantise
from banana_delivery.export.protocol import Answers, Detection, Exported, ExportRequest, ServeRequest
from banana_delivery.files import file_sha256
from banana_delivery.model_registry.base import ModelVersion
from tests.support.built_detectors import SHAPES, build, picture, save

MODEL = ModelVersion(
    name="m", version="1", run_id="r", source="s", stage="None", aliases=(), tags={}, metrics={}, created_at=0.0
)

CONFIDENCE = 0.1

Altered = Callable[[dict[str, Any]], object]


@pytest.fixture(autouse=True)
def restricted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load as the confined process does."""
    monkeypatch.setattr(tasks, "SAFE_LOAD", True)
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    folder = tmp_path_factory.mktemp("images")
    for index in range(len(SHAPES)):
        cv2.imwrite(str(folder / f"{index}.png"), picture(index))
    return tuple(sorted(folder.iterdir()))


@pytest.fixture(scope="module")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("yolov8", tmp_path_factory.mktemp("tiny"), width=0.0625)


def exported(checkpoint: Path, to: Path, images: tuple[Path, ...]) -> Exported:
    """Go the whole way of a checkpoint, in this process."""
    (to / "frames").mkdir(parents=True)
    scan(checkpoint, to / "best.pt")
    with warnings.catch_warnings():
        # torch traces the model with its older exporter, and warns of both.
        warnings.simplefilter("ignore")
        request = ExportRequest(
            checkpoint=to / "best.pt",
            onnx=to / "model.onnx",
            images=images,
            frames=to / "frames",
            confidence=CONFIDENCE,
        )
        found = export_worker.export(request)
    write_version_file(to, MODEL, found, file_sha256(checkpoint), file_sha256(to / "model.onnx"))
    return found


def predicted(checkpoint: Path, image: Path) -> tuple[Detection, ...]:
    """What a user of ultralytics sees, within the image."""
    pixels: Any = cv2.imread(str(image))
    results: Any = YOLO(checkpoint).predict(pixels, conf=CONFIDENCE, verbose=False)
    boxes = results[0].boxes.cpu().numpy()
    edges = np.array([pixels.shape[1], pixels.shape[0]] * 2)
    return tuple(
        Detection(class_id=int(class_id), score=float(score), box=tuple(corners))
        for corners, score, class_id in zip(
            np.clip(boxes.xyxy, 0, edges).tolist(), boxes.conf, boxes.cls, strict=True
        )
    )  # fmt: skip


def agreement(checkpoint: Path, to: Path, images: tuple[Path, ...]) -> tuple[Exported, Agreement]:
    """How far the serving code and ``predict`` agree, after the reference that the pipeline compares with did."""
    found = exported(checkpoint, to, images)
    served = serving_worker.answer(
        ServeRequest(model=to / "model.onnx", images=(*found.frames, *images), confidence=CONFIDENCE)
    ).answers
    count = len(images)
    for reference, answers in ((found.frame_answers, served[:count]), (found.answers, served[count:])):
        assert compare(reference, answers).share > 0.98
    theirs: Answers = tuple(predicted(checkpoint, image) for image in images)
    return found, compare(theirs, served[count:])


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "a raw head on frames that are no squares": ("yolov8", {"imgsz": [96, 160]}),
    "an end-to-end head with a grid of 64 pixels": ("yolo26-p6", {"imgsz": 192}),
    "a transformer": ("yolov8-rtdetr", {"imgsz": 96, "decoder": (32, 100, 4, 4, 2, 64)}),
    "three hundred classes": ("yolov8", {"classes": 300, "imgsz": 96}),
}
OTHERS: tuple[tuple[str, dict[str, Any]], ...] = (
    *((one, {}) for one in ("yolov5", "yolov6", "yolov3-tiny", "yolov8-ghost", "yolov9t", "yolov9c")),
    *((one, {}) for one in ("yolov10n", "yolo11", "yolo26", "rtdetr-l", "rtdetr-resnet50")),
    ("yolov9e", {"width": 1.0, "depth": 1.0, "calm": 0.3}),
    ("yolov8", {"width": 1.25, "depth": 1.0, "calm": 0.3}),
    ("yolo11", {"width": 1.5, "depth": 1.0, "calm": 0.3}),
    ("yolo12", {"width": 0.25, "depth": 0.5}),
    *((one, {}) for one in ("yolov8-p2", "yolo26-p2")),
    *((one, {"imgsz": 192}) for one in ("yolov5-p6", "yolov8-p6", "yolov8-ghost-p6")),
    *((one, {"classes": classes}) for one in ("yolov8", "yolo26", "rtdetr-l") for classes in (1, 2, 300)),
    *((one, {"imgsz": size}) for one in ("yolov8", "yolo26") for size in (100, "96", [160, 96], 1280)),
    ("rtdetr-l", {"imgsz": [96, 160]}),
    ("yolov10n", {"imgsz": [224, 320]}),
    ("yolov8-p6", {"imgsz": 1280}),
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_head_is_served_as_predict_answers(tmp_path: Path, images: tuple[Path, ...], kind: str) -> None:
    architecture, options = KINDS[kind]
    found, alike = agreement(build(architecture, tmp_path, **options), tmp_path / "to", images)
    assert alike.detections > 10
    assert alike.share > 0.98, alike
    assert found.frame.stretched is (architecture == "yolov8-rtdetr")
    assert found.frame.stride == (64 if architecture == "yolo26-p6" else 32)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("architecture", "options"), OTHERS)
def test_every_architecture_is_served_as_predict_answers(
    tmp_path: Path, images: tuple[Path, ...], architecture: str, options: dict[str, Any]
) -> None:
    _, alike = agreement(build(architecture, tmp_path, **options), tmp_path / "to", images)
    assert alike.detections > 5
    assert alike.share > 0.98, alike


IN_INTEGERS: tuple[tuple[str, dict[str, Any]], ...] = (
    *((one, {}) for one in ("yolov5", "yolov8", "yolov9t", "yolov10n", "yolo11", "yolo26", "yolov8-p2")),
    ("yolo12", {"width": 0.25, "depth": 0.5}),
    ("yolov8-p6", {"imgsz": 192}),
    ("yolov8-rtdetr", {"decoder": (32, 100, 4, 4, 2, 64)}),
)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("architecture", "options"), IN_INTEGERS)
def test_every_kind_of_head_can_be_tried_in_integers(
    tmp_path: Path, images: tuple[Path, ...], architecture: str, options: dict[str, Any]
) -> None:
    to = tmp_path / "to"
    exported(build(architecture, tmp_path, **options), to, images)
    made = quantise(QuantiseRequest(model=to / "model.onnx", to=to / "int8.onnx", images=images))
    found = answer(BesideRequest(model=to / "model.onnx", int8=to / "int8.onnx", images=images))
    assert made.in_integers > 0.6 * made.convolutions
    assert all(found.f32)
    assert all(found.int8)


def altered(checkpoint: Path, to: Path, alter: Altered) -> Path:
    """The checkpoint after somebody changed what it holds."""
    content = torch.load(checkpoint, weights_only=False)
    alter(content)
    torch.save(content, to / "best.pt")
    return to / "best.pt"


def names(value: object) -> Altered:
    return lambda content: setattr(content["model"], "names", value)


def size(value: object) -> Altered:
    return lambda content: content["train_args"].update(imgsz=value)


def without_layers(content: dict[str, Any]) -> None:
    del content["model"].model[-1].cv2


def without(attribute: str) -> Altered:
    return lambda content: delattr(content["model"], attribute)


@pytest.mark.parametrize(
    ("alter", "sentence"),
    [
        (names({0: "a", 2: "b", 3: "c"}), "does not number its classes from 0 without gaps"),
        (names({}), "does not number its classes from 0 without gaps"),
        (names(None), "does not number its classes from 0 without gaps"),
        (names(["a", "b", "c", "d", "e"]), "names 5 classes, but its network has outputs for 3"),
        (names({0: "a"}), "names 1 classes, but its network has outputs for 3"),
        (names(["a", "b", "half \ud83c"]), r"calls class 2 'half \\ud83c', which is no text"),
        (size(96.5), "was trained on images of '96.5' pixels"),
        (size(float("nan")), "was trained on images of 'nan' pixels"),
        (size(None), "was trained on images of 'None' pixels"),
        (size([96, 96, 96]), "whole number of 32 to 4096, or two"),
        (size(9600), "was trained on images of '9600' pixels"),
        (size("large"), "was trained on images of '’large’' pixels"),
    ],
)
def test_a_fault_of_the_file_is_a_rejection_that_says_which(
    restricted: None,
    tmp_path: Path,
    tiny_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    alter: Altered,
    sentence: str,
) -> None:
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    with pytest.raises(UnsupportedModelError, match=sentence) as caught:
        loading.load(altered(tiny_checkpoint, tmp_path, alter))
    said = str(caught.value)
    assert said.encode().decode() == said
    assert "\n" not in said


@pytest.mark.parametrize("attribute", ["yaml", "model"])
def test_a_network_without_what_every_one_has_is_a_rejection(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, attribute: str
) -> None:
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    with pytest.raises(UnreadableCheckpointError, match="cannot be loaded as an ultralytics model"):
        loading.load(altered(tiny_checkpoint, tmp_path, without(attribute)))


def test_a_network_that_cannot_run_is_a_rejection(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as free:
        free.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
        checkpoint = altered(tiny_checkpoint, tmp_path, without_layers)
    with pytest.raises(UnsupportedModelError, match=r"cannot run or export its network \(AttributeError"):
        exported(checkpoint, tmp_path / "to", ())


@pytest.mark.parametrize("model", [None, {"weight": torch.zeros(3)}, torch.nn.Linear(2, 2)])
def test_a_checkpoint_without_a_detector_is_a_rejection(tmp_path: Path, model: object) -> None:
    torch.save({"model": model, "ema": None, "train_args": {}}, tmp_path / "best.pt")
    with pytest.raises(UnreadableCheckpointError, match="cannot be loaded as an ultralytics model"):
        loading.load(tmp_path / "best.pt")


@pytest.mark.parametrize(("suffix", "task"), [("seg", "segment"), ("pose", "pose"), ("obb", "obb")])
def test_a_model_for_another_task_is_named_as_such(tmp_path: Path, suffix: str, task: str) -> None:
    checkpoint = build(f"yolov8-{suffix}", tmp_path, width=0.0625)
    scan(checkpoint, tmp_path / "checked.pt")
    with pytest.raises(NotADetectorError, match=f"for the task '{task}', not a detector"):
        loading.load(tmp_path / "checked.pt")


@pytest.mark.parametrize("value", [["a", "b", "c"], ("a", "b", "c"), {"0": "a", "1": "b", "2": "c"}])
def test_names_may_be_written_in_any_way_that_numbers_them(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, value: object
) -> None:
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    assert loading.load(altered(tiny_checkpoint, tmp_path, names(value))).classes == ("a", "b", "c")


def test_a_missing_size_is_that_of_predict(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    found = loading.load(altered(tiny_checkpoint, tmp_path, lambda content: content["train_args"].pop("imgsz")))
    assert (found.frame.height, found.frame.width) == (640, 640)


@pytest.fixture
def loss_of_8_0(monkeypatch: pytest.MonkeyPatch) -> type:
    """The loss where releases up to 8.0.135 had it."""
    package = "ultralytics.yolo.utils"
    module = ModuleType(f"{package}.loss")
    kind: type = loss.v8DetectionLoss
    for name in ("ultralytics.yolo", package):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, f"{package}.loss", module)
    monkeypatch.setattr(module, kind.__name__, kind, raising=False)
    monkeypatch.setattr(kind, "__module__", f"{package}.loss")
    return kind


@pytest.mark.parametrize("state", ["with its optimizer", "interrupted", "in 32 bits", "with the loss of 8.0"])
def test_a_checkpoint_loads_in_whatever_state_a_training_left_it(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, loss_of_8_0: type, state: str
) -> None:
    with monkeypatch.context() as free:
        free.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
        network = torch.load(tiny_checkpoint, weights_only=False)["model"]
    more: dict[str, Any] = {"updates": 7, "best_fitness": np.float64(0.5), "train_results": {"epoch": [1]}}
    if state == "with the loss of 8.0":
        criterion: Any = object.__new__(loss_of_8_0)
        criterion.hyp = {"box": 7.5}
        checkpoint = save(network, tmp_path, criterion=criterion)
    elif state == "with its optimizer":
        optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9)
        checkpoint = save(network, tmp_path, optimizer=optimizer.state_dict(), **more)
    else:
        checkpoint = save(network, tmp_path, **more)
        if state == "in 32 bits":
            network = network.float()
        content = {"epoch": 3, "model": None, "ema": network, "optimizer": None, "train_args": {"imgsz": 96}, **more}
        torch.save(content, checkpoint)
    monkeypatch.undo()
    scan(checkpoint, tmp_path / "checked.pt")
    monkeypatch.setattr(tasks, "SAFE_LOAD", True)
    assert loading.load(tmp_path / "checked.pt").classes == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize("start", [b"", b"GIF89a", b"\x00\x00\x00\x18ftypheic", b"\xff\xd8\xff no photo"])
def test_a_file_that_is_no_image_is_called_so_where_checkpoints_are_loaded(tmp_path: Path, start: bytes) -> None:
    """Ultralytics would look for a reader of HEIC first, which is not there."""
    (tmp_path / "photo.avif").write_bytes(start)
    with pytest.raises(UnidentifiedImageError):
        Image.open(tmp_path / "photo.avif")
    with pytest.raises(OSError, match="is not an image that OpenCV can read"):
        _read(tmp_path / "photo.avif")


def test_every_sentence_is_a_rejection() -> None:
    assert issubclass(UnsupportedModelError, RejectedModelError)
