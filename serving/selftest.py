"""`python -m serving.selftest`: proves, without a port, that this image can serve its model.

It loads the model as the server does, predicts on the packaged sample images, checks the answers, and prints one line
of JSON. The exit status is 0 if everything holds, else 1.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from serving.errors import ConfigurationError, RequestError
from serving.inference.device.agreement import SCORE
from serving.inference.engine import ENGINE
from serving.inference.loading import LoadedModel, load_model
from serving.inference.model import read_version
from serving.inference.postprocess import Floats
from serving.inference.predictor import Prediction
from serving.settings import load_settings

SAMPLES = Path(__file__).with_name("samples")
CONFIDENCE = 0.001
"""So low that something is found by nearly any model."""


class SelftestError(Exception):
    """The model answers, but not as a detector must."""


def check(prediction: Prediction, classes: int, name: str) -> None:
    """Checks one answer.

    Raises:
        SelftestError: if a box, score or class is impossible.
    """
    boxes = prediction.boxes
    edges = np.array([prediction.width, prediction.height] * 2)
    if not np.isfinite(boxes.corners).all() or not np.isfinite(boxes.scores).all():
        raise SelftestError(f"The model answered {name} with numbers that are not finite.")
    if (boxes.corners < 0).any() or (boxes.corners > edges).any():
        raise SelftestError(f"The model answered {name} with a box outside the image.")
    if (boxes.scores < 0).any() or (boxes.scores > 1).any():
        raise SelftestError(f"The model answered {name} with a score outside 0..1.")
    if (boxes.class_ids < 0).any() or (boxes.class_ids >= classes).any():
        raise SelftestError(f"The model answered {name} with a class that version.json does not name.")


def predict_samples(model: LoadedModel) -> int:
    """Predicts on each sample twice and compares; returns the number of samples."""
    samples = sorted(path for path in SAMPLES.iterdir() if path.suffix in {".jpg", ".png", ".webp"})
    for path in samples:
        first, second = (model.predictor.predict(path.read_bytes(), CONFIDENCE, 300) for _ in range(2))
        check(first, len(model.version.classes), path.name)
        # The second answer may be the GPU's where the first one was still the CPU's.
        tolerance = SCORE if model.predictor.network.device.name == "cuda" else 0.0
        if not equal(first.boxes.scores, second.boxes.scores, tolerance):
            raise SelftestError(f"The model answered {path.name} differently the second time.")
    if not samples:
        raise SelftestError(f"There are no sample images in {SAMPLES}; the image was built without them.")
    return len(samples)


def equal(scores: Floats, others: Floats, tolerance: float) -> bool:
    """Whether two answers have the same scores within `tolerance`, by which a box may fall below the least one."""
    length = max(len(scores), len(others))
    padded = [np.pad(one, (0, length - len(one)), constant_values=CONFIDENCE) for one in (scores, others)]
    return bool(np.abs(padded[0] - padded[1]).max(initial=0.0) <= tolerance)


def run() -> dict[str, object]:
    """Runs the self-test; returns what it found."""
    started = time.perf_counter()
    settings = load_settings()
    version = read_version(settings.model_path)
    model = load_model(settings, version)
    images = predict_samples(model)
    return {
        "ok": True,
        "model_name": version.model_name,
        "model_version": version.version,
        "onnx_sha256": version.onnx_sha256,
        "digest": settings.image_digest,
        "engine": ENGINE,
        "precision": version.precision,
        "device": model.predictor.network.device.name,
        "images": images,
        "seconds": round(time.perf_counter() - started, 3),
    }


def main() -> int:
    """Prints the result as one line; returns the exit status."""
    try:
        result = run()
    except (ConfigurationError, RequestError, SelftestError) as error:
        result = {"ok": False, "error": str(error)}
    sys.stdout.write(json.dumps(result) + "\n")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
