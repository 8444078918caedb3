"""The rollout policy as a whole: how deliveries of good and bad candidates end, how long a good one takes; a picture.

    .venv/bin/python -m benchmarks.rollout_policy [--runs 200] [--plot docs/images/rollout-policy.png]

Simulated through the code that judges real releases. Prints the last two tables of docs/rollout-policy.md, draws its
plot and writes benchmarks/out/rollout_policy.json. Seeded: the same arguments give the same figures. How soon a fault
is found is what `benchmarks.decisions` tells.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
from typing_extensions import override

from banana_delivery.policies.reading import PLANS
from banana_delivery.policy.model import Colour
from banana_delivery.policy.rollout import e_values
from banana_delivery.policy.rollout.decision import ActionKind
from banana_delivery.policy.simulation.deliveries import deliver
from banana_delivery.policy.simulation.traffic import CANDIDATE, USUAL, Maker, Traffic
from benchmarks.decisions import Row, markdown
from benchmarks.decisions_exact import fewest_failures, too_many_errors

SHARE = PLANS["standard"].error_threshold
"""Of the requests, that may fail."""
USERS = 30.0
"""Requests a second of all users where candidates are compared."""


@dataclass
class Steady(Traffic):
    """The same from the first request to the last.

    Attributes:
        fails: share of the candidate's requests that fail.
        slow_share: share of its answers that are over budget.
        active_fails: share of the active release's requests that fail.
    """

    fails: float = USUAL
    slow_share: float = 0.0
    active_fails: float = USUAL

    @override
    def failing(self, colour: Colour) -> float:
        return self.fails if colour is CANDIDATE else self.active_fails

    @override
    def slow(self, colour: Colour) -> float:
        return self.slow_share if colour is CANDIDATE else 0.0


CANDIDATES: dict[str, Maker] = {
    "fails 0.1 %, as the active does": Steady,
    "fails 3 %, as the active does": partial(Steady, fails=0.03, active_fails=0.03),
    "at both limits (5 % fail, 5 % slow), the active fails 5 %": partial(
        Steady, fails=SHARE, slow_share=SHARE, active_fails=SHARE
    ),
    "fails 3 %, within the limit but 30 times the active": partial(Steady, fails=0.03),
    "fails 10 %": partial(Steady, fails=0.1),
    "fails 20 %": partial(Steady, fails=0.2),
    "20 % slow": partial(Steady, slow_share=0.2),
}
ENDS = {
    "released": {ActionKind.PROMOTE},
    "rolled back": {ActionKind.ROLL_BACK},
    "parked or error": {ActionKind.PARK, ActionKind.STAND_BACK},
}


def endings(runs: int) -> list[Row]:
    """How deliveries of good, bad and borderline candidates end (plan `demo`, 30 users a second)."""
    rows: list[Row] = []
    for number, (name, make) in enumerate(CANDIDATES.items()):
        traffics = (make(np.random.default_rng((number, seed)), USERS) for seed in range(runs))
        kinds = Counter(deliver(PLANS["demo"], traffic).kind for traffic in traffics)
        counts = {end: sum(kinds[kind] for kind in each) for end, each in ENDS.items()}
        rows.append({"candidate": name, "deliveries": runs, **counts})
    return rows


def healthy_deliveries(runs: int) -> list[Row]:
    """How long a good candidate takes from the first look at production to promotion (medians)."""
    rows: list[Row] = []
    for plan in PLANS.values():
        row: Row = {"plan": plan.name}
        for users in (0.0, 5.0, 50.0):
            traffics = [Traffic(np.random.default_rng((int(users), seed)), users) for seed in range(max(runs // 4, 1))]
            row[f"{users:g} users/s"] = f"{np.median([deliver(plan, traffic).seconds for traffic in traffics]):.0f} s"
        rows.append(row)
    return rows


def plot(path: Path) -> None:
    """How many failures turn a candidate back, and how many still show health, against the number of requests."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    requests = np.arange(1, 1001)
    for label, ways, colour in (("alone", 1, "tab:gray"), ("a step's own test (alpha / 18)", 18, "tab:red")):
        fewest = fewest_failures(too_many_errors(SHARE), math.log(ways / 0.01), 1000, 3)
        axes.plot(requests, fewest, color=colour, label=f"roll back, {label}")
    axes.plot(requests, _most_failures(math.log(100), 1000), color="tab:green", label="healthy: the step may end early")
    axes.plot(requests, SHARE * requests, "k:", label="5 % of the requests")
    axes.set(xscale="log", yscale="symlog", xlim=(1, 1000), ylim=(0, 120), xlabel="requests", ylabel="failures")
    axes.set_yticks([0, 1, 2, 3, 5, 10, 20, 50, 100], labels=["0", "1", "2", "3", "5", "10", "20", "50", "100"])
    axes.set_xticks([1, 3, 10, 30, 100, 300, 1000], labels=["1", "3", "10", "30", "100", "300", "1000"])
    axes.legend()
    axes.set_title("Failures that decide a step, by the number of requests")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _most_failures(needed: float, longest: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """For 1, 2, ... requests, the most failures with which they still show health; NaN where none do."""
    most: list[float] = []
    failures = -1
    for requests in range(1, longest + 1):
        while e_values.log_e_healthy(failures + 1, requests - failures - 1, SHARE) >= needed:
            failures += 1
        most.append(failures if failures >= 0 else math.nan)
    return np.array(most)


def main() -> None:
    """Simulate, print, draw, write."""
    parser = argparse.ArgumentParser(description="Simulate the rollout policy.")
    parser.add_argument("--runs", type=int, default=200, help="simulations per figure (default 200)")
    parser.add_argument("--plot", type=Path, default=Path("docs/images/rollout-policy.png"), help="where the plot goes")
    arguments = parser.parse_args()
    parts = (endings, healthy_deliveries)
    tables = {part.__name__: part(arguments.runs) for part in parts}
    for part in parts:
        print(f"\n{(part.__doc__ or '').splitlines()[0]}\n\n{markdown(tables[part.__name__])}")
    out = Path("benchmarks/out/rollout_policy.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(tables, indent=1))
    plot(arguments.plot)


if __name__ == "__main__":
    main()
