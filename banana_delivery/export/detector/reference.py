"""What the checkpoint itself answers, by ultralytics' own preparation and suppression: what ``predict`` would say.

Its parts are called and not ``YOLO.predict``, which costs three seconds more: it imports torchvision for a suppression
that ultralytics brings along, and torchvision imports torch's compiler.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from ultralytics.data.augment import LetterBox
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import clip_boxes, scale_boxes, xywh2xyxy
from ultralytics.utils.patches import imread

from banana_delivery.export.detector.loading import Detector
from banana_delivery.export.protocol import Detection

Pixels = NDArray[np.uint8]
"""Shape (height, width, 3), blue first, as OpenCV has it."""

IOU_LIMIT = 0.7
"""Overlap above which two boxes of one class are one object: ultralytics' default, and the serving application's."""
MAX_DETECTIONS = 300


class Answered(NamedTuple):
    """The checkpoint's detections, in pixels of the image and in pixels of the frame that the network saw."""

    in_image: tuple[Detection, ...]
    in_frame: tuple[Detection, ...]


def answer(detector: Detector, image: Path, confidence: float, frame_to: Path) -> Answered:
    """Let the checkpoint answer an image file.

    Args:
        detector: the loaded checkpoint.
        image: a file that OpenCV reads.
        confidence: lowest score.
        frame_to: a lossless file that receives the image as the network sees it.
    """
    pixels = _read(image)
    frame = _framed(detector, pixels)
    if not cv2.imwrite(str(frame_to), frame):
        raise OSError(f"{frame_to} could not be written.")
    batch = torch.from_numpy(np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1)))[None].float() / 255
    with torch.no_grad():
        found = detector.network(batch)
    rows = _stretched_rows(found, confidence) if detector.frame.stretched else _rows(detector, found, confidence)
    in_image, in_frame = _size(pixels), _size(frame)
    return Answered(_detections(detector, rows, in_frame, in_image), _detections(detector, rows, in_frame, in_frame))


def _size(pixels: Pixels) -> tuple[int, int]:
    return pixels.shape[0], pixels.shape[1]


def _rows(detector: Detector, found: Any, confidence: float) -> torch.Tensor:
    """Rows of x1, y1, x2, y2 in pixels of the frame, score, class."""
    [rows] = non_max_suppression(
        found,
        confidence,
        IOU_LIMIT,
        max_det=MAX_DETECTIONS,
        nc=len(detector.classes),
        end2end=bool(getattr(detector.network, "end2end", False)),
    )
    return torch.as_tensor(rows)


def _stretched_rows(found: Any, confidence: float) -> torch.Tensor:
    """RT-DETR's own rows, whose boxes are centre and size in shares of the frame, as ``RTDETRPredictor`` picks them."""
    rows: torch.Tensor = (found[0] if isinstance(found, (list, tuple)) else found)[0]
    rows = rows[rows[:, 4] > confidence][:MAX_DETECTIONS]
    corners = torch.as_tensor(xywh2xyxy(rows[:, :4]))  # type: ignore[no-untyped-call]
    return torch.cat([corners, rows[:, 4:]], dim=-1)


def _detections(
    detector: Detector, rows: torch.Tensor, frame: tuple[int, int], image: tuple[int, int]
) -> tuple[Detection, ...]:
    boxes = rows[:, :4].clone()
    if detector.frame.stretched:
        boxes *= torch.tensor([image[1], image[0]] * 2)
        boxes = torch.as_tensor(clip_boxes(boxes, image))  # type: ignore[no-untyped-call]
    else:
        boxes = torch.as_tensor(scale_boxes(frame, boxes, image))
    return tuple(
        Detection(class_id=int(class_id), score=score, box=(x1, y1, x2, y2))
        for (x1, y1, x2, y2), (score, class_id) in zip(boxes.tolist(), rows[:, 4:6].tolist(), strict=True)
    )


def _read(image: Path) -> Pixels:
    pixels: Pixels | None = imread(str(image))
    if pixels is None:
        raise OSError(f"{image} is not an image that OpenCV can read.")
    return pixels


def _framed(detector: Detector, pixels: Pixels) -> Pixels:
    takes = detector.frame
    framed: Any = LetterBox(
        (takes.height, takes.width), auto=not takes.stretched, scale_fill=takes.stretched, stride=takes.stride
    )(image=pixels)
    return np.asarray(framed, np.uint8)
