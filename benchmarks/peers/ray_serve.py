"""Ray Serve."""

import os
import time
from typing import Any

import ray  # type: ignore[import-not-found]
from ray import serve
from starlette.requests import Request

from benchmarks.peers.detector import Detector


@serve.deployment(num_replicas=int(os.environ["WORKERS"]), ray_actor_options={"num_cpus": 1}, max_ongoing_requests=32)
class Bananas:
    """A replica with the model."""

    def __init__(self) -> None:
        self.detector = Detector()

    async def __call__(self, request: Request) -> list[dict[str, Any]]:
        """Detects."""
        form = await request.form()
        return self.detector.predict(await form["image"].read())  # type: ignore[union-attr]


if __name__ == "__main__":
    ray.init(num_cpus=max(2, int(os.environ["WORKERS"])), include_dashboard=False, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(Bananas.bind(), route_prefix="/predict")  # type: ignore[attr-defined]
    while True:
        time.sleep(3600)
