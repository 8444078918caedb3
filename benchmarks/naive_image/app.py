"""The server that a first attempt makes: it loads the training checkpoint with the training framework."""

import io
import os
from typing import Any

import fastapi
import uvicorn
from PIL import Image
from ultralytics import YOLO  # type: ignore[attr-defined]

app = fastapi.FastAPI()
model = YOLO("best.pt")
model.predict(Image.new("RGB", (160, 160)), verbose=False)


@app.get("/ready")
def ready() -> dict[str, bool]:
    """The model has answered once."""
    return {"ready": True}


@app.post("/predict")
def predict(image: fastapi.UploadFile) -> list[list[float]]:
    """Boxes with score and class."""
    found: Any = model.predict(Image.open(io.BytesIO(image.file.read())), verbose=False)
    boxes: list[list[float]] = found[0].boxes.data.tolist()
    return boxes


uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]))
