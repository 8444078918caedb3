"""Play seeds, show how far it is, and tell the story of those that broke something.

python -m tests.chaos --seeds 500           seeds 0 to 499
python -m tests.chaos --seed 417 --all      seed 417 alone, with every call
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from multiprocessing import get_context

from rich.console import Console
from rich.progress import Progress

from tests.chaos.simulate import lines, simulator
from tests.chaos.worker import play_share, start_worker

SHARE = 10
"""Seeds that a process takes at a time."""
MOST_STORIES = 3


def main(arguments: Sequence[str]) -> int:
    """Play what was asked for; 0 if every invariant held in every seed."""
    asked = _parser().parse_args(arguments)
    if asked.seed is not None:
        return _play_one(asked.seed, everything=asked.all)
    return _play_many(range(asked.first, asked.first + asked.seeds), asked.processes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many to play")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="play this one alone and tell its story")
    parser.add_argument("--all", action="store_true", help="tell every call, not only what went wrong or was changed")
    parser.add_argument("--processes", type=int, default=2, help="how many processes play")
    return parser


def _play_one(seed: int, *, everything: bool) -> int:
    with simulator() as one:
        result = one.play(seed)
    sys.stdout.write("\n".join(lines(result, everything=everything)) + "\n")
    return 1 if result.broken else 0


def _play_many(seeds: range, processes: int) -> int:
    begun, failed = time.monotonic(), []
    shares = [seeds[start : start + SHARE] for start in range(0, len(seeds), SHARE)]
    console = Console(stderr=True)
    # Fresh processes, so that none inherits what another one simulates.
    with get_context("spawn").Pool(processes, start_worker) as pool, Progress(console=console) as progress:
        bar = progress.add_task("Seeds", total=len(seeds))
        for share, broken in pool.imap_unordered(play_share, shares):
            failed += broken
            progress.advance(bar, len(share))
    failed.sort(key=lambda result: result.seed)
    for result in failed[:MOST_STORIES]:
        sys.stdout.write("\n".join(lines(result)) + "\n\n")
    for result in failed[MOST_STORIES:]:
        sys.stdout.write(f"Seed {result.seed}: {result.broken[0]}\n")
    said = f"{len(failed)} broke something: --seed N plays one again." if failed else "all invariants held in each."
    sys.stdout.write(f"{len(seeds)} seeds in {time.monotonic() - begun:.0f} s; {said}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
