"""BentoML; started with `bentoml serve benchmarks.peers.bento:Bananas`."""

import os
from pathlib import Path
from typing import Annotated, Any

import bentoml  # type: ignore[import-not-found]
from bentoml.validators import ContentType  # type: ignore[import-not-found]

from benchmarks.peers.detector import Detector


@bentoml.service(workers=int(os.environ["WORKERS"]))
class Bananas:
    """Workers with a model each."""

    def __init__(self) -> None:
        self.detector = Detector()

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, image: Annotated[Path, ContentType("image/jpeg")]) -> list[dict[str, Any]]:
        """Detects in a file BentoML has written the upload to."""
        return self.detector.predict(image.read_bytes())
