"""The figures of a step, for the record, the report and the person who reads why."""

from __future__ import annotations

from banana_delivery.policy.counting import add, p95
from banana_delivery.policy.evidence import StepState
from banana_delivery.policy.plans import StepKind
from banana_delivery.policy.records import Colour, Counters, Stratum, Value
from banana_delivery.policy.spending import STRATA


class TrafficFigures(Value):
    """What a part of the traffic looked like.

    Attributes:
        requests: requests that count, overloads among them.
        failed: of these, failures of any class.
        overloads: of these, turned away with 503 and Retry-After.
        retries: connections that the router had to try again.
        p95_seconds: 95th percentile of the replicas' own time; None without answers.
    """

    requests: int
    failed: int
    overloads: int
    retries: int
    p95_seconds: float | None


class StepFigures(TrafficFigures):
    """What the candidate did during a step, users and probe together.

    Attributes:
        kind: what the step was for.
        weight: percent of user traffic for the candidate.
        seconds: how long it lasted.
        strata: users and probe apart.
        active: what the other colour did meanwhile.
    """

    kind: StepKind
    weight: int
    seconds: float
    strata: dict[Stratum, TrafficFigures]
    active: TrafficFigures


def step_figures(state: StepState, candidate: Colour) -> StepFigures:
    """The figures of a step so far."""
    whole = traffic_figures(_both(state, candidate))
    return StepFigures(
        requests=whole.requests,
        failed=whole.failed,
        overloads=whole.overloads,
        retries=whole.retries,
        p95_seconds=whole.p95_seconds,
        kind=state.step.kind,
        weight=state.step.weight,
        seconds=state.seconds,
        strata={stratum: traffic_figures(state.total(candidate, stratum)) for stratum in STRATA},
        active=traffic_figures(_both(state, candidate.other)),
    )


def _both(state: StepState, colour: Colour) -> Counters:
    return add(state.total(colour, Stratum.USER), state.total(colour, Stratum.PROBE))


def traffic_figures(counters: Counters) -> TrafficFigures:
    """The figures of some traffic."""
    return TrafficFigures(
        requests=counters.requests,
        failed=counters.failed,
        overloads=counters.overloads,
        retries=counters.retries,
        p95_seconds=p95(counters.latency),
    )
