"""The figures of a step, for the record, the report and the person who reads why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from banana_delivery.policy.model import Colour, Counters, StoredModel, TrafficSnapshot, TrafficSource
from banana_delivery.policy.own_metrics.metric import OwnSeen
from banana_delivery.policy.rollout.analysis import Finding, StepState, begin_step, observe
from banana_delivery.policy.rollout.comparison import NOT_COMPARED, Paired
from banana_delivery.policy.rollout.counters import add, p95
from banana_delivery.policy.rollout.plan import TRAFFIC_SOURCES, Limit, Plan, Step, StepKind
from banana_delivery.policy.rollout.trial.tried import NOTHING_TRIED, Tried


class TrafficMetrics(StoredModel):
    """What a part of the traffic looked like.

    Attributes:
        requests: requests that count, overloads among them.
        failed: of these, failures of any class.
        overloads: of these, turned away with 503 and Retry-After.
        retries: connections that the router had to try again.
        p95_seconds: 95th percentile of the replicas' own time; None without answers.
        unfinished: uploads beside these that their clients broke off before any replica had them whole.
    """

    requests: int
    failed: int
    overloads: int
    retries: int
    p95_seconds: float | None
    unfinished: int = 0


MOST_POINTS = 24
"""Of one line of evidence; a record stays small, and the last point is always there."""


class EvidenceLine(StoredModel):
    """How the evidence of one test against the candidate grew during a step.

    Attributes:
        limit: what it looks at.
        source: whose requests.
        points: seconds since the step began, and the evidence as a share of what turns the candidate back.
    """

    limit: Limit
    source: TrafficSource
    points: tuple[tuple[float, float], ...]


class EvidenceSeen:
    """Gathers the evidence of a step, look by look."""

    def __init__(self) -> None:
        self._lines: dict[tuple[Limit, TrafficSource], list[tuple[float, float]]] = {}

    def add(self, seconds: float, found: Sequence[Finding]) -> None:
        """One more look; of several tests of the same kind the strongest counts."""
        strongest: dict[tuple[Limit, TrafficSource], float] = {}
        for one in found:
            share = max(one.log_e, 0.0) / one.needed if one.needed > 0 else 0.0
            test = one.limit, one.source
            strongest[test] = max(strongest.get(test, 0.0), share)
        for test in {*self._lines, *strongest}:
            self._lines.setdefault(test, []).append((round(seconds, 1), round(strongest.get(test, 0.0), 3)))

    @property
    def lines(self) -> tuple[EvidenceLine, ...]:
        """All of it, the strongest at the end first."""
        lines = [
            EvidenceLine(limit=limit, source=source, points=_thinned(points))
            for (limit, source), points in self._lines.items()
            if any(share for _, share in points)
        ]
        return tuple(sorted(lines, key=lambda line: -line.points[-1][1]))


def _thinned(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """At most ``MOST_POINTS`` of them, the highest of each stretch, and the last."""
    width = math.ceil(len(points) / (MOST_POINTS - 1))
    stretches = [points[start : start + width] for start in range(0, len(points), width)]
    highest = [max(stretch, key=lambda point: point[1]) for stretch in stretches]
    return (*highest[:-1], *dict.fromkeys((highest[-1], points[-1])))


class StepMetrics(TrafficMetrics):
    """What the candidate did during a step, users and probe together.

    Attributes:
        kind: what the step was for.
        weight: percent of user traffic for the candidate.
        seconds: how long it lasted.
        sources: users and probe apart.
        active: what the other colour did meanwhile, users and probe together.
        active_users: of that, what users asked; None in records of earlier versions.
        dark_seconds: for how long users asked and none of them was served; None likewise.
        began_at: when the candidate was given its share of the users, seconds since the epoch; None if it was not, and
            in records of earlier versions.
        evidence: how what speaks against the candidate grew; none in what earlier versions recorded.
        paired: probes of both colours compared, since the A/B began.
        tried: what the delivery's trials have found until then.
        own: the team's own metrics.
    """

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"strata": "sources"}

    kind: StepKind
    weight: int
    seconds: float
    sources: dict[TrafficSource, TrafficMetrics]
    active: TrafficMetrics
    active_users: TrafficMetrics | None = None
    dark_seconds: float | None = None
    began_at: float | None = None
    evidence: tuple[EvidenceLine, ...] = ()
    paired: Paired = NOT_COMPARED
    tried: Tried = NOTHING_TRIED
    own: tuple[OwnSeen, ...] = ()


def step_metrics(state: StepState, candidate: Colour) -> StepMetrics:
    """The figures of a step so far."""
    whole = traffic_metrics(_both(state, candidate))
    return StepMetrics(
        requests=whole.requests,
        failed=whole.failed,
        overloads=whole.overloads,
        retries=whole.retries,
        p95_seconds=whole.p95_seconds,
        unfinished=whole.unfinished,
        kind=state.step.kind,
        weight=state.step.weight,
        seconds=state.whole_seconds,
        sources={source: traffic_metrics(state.total(candidate, source)) for source in TRAFFIC_SOURCES},
        active=traffic_metrics(_both(state, candidate.other)),
        active_users=traffic_metrics(state.total(candidate.other, TrafficSource.USER)),
        dark_seconds=state.dark_seconds,
        paired=state.paired,
        tried=state.tried,
    )


def metrics_since(
    plan: Plan, baseline: TrafficSnapshot, snapshot: TrafficSnapshot, colour: Colour, step: Step
) -> StepMetrics:
    """The figures of a colour since its last step began, for whoever ends it without having followed it.

    Args:
        plan: the rollout plan.
        baseline: the counters when that step began.
        snapshot: the counters now.
        colour: which one.
        step: which that was.

    Raises:
        ValueError: as ``begin_step``.
    """
    return step_metrics(observe(plan, begin_step(plan, step, baseline), snapshot, colour), colour)


def _both(state: StepState, colour: Colour) -> Counters:
    return add(state.total(colour, TrafficSource.USER), state.total(colour, TrafficSource.PROBE))


def traffic_metrics(counters: Counters) -> TrafficMetrics:
    """The figures of some traffic."""
    return TrafficMetrics(
        requests=counters.requests,
        failed=counters.failed,
        overloads=counters.overloads,
        retries=counters.retries,
        p95_seconds=p95(counters.latency),
        unfinished=counters.unfinished,
    )
