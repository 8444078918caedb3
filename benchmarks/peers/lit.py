"""LitServe."""

import os
from typing import Any

import litserve  # type: ignore[import-not-found]
from fastapi import Request

from benchmarks.peers.detector import Detector


class Api(litserve.LitAPI):  # type: ignore[misc]
    """A worker process with the model, fed by the HTTP process."""

    def setup(self, _device: str) -> None:
        """Loads the model."""
        self.detector = Detector()

    def decode_request(self, request: Request) -> bytes:
        """Takes the bytes out of the form."""
        return bytes(request["image"].file.read())

    def predict(self, image: bytes) -> list[dict[str, Any]]:
        """Detects."""
        return self.detector.predict(image)

    def encode_response(self, output: list[dict[str, Any]]) -> dict[str, Any]:
        """Wraps the boxes."""
        return {"detections": output}


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=int(os.environ["WORKERS"]))
    server.run(port=int(os.environ["PORT"]), generate_client_file=False)
