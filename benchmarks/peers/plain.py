"""FastAPI and ultralytics, in the dozen lines most people would write."""

import os
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, File

from benchmarks.peers.detector import Detector

app = FastAPI()
detector = Detector()


@app.post("/predict")
def predict(image: Annotated[bytes, File()]) -> list[dict[str, Any]]:
    """Detects in a thread of Starlette's pool."""
    return detector.predict(image)


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False)
