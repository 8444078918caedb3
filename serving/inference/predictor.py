"""One image from bytes to boxes, in one worker thread."""

import threading
import time
from dataclasses import dataclass

import numpy as np

from serving.inference.apart import decode
from serving.inference.decode import Decoded
from serving.inference.device.network import Network
from serving.inference.engine import Engine
from serving.inference.postprocess import Boxes
from serving.inference.preprocess import Letterbox, Planes, fill


@dataclass(frozen=True, slots=True)
class Prediction:
    """Boxes in pixels of the image as displayed, its size, and the seconds the network took."""

    boxes: Boxes
    width: int
    height: int
    seconds: float


class Predictor:
    """Runs images through the engine; each calling thread prepares its own in a buffer of its own."""

    def __init__(self, engine: Engine, max_pixels: int) -> None:
        self._engine = engine
        self._max_pixels = max_pixels
        self._local = threading.local()

    def predict(self, data: bytes, confidence: float, max_detections: int) -> Prediction:
        """Decodes, letterboxes and detects.

        Args:
            data: an encoded image.
            confidence: only boxes with a higher score are returned.
            max_detections: at most this many, the highest scores first.

        Raises:
            RequestError: if the bytes are not an acceptable image.
        """
        image, box, planes = self._prepare(data)
        started = time.perf_counter()
        found = self._engine.run(planes, confidence, max_detections)
        seconds = time.perf_counter() - started
        boxes = Boxes(box.to_image(found.corners), found.scores, found.class_ids)
        return Prediction(boxes, image.width, image.height, seconds)

    def warm(self) -> None:
        """Runs the network once in this thread, so that the first request does not pay for the first run."""
        planes = self._planes(self._engine.frame.width, self._engine.frame.height)
        planes[...] = 0
        self._engine.run(planes, confidence=1.0, at_most=1)

    def try_cuda(self, onnx: bytes, sample: bytes) -> None:
        """Moves to a GPU that answers an encoded image as the CPU does; `onnx` is the network once more."""
        self._engine.try_cuda(onnx, self._prepare(sample)[2])

    @property
    def network(self) -> Network:
        """What runs the network."""
        return self._engine.network

    def _prepare(self, data: bytes) -> tuple[Decoded, Letterbox, Planes]:
        image = decode(data, self._max_pixels)
        box = Letterbox.fit(image.width, image.height, self._engine.frame)
        planes = self._planes(box.frame_width, box.frame_height)
        fill(planes, image.pixels, image.orientation, box)
        return image, box, planes

    def _planes(self, width: int, height: int) -> Planes:
        """Room for a network input, the same memory each time."""
        buffer: Planes | None = getattr(self._local, "buffer", None)
        if buffer is None:
            buffer = self._local.buffer = np.empty(3 * self._engine.frame.width * self._engine.frame.height, np.float32)
        return buffer[: 3 * width * height].reshape(3, height, width)
