"""What the rollout's decisions are worth, simulated through the functions that make them for real releases.

    .venv/bin/python -m benchmarks.decisions [--runs 1000] [--minutes 60] [--quick]        (or: make simulate)

Prints how often a sound candidate is turned back where requests are not independent of each other, and how soon a bad
one is found; writes benchmarks/out/decisions.json. Seeded: the same arguments give the same figures.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from banana_delivery.policies.reading import PLANS
from banana_delivery.policy.rollout.analysis import begin_step
from banana_delivery.policy.rollout.decision import ActionKind, assess_step
from banana_delivery.policy.rollout.plan import Limit, ab_step, rejection_threshold, release_steps
from banana_delivery.policy.simulation.deliveries import End, deliver, end_of, play
from banana_delivery.policy.simulation.traffic import CANDIDATE, CONDITIONS, DIGEST, USUAL, Faulty, Maker, UsersOnly
from benchmarks.decisions_cells import play_cells
from benchmarks.decisions_exact import fewest_failures, requests_until, too_many_errors
from benchmarks.decisions_peers import compared

OUT = Path("benchmarks/out/decisions.json")
PLAN = PLANS["standard"]
RATES = (1.0, 5.0, 50.0, 500.0)
"""Users' requests a second."""
FAULTS = (1.0, 0.5, 0.2, 0.1)
MOST_REQUESTS = 4000
"""By which every test of these faults has long ended."""
WORKERS = os.cpu_count() or 1

Row = dict[str, object]
Cell = TypeVar("Cell")


def dependence(runs: int, rates: Iterable[float] = RATES, minutes: float = math.inf) -> list[Row]:
    """How often a sound candidate is turned back where requests depend on each other.

    Args:
        runs: deliveries of a cell at most.
        rates: users' requests a second.
        minutes: after which no more are begun.
    """
    cells = [(name, users) for name in CONDITIONS for users in rates]
    played = play_cells(_condition, cells, runs, time.monotonic() + 60 * minutes, WORKERS)
    return [{"condition": name, "users/s": users, **played[name, users].row()} for name, users in cells]


def _condition(cell: tuple[str, float], numbers: range) -> list[End]:
    name, users = cell
    number = list(CONDITIONS).index(name)
    return [
        deliver(PLAN, CONDITIONS[name](np.random.default_rng((number, int(users), seed)), users)) for seed in numbers
    ]


def requests_until_found() -> list[Row]:
    """How many requests the test of a step needs for a fault that is there at once, looked at after every request."""
    needed = rejection_threshold(PLAN, ab_step(PLAN), Limit.FAILURES, 0)
    fewest = fewest_failures(too_many_errors(PLAN.error_threshold), needed, MOST_REQUESTS, PLAN.minimum_failures)
    rows: list[Row] = []
    for rate in FAULTS:
        median, most = requests_until(fewest, rate, (0.5, 0.9))
        knowing = fewest_failures(partial(_knowing, rate), needed, MOST_REQUESTS, 1)
        (oracle,) = requests_until(knowing, rate, (0.5,))
        rows.append(
            {"errors": f"{rate:.0%}", "median": median, "90 %": most, "one that knows the rate (median)": oracle}
        )
    return rows


def _knowing(rate: float, failures: int, successes: int) -> float:
    """The evidence of one that knows the rate, which no test can beat."""
    if successes and rate == 1:
        return -math.inf
    good = successes * (math.log1p(-rate) - math.log1p(-PLAN.error_threshold)) if successes else 0.0
    return failures * math.log(rate / PLAN.error_threshold) + good


def seconds_until_found(runs: int) -> list[Row]:
    """How long users meet a fault that begins with the watch, or late in it (the watch is held open for 240 s).

    Until they are sent away: what is found out about the version afterwards costs none of them.
    """
    cells = [(users, rate, onset) for users in (5.0, 50.0) for rate in FAULTS for onset in (0.0, 59.0, 115.0)]
    rows = []
    for (users, rate, onset), ends in zip(cells, _each(partial(_late, runs=runs), cells), strict=True):
        seconds = np.array([end.seconds - onset if end.kind is ActionKind.ROLL_BACK else math.inf for end in ends])
        early = int((seconds <= 0).sum())
        rows.append(
            {
                "users/s": users,
                "errors": f"{rate:.0%}",
                "starts after": f"{onset:g} s",
                "median": _seconds(seconds, 0.5),
                "90 %": _seconds(seconds, 0.9),
                "failed user requests (median)": int(np.median([end.hurt for end in ends])),
                "turned back before": early,
            }
        )
        print(" ".join(str(value) for value in rows[-1].values()), flush=True)
    return rows


def _late(cell: tuple[float, float, float], runs: int) -> list[End]:
    users, rate, onset = cell
    watch = release_steps(PLAN)[-1].replace(minimum_seconds=PLAN.watch_seconds)
    ends = []
    for seed in range(runs):
        traffic = Faulty(np.random.default_rng((int(users), int(100 * rate), seed)), users, share=rate, onset=onset)
        ends.append(end_of(play(PLAN, watch, traffic, is_tried=False)[0], traffic))
    return ends


def weak_faults(runs: int) -> list[Row]:
    """How often a whole delivery finds a candidate that is a little worse, and how many user requests fail by then."""
    cells = [(users, rate) for users in (5.0, 50.0) for rate in (0.03, 0.07, 0.1, 0.2)]
    rows = []
    for (users, rate), ends in zip(cells, _each(partial(_weak, runs=runs), cells), strict=True):
        found = [end for end in ends if end.kind is ActionKind.ROLL_BACK]
        rows.append(
            {
                "users/s": users,
                "errors": f"{rate:.0%}",
                "found": f"{len(found) / runs:.0%}",
                "parked": f"{sum(end.kind is ActionKind.PARK for end in ends) / runs:.0%}",
                "median seconds": float(np.median([end.seconds for end in found])) if found else None,
                "failed user requests (median)": float(np.median([end.hurt for end in ends])),
            }
        )
        print(" ".join(str(value) for value in rows[-1].values()), flush=True)
    return rows


USERS_ONLY = (1.0, 0.5, 0.2)


def users_only(runs: int) -> list[Row]:
    """How deliveries end whose candidate fails a share of what users send, and nothing of what the probe sends."""
    cells = [(users, rate) for users in (5.0, 50.0) for rate in USERS_ONLY]
    rows = []
    for (users, rate), ends in zip(cells, _each(partial(_users_only, runs=runs), cells), strict=True):
        kinds = Counter(end.kind for end in ends)
        rows.append(
            {
                "users/s": users,
                "errors": f"{rate:.0%}",
                "rolled back": f"{kinds[ActionKind.ROLL_BACK] / runs:.0%}",
                "parked": f"{kinds[ActionKind.PARK] / runs:.0%}",
                "users sent away after (median)": _protected(ends),
                "median seconds": float(np.median([end.seconds for end in ends])),
                "failed user requests (median)": float(np.median([end.hurt for end in ends])),
            }
        )
        print(" ".join(str(value) for value in rows[-1].values()), flush=True)
    return rows


def _users_only(cell: tuple[float, float], runs: int) -> list[End]:
    users, rate = cell
    return [
        deliver(PLAN, UsersOnly(np.random.default_rng((int(users), int(1000 * rate), seed)), users, share=rate))
        for seed in range(runs)
    ]


def _protected(ends: list[End]) -> str:
    times = np.array([math.inf if end.protected is None else end.protected for end in ends])
    return _seconds(times, 0.5)


def looks(runs: int) -> list[Row]:
    """What one look costs that judges so many counted requests, in milliseconds of a processor."""
    rows: list[Row] = []
    watch = release_steps(PLAN)[-1].replace(ceiling_seconds=3600.0)
    for counted in (1_000, 100_000, 1_000_000):
        for share in (USUAL, PLAN.error_threshold):
            traffic = Faulty(np.random.default_rng((counted, runs)), float(counted), share=share)
            state = begin_step(PLAN, watch, traffic.snapshot())
            traffic.second(100, 5.0, 5.0)
            traffic.users, spent = 50.0, []
            for _ in range(runs):
                traffic.second(100, 5.0, 5.0)
                snapshot = traffic.snapshot()
                began = time.process_time()
                _, state = assess_step(PLAN, state, snapshot, CANDIDATE, DIGEST)
                spent.append(1000 * (time.process_time() - began))
            median, most = float(np.median(spent)), float(np.quantile(spent, 0.99))
            row: Row = {
                "requests": counted,
                "fail": f"{share:.1%}",
                "median ms": round(median, 2),
                "99 %": round(most, 2),
            }
            rows.append(row)
    return rows


def peers(runs: int, rates: Iterable[float] = RATES) -> list[Row]:
    """What the rules of other tools do with the same traffic, and with a candidate that is bad."""
    faults: dict[str, Maker] = {
        f"the candidate fails {rate:.0%}": partial(Faulty, share=rate) for rate in (1.0, 0.1, 0.03)
    }
    return [row for users in rates for row in compared({**CONDITIONS, **faults}, users, runs)]


def _weak(cell: tuple[float, float], runs: int) -> list[End]:
    users, rate = cell
    return [
        deliver(PLAN, Faulty(np.random.default_rng((int(users), int(1000 * rate), seed)), users, share=rate))
        for seed in range(runs)
    ]


def _each(work: Callable[[Cell], list[End]], cells: list[Cell]) -> Iterable[list[End]]:
    if WORKERS == 1 or len(cells) == 1:
        yield from map(work, cells)
        return
    with ProcessPoolExecutor(WORKERS) as pool:
        yield from pool.map(work, cells)


def _seconds(times: np.ndarray[tuple[int], np.dtype[np.float64]], quantile: float) -> str:
    seconds = float(np.quantile(times, quantile, method="inverted_cdf"))
    return "not before the watch ends" if math.isinf(seconds) else f"{seconds:.0f} s"


def markdown(rows: list[Row]) -> str:
    """A table with one line a row."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return "\n".join(lines + ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows])


def simulate(runs: int, rates: Iterable[float] = RATES, minutes: float = math.inf) -> dict[str, list[Row]]:
    """Every table.

    Args:
        runs: deliveries a figure at most.
        rates: users' requests a second, of the first table.
        minutes: of the first table, after which no more deliveries are begun.
    """
    late = max(runs // 5, 1)
    return {
        "dependence": dependence(runs, rates, minutes),
        "requests_until_found": requests_until_found(),
        "seconds_until_found": seconds_until_found(late),
        "weak_faults": weak_faults(late),
        "users_only": users_only(late),
        "looks": looks(late),
        "peers": peers(late),
    }


TABLES: dict[str, Callable[..., list[Row]]] = {
    "dependence": dependence,
    "seconds_until_found": seconds_until_found,
    "weak_faults": weak_faults,
    "users_only": users_only,
    "looks": looks,
    "peers": peers,
}


def main() -> None:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(description="Simulate the decisions of a rollout.")
    parser.add_argument("--runs", type=int, default=1000, help="deliveries per figure (default 1000)")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="for the first table (default: until it is done)"
    )
    parser.add_argument("--quick", action="store_true", help="a few runs at one rate, to see that everything works")
    parser.add_argument("--only", choices=TABLES, help="one table; the others stay as they were written")
    arguments = parser.parse_args()
    if arguments.only:
        limited = {"minutes": arguments.minutes} if arguments.only == "dependence" else {}
        made = TABLES[arguments.only](arguments.runs, **limited)
        known = json.loads(OUT.read_text()) if OUT.exists() else {}
        tables = {**known, arguments.only: made}
        print(markdown(tables[arguments.only]))
    else:
        tables = simulate(2, (5.0,)) if arguments.quick else simulate(arguments.runs, minutes=arguments.minutes)
        for name, rows in tables.items():
            print(f"\n{name}\n\n{markdown(rows)}")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(tables, indent=1))


if __name__ == "__main__":
    main()
