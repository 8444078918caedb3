"""A pipeline in which version 1 serves, delivered once for all tests and copied for each."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.pipeline import PipelineHarness, open_pipeline

FIRST = "1"


@dataclass(frozen=True)
class Serving:
    """What is left of a pipeline in which version 1 was released.

    Attributes:
        home: its directory.
        outside: what its place and image store held.
    """

    home: Path
    outside: bytes

    @contextmanager
    def open(self, home: Path) -> Iterator[PipelineHarness]:
        """A pipeline like it, in a directory that does not exist yet."""
        shutil.copytree(self.home, home)
        with open_pipeline(home) as pipeline:
            put_outside(pipeline, self.outside)
            assert pipeline.stage() == FIRST
            pipeline.resources.publisher.mark(pipeline.attempts(FIRST)[0])
            yield pipeline


def serve(home: Path) -> Serving:
    """Deliver version 1, from nothing."""
    with open_pipeline(home) as pipeline:
        pipeline.run(pipeline.stage())
        assert pipeline.serving == FIRST
        return Serving(home, outside(pipeline))


def outside(pipeline: PipelineHarness) -> bytes:
    """What outlives the pipeline's process: where releases run, and the image store."""
    place = {name: value for name, value in vars(pipeline.target.place).items() if name != "lock"}
    return pickle.dumps((place, vars(pipeline.resources.image_store)))


def put_outside(pipeline: PipelineHarness, kept: bytes) -> None:
    """Put that into a world."""
    place, images = pickle.loads(kept)
    vars(pipeline.target.place).update(place)
    vars(pipeline.resources.image_store).update(images)
