"""The subprocess that lets two forms of a model answer the same images in turn, by the code that will serve one.

``python -m banana_delivery.export.precision.beside_worker REQUEST ANSWER TIMEOUT``
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from banana_delivery.errors import UnsupportedModelError
from banana_delivery.export.precision.protocol import Beside, BesideRequest
from banana_delivery.export.protocol import Detection
from banana_delivery.export.sandbox import get_on, serve
from banana_delivery.quoting import cited

if TYPE_CHECKING:
    from serving.inference.model import ModelVersion
    from serving.inference.predictor import Predictor

CONFIDENCE = 0.001
MAX_DETECTIONS = 100
"""As releases are asked: average precision needs the unsure ones."""
MAX_PIXELS = 100_000_000


def answer(request: BesideRequest) -> Beside:
    """Answer every image by each of them.

    Raises:
        UnsupportedModelError: if the serving code does not take one.
    """
    import numpy as np

    from serving.errors import ConfigurationError
    from serving.inference.model import read_version

    version = read_version(request.model)
    try:
        forms = [_predictor(file, version) for file in (request.model, request.int8)]
    except ConfigurationError as error:
        raise UnsupportedModelError(f"The model in integers cannot be served: {error}") from error
    found: list[list[tuple[Detection, ...]]] = [[], []]
    seconds = [0.0, 0.0]
    for image in request.images:
        data = image.read_bytes()
        for form, predictor in enumerate(forms):
            start = time.thread_time()
            boxes = predictor.predict(data, CONFIDENCE, MAX_DETECTIONS).boxes
            seconds[form] += time.thread_time() - start
            if not np.isfinite(boxes.corners).all():
                form_of = ("f32", "integers")[form]
                raise UnsupportedModelError(f"In {form_of} it answers {cited(image.name)} with boxes that are none.")
            rows = zip(boxes.corners.tolist(), boxes.scores.tolist(), boxes.class_ids.tolist(), strict=True)
            found[form].append(tuple(Detection(class_id=one, score=score, box=box) for box, score, one in rows))
        get_on(request.progress)
    return Beside(f32=tuple(found[0]), int8=tuple(found[1]), f32_seconds=seconds[0], int8_seconds=seconds[1])


def _predictor(model: Path, version: ModelVersion) -> Predictor:
    from serving.inference.engine import Engine
    from serving.inference.predictor import Predictor

    engine = Engine(model.read_bytes(), classes=len(version.classes), frame=version.takes, threads=1)
    return Predictor(engine, MAX_PIXELS)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], BesideRequest, answer))
