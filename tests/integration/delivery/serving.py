"""A world in which version 1 serves, delivered once for all tests and copied for each."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.pipeline import World, open_world

FIRST = "1"


@dataclass(frozen=True)
class Serving:
    """What is left of a world in which version 1 was released.

    Attributes:
        home: its directory.
        outside: what its place and image store held.
    """

    home: Path
    outside: bytes

    @contextmanager
    def open(self, home: Path) -> Iterator[World]:
        """A world like it, in a directory that does not exist yet."""
        shutil.copytree(self.home, home)
        with open_world(home) as world:
            put_outside(world, self.outside)
            assert world.stage() == FIRST
            world.services.aftermath.mark(world.attempts(FIRST)[0])
            yield world


def serve(home: Path) -> Serving:
    """Deliver version 1, from nothing."""
    with open_world(home) as world:
        world.run(world.stage())
        assert world.serving == FIRST
        return Serving(home, outside(world))


def outside(world: World) -> bytes:
    """What outlives the pipeline's process: the place that releases run in, and the image store."""
    place = {name: value for name, value in vars(world.target.place).items() if name != "lock"}
    return pickle.dumps((place, vars(world.services.images)))


def put_outside(world: World, kept: bytes) -> None:
    """Put that into a world."""
    place, images = pickle.loads(kept)
    vars(world.target.place).update(place)
    vars(world.services.images).update(images)
