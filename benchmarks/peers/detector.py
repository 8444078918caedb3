"""What every peer runs: the checkpoint, or an export of it, in ultralytics on decoded JPEGs."""

import os
from typing import Any

import cv2
import numpy as np
from ultralytics.models import YOLO


class Detector:
    """An ultralytics model and the size it is run at."""

    def __init__(self) -> None:
        self._model = YOLO(os.environ["CHECKPOINT"], task="detect")
        self._size = int(os.environ["INPUT_SIZE"])
        self.predict(cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes())

    def predict(self, jpeg: bytes) -> list[dict[str, Any]]:
        """Decodes and detects."""
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        [result] = self._model.predict(image, imgsz=self._size, verbose=False)
        boxes: Any = result.boxes  # type: ignore[union-attr]
        return [
            {"box": box, "class_id": int(class_id), "score": score}
            for box, class_id, score in zip(boxes.xyxy.tolist(), boxes.cls.tolist(), boxes.conf.tolist(), strict=True)
        ]
