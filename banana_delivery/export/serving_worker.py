"""The subprocess that answers images with an exported model, through the very code that will serve it.

``python -m banana_delivery.export.serving_worker REQUEST ANSWER TIMEOUT``
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from banana_delivery.errors import UnsupportedModelError
from banana_delivery.export.protocol import Detection, Served, ServeRequest
from banana_delivery.export.sandbox import get_on, serve

if TYPE_CHECKING:
    from serving.inference.predictor import Predictor

MAX_DETECTIONS = 300
MAX_PIXELS = 100_000_000


def answer(request: ServeRequest) -> Served:
    """Answer every image.

    Raises:
        UnsupportedModelError: if the serving code does not take the model.
    """
    from serving.errors import ConfigurationError
    from serving.inference.engine import ENGINE, Engine
    from serving.inference.model import read_version, verified_bytes
    from serving.inference.predictor import Predictor

    try:
        version = read_version(request.model)
        engine = Engine(
            verified_bytes(request.model, version.onnx_sha256),
            classes=len(version.classes),
            frame=version.takes,
            threads=1,
        )
    except ConfigurationError as error:
        raise UnsupportedModelError(f"The exported model cannot be served: {error}") from error
    predictor = Predictor(engine, MAX_PIXELS)
    answers = []
    for image in request.images:
        answers.append(_detections(predictor, image.read_bytes(), request.confidence))
        get_on(request.progress)
    return Served(answers=tuple(answers), engine=f"{ENGINE}, {version.precision}")


def _detections(predictor: Predictor, image: bytes, confidence: float) -> tuple[Detection, ...]:
    boxes = predictor.predict(image, confidence, MAX_DETECTIONS).boxes
    return tuple(
        Detection(class_id=int(class_id), score=float(score), box=tuple(corners))
        for corners, score, class_id in zip(boxes.corners.tolist(), boxes.scores, boxes.class_ids, strict=True)
    )


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], ServeRequest, answer))
