"""One image from bytes to boxes, in one worker thread."""

import threading
import time
from dataclasses import dataclass

from serving.decode import decode
from serving.engine import Engine, Slot
from serving.postprocess import Boxes
from serving.preprocess import Letterbox, fill


@dataclass(frozen=True, slots=True)
class Prediction:
    """Boxes in pixels of the image as displayed, its size, and the seconds the network took."""

    boxes: Boxes
    width: int
    height: int
    seconds: float


class Predictor:
    """Runs images through the engine; each calling thread gets its own slot."""

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
        image = decode(data, self._max_pixels)
        box = Letterbox.fit(image.width, image.height, self._engine.input_size)
        slot = self._slot()
        fill(slot.square, image.pixels, image.orientation, box)
        started = time.perf_counter()
        found = slot.run(confidence, max_detections)
        seconds = time.perf_counter() - started
        boxes = Boxes(box.to_image(found.corners), found.scores, found.class_ids)
        return Prediction(boxes, image.width, image.height, seconds)

    def warm(self) -> None:
        """Runs this thread's slot once, so that the first request does not pay for the first run."""
        self._slot().run(confidence=1.0, at_most=1)

    def _slot(self) -> Slot:
        slot: Slot | None = getattr(self._local, "slot", None)
        if slot is None:
            slot = self._local.slot = self._engine.slot()
        return slot
