"""Operating characteristics of the rollout policy, simulated through the code that judges real releases.

    .venv/bin/python -m benchmarks.rollout_policy [--runs 200] [--plot docs/images/rollout-policy.png]

Prints the tables of docs/rollout-policy.md, draws its plot and writes benchmarks/out/rollout_policy.json. Seeded: the
same arguments give the same figures. 200 runs take about three minutes on a free core.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
import numpy as np

from banana_delivery.policies.reading import PLANS
from banana_delivery.policy.model import Colour, Counters, TrafficSnapshot
from banana_delivery.policy.rollout import e_values
from banana_delivery.policy.rollout.analysis import begin_step
from banana_delivery.policy.rollout.counters import add
from banana_delivery.policy.rollout.decision import (
    ActionKind,
    StepAssessment,
    StepVerdict,
    assess_step,
    next_action,
    probe_rate,
)
from banana_delivery.policy.rollout.plan import Plan, Step, all_steps, release_steps

DIGEST = f"sha256:{'0' * 64}"
CANDIDATE = Colour.GREEN
RATES = (1.0, 0.5, 0.2, 0.1)
HEALTHY_FAILURES = 0.001
"""A good candidate fails one in a thousand requests, and so does the active release."""

Table = list[dict[str, object]]


@dataclass(frozen=True)
class Fault:
    """What is wrong with the candidate.

    Attributes:
        failing: share of its requests that fail.
        onset: from which second on; before that it is as good as the active release.
        slow: share of its answers that are over budget.
        active_failing: share of the active release's requests that fail.
    """

    failing: float = HEALTHY_FAILURES
    onset: float = 0.0
    slow: float = 0.0
    active_failing: float = HEALTHY_FAILURES

    def failing_at(self, now: float) -> float:
        """The share of requests that fail at that second."""
        return self.failing if now > self.onset else HEALTHY_FAILURES


@dataclass
class PipelineHarness:
    """Users and a probe that send requests to two colours, second by second.

    Attributes:
        rng: where chance comes from.
        users: requests per second of all users.
        fault: what is wrong with the candidate.
        now: seconds since the delivery began.
        hurt: user requests that failed on the candidate.
        backends: cumulative counters.
    """

    rng: np.random.Generator
    users: float
    fault: Fault
    now: float = 0.0
    hurt: int = 0
    backends: dict[str, Counters] = field(default_factory=dict)

    def second(self, weight: int, probe_rate: float) -> None:
        """Let one second pass."""
        self.now += 1
        users = self.rng.poisson(self.users)
        ours = self.rng.binomial(users, weight / 100)
        failing = self.fault.failing_at(self.now)
        self.hurt += self._serve("green/user", ours, failing, self.fault.slow)
        self._serve("green/probe", self.rng.poisson(probe_rate), failing, self.fault.slow)
        self._serve("blue/user", users - ours, self.fault.active_failing, 0.0)

    def snapshot(self) -> TrafficSnapshot:
        """What the router shows now."""
        return TrafficSnapshot(at=self.now, backends=dict(self.backends), digests={CANDIDATE: DIGEST})

    def _serve(self, backend: str, requests: int, failing: float, slow: float) -> int:
        failed, late = int(self.rng.binomial(requests, failing)), int(self.rng.binomial(requests, slow))
        quick = int(requests) - late
        more = Counters(
            requests=int(requests),
            failures={"5xx": failed},
            latency={"0.1": quick, "1.0": quick, "+Inf": int(requests)},
        )
        self.backends[backend] = add(self.backends.get(backend, Counters()), more)
        return failed


def play(plan: Plan, step: Step, world: PipelineHarness) -> StepAssessment:
    """One step, as the delivery loop runs it."""
    state = begin_step(plan, step, world.snapshot())
    while True:
        world.second(step.weight, probe_rate(plan, state, world.snapshot(), CANDIDATE))
        judgement, state = assess_step(plan, state, world.snapshot(), CANDIDATE, DIGEST)
        if next_action(plan, state, judgement).kind is not ActionKind.WAIT:
            return judgement


def deliver(plan: Plan, world: PipelineHarness) -> StepAssessment:
    """A whole delivery: every step until one does not pass."""
    for step in all_steps(plan):
        judgement = play(plan, step, world)
        if judgement.verdict is not StepVerdict.PASS:
            break
    return judgement


def requests_until_rollback(runs: int) -> Table:
    """How many requests one test with an eighteenth of alpha needs, looked at after every request."""
    fewest = _fewest_failures(math.log(18 / 0.01), 4000)
    rng = np.random.default_rng(1)
    rows: Table = []
    for rate in RATES:
        reached = np.cumsum(rng.random((10 * runs, len(fewest))) < rate, axis=1) >= fewest
        times = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, len(fewest))
        rows.append({"errors": f"{rate:.0%}", "median": int(np.median(times)), "90 %": int(np.quantile(times, 0.9))})
    return rows


def seconds_until_rollback(runs: int) -> Table:
    """How long users meet a fault that starts at the beginning of the watch, or late in it."""
    plan = PLANS["standard"]
    rows: Table = []
    for users in (5, 50):
        for rate in RATES:
            for onset in (0, 59, 115):
                fault = Fault(rate, onset)
                found = [
                    _watch(plan, PipelineHarness(np.random.default_rng(seed), users, fault))
                    for seed in range(runs // 5)
                ]
                seconds, hurt = (np.array(metrics, float) for metrics in zip(*found, strict=True))
                rows.append(
                    {
                        "users/s": users,
                        "errors": f"{rate:.0%}",
                        "starts after": f"{onset} s",
                        "median": _seconds(seconds, 0.5),
                        "90 %": _seconds(seconds, 0.9),
                        "failed user requests (median)": int(np.median(hurt)),
                    }
                )
    return rows


def verdicts(runs: int) -> Table:
    """How deliveries of good, bad and borderline candidates end (plan `demo`, 30 users a second)."""
    plan = PLANS["demo"]
    kinds = {
        "fails 0.1 %": Fault(),
        "at both limits (5 % fail, 5 % slow), the active fails 5 %": Fault(0.05, slow=0.05, active_failing=0.05),
        "fails 3 %, within the limit but 30 times the active": Fault(0.03),
        "fails 10 %": Fault(0.10),
        "fails 20 %": Fault(0.20),
        "20 % slow": Fault(slow=0.20),
    }
    rows: Table = []
    for name, fault in kinds.items():
        ends = [deliver(plan, PipelineHarness(np.random.default_rng(seed), 30, fault)) for seed in range(4 * runs)]
        row: dict[str, object] = {"candidate": name, "deliveries": len(ends)}
        for verdict in (StepVerdict.PASS, StepVerdict.FAIL, StepVerdict.INCONCLUSIVE):
            row[verdict.value] = sum(end.verdict is verdict for end in ends)
        rows.append(row)
    return rows


def healthy_deliveries(runs: int) -> Table:
    """How long a good candidate takes from the first A/B request to promotion."""
    rows: Table = []
    for plan in PLANS.values():
        row: dict[str, object] = {"plan": plan.name}
        for users in (0, 5, 50):
            worlds = [PipelineHarness(np.random.default_rng(seed), users, Fault()) for seed in range(runs // 20)]
            for world in worlds:
                deliver(plan, world)
            row[f"{users} users/s"] = f"{np.median([world.now for world in worlds]):.0f} s"
        rows.append(row)
    return rows


def _watch(plan: Plan, world: PipelineHarness) -> tuple[float, int]:
    """Seconds from the fault to the rollback (infinite without one), and the user requests that failed until then."""
    watch = release_steps(plan)[-1].replace(minimum_seconds=plan.watch_seconds)
    judgement = play(plan, watch, world)
    found = judgement.verdict is StepVerdict.FAIL
    return (world.now - world.fault.onset if found else math.inf), world.hurt


def _seconds(times: np.ndarray[tuple[int], np.dtype[np.float64]], quantile: float) -> str:
    seconds = np.quantile(times, quantile, method="inverted_cdf")
    return "not before the watch ends" if math.isinf(seconds) else f"{seconds:.0f} s"


def _fewest_failures(needed: float, longest: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """For 1, 2, ... requests, the fewest failures that reach the evidence."""
    fewest, failures = [], 0
    for requests in range(1, longest + 1):
        while failures <= requests and (e_values.log_e_too_many_errors(failures, requests - failures, 0.05) < needed):
            failures += 1
        fewest.append(max(failures, 3))
    return np.array(fewest)


def markdown(rows: Table) -> str:
    """A table with one line a row."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return "\n".join(lines + ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows])


def plot(path: Path) -> None:
    """How many failures turn a candidate back, and how many still show health, against the number of requests."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    requests = np.arange(1, 1001)
    for label, ways, colour in (("alone", 1, "tab:gray"), ("a step's own test (alpha / 18)", 18, "tab:red")):
        axes.plot(requests, _fewest_failures(math.log(ways / 0.01), 1000), color=colour, label=f"roll back, {label}")
    axes.plot(requests, _most_failures(math.log(100), 1000), color="tab:green", label="healthy: the step may end early")
    axes.plot(requests, 0.05 * requests, "k:", label="5 % of the requests")
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
        while e_values.log_e_healthy(failures + 1, requests - failures - 1, 0.05) >= needed:
            failures += 1
        most.append(failures if failures >= 0 else math.nan)
    return np.array(most)


def main() -> None:
    """Simulate, print, draw, write."""
    parser = argparse.ArgumentParser(description="Simulate the rollout policy.")
    parser.add_argument("--runs", type=int, default=200, help="simulations per figure (default 200)")
    parser.add_argument("--plot", type=Path, default=Path("docs/images/rollout-policy.png"), help="where the plot goes")
    arguments = parser.parse_args()
    parts = (requests_until_rollback, seconds_until_rollback, verdicts, healthy_deliveries)
    tables = {part.__name__: part(arguments.runs) for part in parts}
    for part in parts:
        print(f"\n{(part.__doc__ or '').splitlines()[0]}\n\n{markdown(tables[part.__name__])}")
    out = Path("benchmarks/out/rollout_policy.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(tables, indent=1))
    plot(arguments.plot)


if __name__ == "__main__":
    main()
