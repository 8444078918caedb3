"""FastAPI and ultralytics, in the dozen lines most would write; started by `uvicorn benchmarks.peers.plain:app`."""

from typing import Annotated, Any

from fastapi import FastAPI, File

from benchmarks.peers.detector import Detector

app = FastAPI()
detector = Detector()


@app.post("/predict")
def predict(image: Annotated[bytes, File()]) -> list[dict[str, Any]]:
    """Detects in a thread of Starlette's pool."""
    return detector.predict(image)
