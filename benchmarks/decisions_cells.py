"""Cells of ``benchmarks.decisions``: many deliveries of one kind, as many as it takes to bound how often one is blamed.

A cell is played in stages of fixed sizes and is over after the first whose upper bound is low enough, or at the last
that there is time for. What has fewest deliveries goes on first, so that cells are alike however little time there is.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from banana_delivery.policy.rollout.decision import ActionKind
from banana_delivery.policy.simulation.deliveries import End

Cell = tuple[str, float]
"""What happens, and users' requests a second."""
STAGES = (300, 600, 1200, 2500, 5000, 10_000)
ENOUGH = 0.013
"""What is blamed in at most so many of its deliveries keeps the promised 1 % as far as 10,000 of them could tell."""
CHUNK = 10


@dataclass
class Played:
    """What became of the deliveries of one cell so far.

    Attributes:
        ends: of each, by its number.
        begun: how many were given to a worker.
    """

    ends: dict[int, End] = field(default_factory=dict)
    begun: int = 0

    @property
    def blamed(self) -> int:
        """How many were rolled back."""
        return sum(end.kind is ActionKind.ROLL_BACK for end in self.ends.values())

    def goal(self, most: int) -> int:
        """How many deliveries it takes, as far as is known; at most ``most``."""
        for stage in STAGES:
            if stage >= most or len(self.ends) < stage or upper(self.blamed, len(self.ends)) <= ENOUGH:
                return min(stage, most)
        return most

    def row(self) -> dict[str, object]:
        """Its figures."""
        ends = list(self.ends.values())
        kinds = Counter(end.kind for end in ends)
        return {
            "deliveries": len(ends),
            "blamed": self.blamed,
            "at most (97.5 %)": f"{upper(self.blamed, len(ends)):.1%}",
            "users sent away": f"{sum(end.protected is not None for end in ends) / max(len(ends), 1):.0%}",
            "parked or error": kinds[ActionKind.PARK] + kinds[ActionKind.STAND_BACK],
            "median seconds": float(np.median([end.seconds for end in ends])) if ends else None,
        }


def play_cells(
    play: Callable[[Cell, range], list[End]], cells: list[Cell], most: int, until: float, workers: int
) -> dict[Cell, Played]:
    """Play every cell.

    Args:
        play: the deliveries of a cell with these numbers.
        cells: which.
        most: deliveries of one at most.
        until: by ``time.monotonic``, when no more begin.
        workers: processes.
    """
    played = {cell: Played() for cell in cells}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ProcessPoolExecutor(workers) as pool, Progress(*columns) as shown:
        bar = shown.add_task("deliveries", total=None)
        pending: dict[Future[list[End]], tuple[Cell, range]] = {}
        while True:
            while len(pending) < 2 * workers and time.monotonic() < until:
                chunk = _next_chunk(played, most)
                if chunk is None:
                    break
                pending[pool.submit(play, *chunk)] = chunk
                played[chunk[0]].begun = chunk[1].stop
            if not pending:
                return played
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                cell, numbers = pending.pop(future)
                played[cell].ends.update(zip(numbers, future.result(), strict=True))
            done = sum(len(one.ends) for one in played.values())
            shown.update(bar, completed=done, total=sum(one.goal(most) for one in played.values()))


def _next_chunk(played: dict[Cell, Played], most: int) -> tuple[Cell, range] | None:
    """What is played next: of the cell that has fewest; None if none is to go on."""
    open_cells = [cell for cell, one in played.items() if one.begun < one.goal(most)]
    if not open_cells:
        return None
    cell = min(open_cells, key=lambda one: played[one].begun)
    begun = played[cell].begun
    return cell, range(begun, min(begun + CHUNK, played[cell].goal(most)))


def upper(found: int, runs: int) -> float:
    """Clopper and Pearson's upper bound of a share, with 97.5 % on one side."""
    if found == runs:
        return 1.0
    below, above = found / runs, 1.0
    for _ in range(50):
        share = (below + above) / 2
        likely = math.fsum(
            math.exp(_log_choose(runs, bad) + bad * math.log(share) + (runs - bad) * math.log1p(-share))
            for bad in range(found + 1)
        )
        below, above = (share, above) if likely > 0.025 else (below, share)
    return above


def _log_choose(whole: int, part: int) -> float:
    return math.lgamma(whole + 1) - math.lgamma(part + 1) - math.lgamma(whole - part + 1)
