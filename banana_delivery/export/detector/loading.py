"""A checkpoint as ultralytics sees it; imported only in the subprocess that may load it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from ultralytics.data.augment import LetterBox
from ultralytics.models import YOLO
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes
from ultralytics.utils.patches import imread

from banana_delivery.errors import (
    BrokenWeightsError,
    NotADetectorError,
    UnreadableCheckpointError,
    UnsupportedModelError,
)
from banana_delivery.export.protocol import Detection
from banana_delivery.quoting import cited

Pixels = NDArray[np.uint8]
"""Shape (height, width, 3), blue first, as OpenCV has it."""

STRIDE = 32
SMALLEST, LARGEST = 32, 4096
COLOURS = 3
IOU_LIMIT = 0.7
"""Overlap above which two boxes of one class are one object: ultralytics' default, and the serving application's."""
MAX_DETECTIONS = 300


@dataclass(frozen=True)
class Detector:
    """A sound detector.

    Attributes:
        yolo: the loaded model.
        classes: names, in the order of their ids.
        input_size: pixels of the longer side: what it was trained on.
        takes_frames: whether the other side may be shorter, as long as it is a multiple of `STRIDE`.
    """

    yolo: YOLO
    classes: tuple[str, ...]
    input_size: int
    takes_frames: bool


def load(checkpoint: Path) -> Detector:
    """Load a scanned checkpoint and make sure that it can be delivered.

    Raises:
        RejectedModelError: if it cannot; the subclass says why.
    """
    try:
        yolo = YOLO(checkpoint)
    except (MemoryError, PermissionError):
        raise
    except Exception as error:
        raise UnreadableCheckpointError(
            f"{checkpoint.name} cannot be loaded as an ultralytics model ({type(error).__name__}: "
            f"{cited(_brief(error))}): register the best.pt of a training run."
        ) from error
    if yolo.task != "detect":
        raise NotADetectorError(
            f"{checkpoint.name} holds a model for the task {cited(str(yolo.task))}, not a detector: register a version "
            "that was trained with task 'detect'."
        )
    _check_weights(checkpoint.name, yolo.model)
    network: Any = yolo.model
    return Detector(
        yolo,
        _classes(checkpoint.name, yolo.names),
        _input_size(checkpoint.name, yolo),
        # With a coarser grid, other sides than the trained one may not divide.
        takes_frames=int(network.stride.max()) <= STRIDE,
    )


def answer(detector: Detector, image: Path, confidence: float) -> tuple[Detection, ...]:
    """The checkpoint's own detections in an image file, by ultralytics' own preparation and suppression.

    Its parts are called and not ``YOLO.predict``, which costs three seconds more: it imports torchvision for a
    suppression that ultralytics brings along, and torchvision imports torch's compiler.
    """
    pixels = _read(image)
    frame = _letterbox(detector, pixels)
    batch = torch.from_numpy(np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1)))[None].float() / 255
    with torch.no_grad():
        network: Any = detector.yolo.model
        [found] = non_max_suppression(
            network(batch),
            confidence,
            IOU_LIMIT,
            max_det=MAX_DETECTIONS,
            nc=len(detector.classes),
            end2end=bool(getattr(network, "end2end", False)),
        )
    found[:, :4] = scale_boxes(frame.shape[:2], found[:, :4], pixels.shape)
    return tuple(
        Detection(class_id=int(class_id), score=score, box=(x1, y1, x2, y2))
        for x1, y1, x2, y2, score, class_id in found[:, :6].tolist()
    )


def write_frame(detector: Detector, image: Path, to: Path) -> Path:
    """Write an image as the network sees it, letterboxed, into a lossless file."""
    if not cv2.imwrite(str(to), _letterbox(detector, _read(image))):
        raise OSError(f"{to} could not be written.")
    return to


def _read(image: Path) -> Pixels:
    pixels: Pixels | None = imread(str(image))
    if pixels is None:
        raise OSError(f"{image} is not an image that OpenCV can read.")
    return pixels


def _letterbox(detector: Detector, pixels: Pixels) -> Pixels:
    size = (detector.input_size, detector.input_size)
    frame: Any = LetterBox(size, auto=detector.takes_frames, stride=STRIDE)(image=pixels)
    return np.asarray(frame, np.uint8)


def _check_weights(name: str, network: Any) -> None:
    for tensor_name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BrokenWeightsError(
                f"{name} has weights that are not finite numbers (first in {cited(tensor_name)}): its training "
                "diverged, so train it again with a lower learning rate."
            )


def _classes(name: str, names: dict[int, str]) -> tuple[str, ...]:
    if sorted(names) != list(range(len(names))) or not names:
        raise UnsupportedModelError(f"{name} does not number its classes from 0 without gaps: {cited(str(names))}.")
    return tuple(str(names[index]) for index in range(len(names)))


def _input_size(name: str, yolo: YOLO) -> int:
    network: Any = yolo.model
    channels = network.yaml.get("channels", COLOURS)
    if channels != COLOURS:
        raise UnsupportedModelError(f"{name} reads images of {channels} channels; only {COLOURS} can be served.")
    trained: Any = yolo.overrides.get("imgsz", 640)
    sizes = {trained} if isinstance(trained, int) else set(trained)
    size = max(sizes)
    if len(sizes) != 1 or size % STRIDE or not SMALLEST <= size <= LARGEST:
        raise UnsupportedModelError(
            f"{name} was trained on images of {trained} pixels; only squares of {SMALLEST} to {LARGEST} pixels in "
            f"steps of {STRIDE} can be served."
        )
    return int(size)


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else "no message"
