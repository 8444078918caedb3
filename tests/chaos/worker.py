"""A process that plays a share of the seeds."""

from __future__ import annotations

import atexit
import gc
from contextlib import ExitStack

from tests.chaos.simulate import Result, Simulator, simulator


class _Worker:
    """The simulator of a process that plays a share of the seeds."""

    open: ExitStack
    simulator: Simulator


def start_worker() -> None:
    """Open the simulator of this process, until the process ends."""
    _Worker.open = ExitStack()
    atexit.register(_Worker.open.close)
    _Worker.simulator = _Worker.open.enter_context(simulator())
    gc.freeze()  # What every seed shares is never garbage.
    gc.disable()  # Looking for cycles in the midst of a seed cost a tenth of the time; a share leaves few of them.


def play_share(share: range) -> tuple[range, list[Result]]:
    """Play some seeds; those that broke something."""
    broken = [result for result in map(_Worker.simulator.play, share) if result.broken]
    gc.collect()
    return share, broken
