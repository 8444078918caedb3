"""One seed from its beginning to its end: everybody acts while calls go wrong, then time passes, then all is well."""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from banana_delivery.settings import Settings
from tests.chaos.actors import Cast
from tests.chaos.faults import Entry, Fate, Faults
from tests.chaos.invariants import broken
from tests.chaos.simulated import PLAN, simulated_system
from tests.chaos.world import World

ALLOWED: tuple[Fate, ...] = tuple(fate for fate in Fate if fate is not Fate.PASSES)
"""What may go wrong."""
ACTING_SECONDS = 240.0
"""Everybody has begun by then, and calls go wrong until then."""
SETTLING_SECONDS = 240.0
"""After that whatever went wrong has to be well: reconcile looks every 10 s, and a silent owner is dead after 20."""
THOROUGH = 5
"""Of so many seeds one is looked at for the whole time even if all is well earlier."""


@dataclass(frozen=True)
class Result:
    """How a seed ended.

    Attributes:
        seed: which.
        broken: the invariants that did not hold.
        story: every call.
        kinds: what could go wrong.
    """

    seed: int
    broken: tuple[str, ...]
    story: tuple[Entry, ...]
    kinds: tuple[Fate, ...]


class Simulator:
    """Plays seeds, each from the same beginning: versions 1 and 2 were released, and version 2 serves.

    Args:
        folder: for the files of the installations.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._settings = Settings(home=folder, plan=PLAN.name, warm_seconds=120.0, heartbeat_seconds=5.0)  # type: ignore[arg-type]
        self._base = self._released()

    def play(self, seed: int, allowed: tuple[Fate, ...] = ALLOWED) -> Result:
        """Play one seed."""
        chance = random.Random(seed)
        faults = Faults.of_seed(chance, allowed)
        home = self._folder / f"seed{seed}"
        world = World.make(home, faults, self._settings)
        world.continue_from(self._base)
        try:
            world.pool = chance.random() < 0.7
            begin = world.kernel.now
            cast = Cast(world)
            world.start_daemon()
            cast.enter(chance)
            while world.kernel.now < begin + ACTING_SECONDS and not cast.is_over():
                world.kernel.run(world.kernel.now + 10.0)
            faults.on = False
            world.machine.tell("Nothing goes wrong any more.")
            patience = (SETTLING_SECONDS,) if seed % THOROUGH == 0 else (SETTLING_SECONDS / 3, SETTLING_SECONDS * 2 / 3)
            for seconds in patience:
                world.kernel.run(world.kernel.now + seconds)
                sentences = broken(world, cast)
                if not sentences:
                    break
        finally:
            faults.on = False
            world.close()
            shutil.rmtree(home)
        return Result(seed, tuple(sentences), tuple(world.machine.story), tuple(sorted(faults.kinds)))

    def _released(self) -> World:
        """Two versions delivered while nothing goes wrong."""
        world = World.make(self._folder / "base", Faults(random.Random(0), on=False), self._settings)
        world.start_daemon()
        for _ in range(2):
            version = world.publish()
            world.registry.stage(version)
            world.kernel.run(world.kernel.now + 90.0)
        assert world.production.live is not None
        assert world.production.live.version == "2"
        world.close()
        return world


@contextmanager
def simulator() -> Iterator[Simulator]:
    """A simulator; the product runs on the simulated machine until the block ends."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() else None
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with tempfile.TemporaryDirectory(prefix="chaos-", dir=place) as folder:
            code = Path(folder) / "code"
            code.mkdir()
            with simulated_system(code):
                yield Simulator(Path(folder))
    finally:
        logging.disable(disabled)


def lines(result: Result, *, everything: bool = False) -> Iterable[str]:
    """A seed's story: what was decided at each call, and what broke."""
    yield f"Seed {result.seed}, where a call may be one that: {', '.join(result.kinds)}"
    for number, entry in enumerate(result.story, start=1):
        if everything or entry.fate is not Fate.PASSES:
            fate = f" [{entry.fate.upper()}]" if entry.fate and entry.fate is not Fate.PASSES else ""
            yield f"{number:5}  {entry.at:8.2f}  {entry.who:28.28}  {entry.what}{fate}"
    for sentence in result.broken:
        yield f"BROKEN: {sentence}"
