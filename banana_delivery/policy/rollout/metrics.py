"""The figures of a step, for the record, the report and the person who reads why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from banana_delivery.policy.model import Colour, Counters, StoredModel, TrafficSource
from banana_delivery.policy.rollout.analysis import StepState
from banana_delivery.policy.rollout.comparison import NOT_COMPARED, Paired
from banana_delivery.policy.rollout.counters import add, p95
from banana_delivery.policy.rollout.plan import TRAFFIC_SOURCES, StepKind


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


class StepMetrics(TrafficMetrics):
    """What the candidate did during a step, users and probe together.

    Attributes:
        kind: what the step was for.
        weight: percent of user traffic for the candidate.
        seconds: how long it lasted.
        sources: users and probe apart.
        active: what the other colour did meanwhile.
        paired: probes of both compared, since the A/B began.
    """

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"strata": "sources"}

    kind: StepKind
    weight: int
    seconds: float
    sources: dict[TrafficSource, TrafficMetrics]
    active: TrafficMetrics
    paired: Paired = NOT_COMPARED


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
        seconds=state.seconds,
        sources={source: traffic_metrics(state.total(candidate, source)) for source in TRAFFIC_SOURCES},
        active=traffic_metrics(_both(state, candidate.other)),
        paired=state.paired,
    )


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
