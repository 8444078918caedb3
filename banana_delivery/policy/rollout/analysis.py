"""What a step has seen so far, and how strongly it speaks against the candidate or for it.

The state is kept between two looks, turns into JSON, and holds only counts: no test is ever computed incrementally,
except the one of candidate against active, whose likelihood depends on the share observed between the looks.

The figures of a step, for the record, the report and the person who reads why.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from banana_delivery.policy.model import Backend, Colour, Counters, StoredModel, TrafficSnapshot, TrafficSource
from banana_delivery.policy.rollout import e_values
from banana_delivery.policy.rollout.counters import Tally, add, delta, p95, tally
from banana_delivery.policy.rollout.plan import (
    TRAFFIC_SOURCES,
    Limit,
    Plan,
    Step,
    StepKind,
    rejection_threshold,
    windows,
)

EARLY_PASS_VETO = math.log(20)
"""While any test is this far from calm, good overall figures do not end a step early: a fault may just have begun."""


class Window(StoredModel):
    """The counts since one start of the tests.

    Attributes:
        index: 0 for the step's beginning, then 1, 2, ... for each restart.
        tallies: of the candidate, by source.
    """

    index: int = Field(ge=0)
    tallies: dict[TrafficSource, Tally] = Field(default_factory=dict)

    def of(self, source: TrafficSource) -> Tally:
        """The counts of one source; zeros if it sent nothing yet."""
        return self.tallies.get(source, Tally())


class StepState(StoredModel):
    """A step under way.

    Attributes:
        step: which one.
        started_at: seconds by the clock of the meter that was read last.
        seen: the counters at the last look, which the next ones are subtracted from.
        totals: what each backend did since the step began, by ``Backend.key``.
        windows: counts since the step began and since each restart.
        share_evidence: log likelihood ratios of candidate against active, see ``e_values.add_share_evidence``.
        ceilings: how often the step's ceiling may pass; 2 once the first one found too small a sample.
        silent_polls: how many looks in a row have found no trace of the candidate.
    """

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"silent_looks": "silent_polls"}

    step: Step
    started_at: float
    seen: TrafficSnapshot
    totals: dict[str, Counters] = Field(default_factory=dict)
    windows: tuple[Window, ...] = (Window(index=0),)
    share_evidence: tuple[float, ...] = e_values.NO_SHARE_EVIDENCE
    ceilings: int = Field(default=1, ge=1, le=2)
    silent_polls: int = Field(default=0, ge=0)

    @property
    def seconds(self) -> float:
        """How long the step had lasted at the last look."""
        return max(self.seen.at - self.started_at, 0.0)

    def total(self, colour: Colour, source: TrafficSource) -> Counters:
        """What one backend did since the step began."""
        return self.totals.get(Backend(colour=colour, source=source).key, Counters())


@dataclass(frozen=True)
class Finding:
    """One test that points against the candidate.

    Attributes:
        limit: what it looks at.
        source: whose requests.
        window: 0 for the whole step, then the restart it starts from.
        bad: requests that broke the limit.
        judged: requests that could have broken it.
        log_e: the evidence.
        needed: how much of it turns the candidate back.
    """

    limit: Limit
    source: TrafficSource
    window: int
    bad: int
    judged: int
    log_e: float
    needed: float

    @property
    def excess(self) -> float:
        """How far the evidence is beyond what is needed."""
        return self.log_e - self.needed


def begin_step(plan: Plan, step: Step, snapshot: TrafficSnapshot) -> StepState:
    """A step that starts now: whatever the counters showed before says nothing about it.

    Raises:
        ValueError: if the plan's latency budget is no edge of the buckets that are counted.
    """
    for counters in snapshot.backends.values():
        tally(counters, plan.latency_budget_seconds)
    return StepState(step=step, started_at=snapshot.at, seen=snapshot)


def observe(plan: Plan, state: StepState, snapshot: TrafficSnapshot, candidate: Colour) -> StepState:
    """The state after one more look.

    A backend, or the latency of one, that a look does not show stays as it was last seen: what it does meanwhile is
    counted when it shows up again. A snapshot of another meter than the last one's is a new start: nobody knows what
    was counted between the two, nor how much time passed by the clocks of both.
    """
    if snapshot.meter != state.seen.meter:
        state = state.replace(seen=snapshot, started_at=snapshot.at - state.seconds)
    backends = {key: _latest(counters, state.seen.backends.get(key)) for key, counters in snapshot.backends.items()}
    news = {key: delta(counters, state.seen.backends.get(key, Counters())) for key, counters in backends.items()}
    tallies = {source: tally(_of(news, candidate, source), plan.latency_budget_seconds) for source in TRAFFIC_SOURCES}
    grown = tuple(
        Window(index=window.index, tallies={source: window.of(source) + tallies[source] for source in TRAFFIC_SOURCES})
        for window in state.windows
    )
    return state.replace(
        silent_polls=_silent_polls(state, {*snapshot.digests, *_counted(news)}, candidate),
        seen=snapshot.replace(backends={**state.seen.backends, **backends}),
        totals={**state.totals, **{key: add(state.totals.get(key, Counters()), new) for key, new in news.items()}},
        windows=grown + _restart(plan, state, snapshot.at),
        share_evidence=_compared(state.share_evidence, news, candidate),
    )


def _counted(news: Mapping[str, Counters]) -> set[str]:
    """The colours on which requests were counted."""
    return {key.partition("/")[0] for key, counters in news.items() if counters.requests}


def _silent_polls(state: StepState, heard: Collection[str], candidate: Colour) -> int:
    """Polls in a row without a sign of life; one at which nobody gave any tells of the target, not of the candidate."""
    if candidate in heard:
        return 0
    return state.silent_polls + bool(heard)


def findings(plan: Plan, state: StepState, candidate: Colour) -> tuple[Finding, ...]:
    """Every test that points against the candidate, the strongest first (in units of what it needs)."""
    found = [*_against_limits(plan, state), *_against_active(plan, state, candidate)]
    return tuple(sorted(found, key=lambda finding: -finding.excess))


def is_healthy(plan: Plan, seen: Tally) -> bool:
    """Whether one source shows, beyond chance, that the candidate keeps every limit."""
    enough = -math.log(plan.healthy_alpha)
    return all(
        e_values.log_e_healthy(bad, judged - bad, share) >= enough for _, bad, judged, share in _limits(plan, seen)
    )


def sample(seen: Tally) -> int:
    """How many requests of one source can be judged: the ones that were not turned away and whose latency is known."""
    return min(seen.accepted, seen.answered + seen.failed)


def _limits(plan: Plan, seen: Tally) -> tuple[tuple[Limit, int, int, float], ...]:
    """For each limit: requests that broke it, requests that could have, and the share that may."""
    return (
        (Limit.FAILURES, seen.failed, seen.accepted, plan.error_threshold),
        (Limit.SLOW, seen.slow, seen.answered, plan.latency_share),
        (Limit.OVERLOAD, seen.overloads, seen.requests, plan.overload_share),
    )


def _against_limits(plan: Plan, state: StepState) -> Iterator[Finding]:
    """The tests of shares. At or below the allowed share the evidence never exceeds 1, so it is not computed."""
    for window in state.windows:
        for source in TRAFFIC_SOURCES:
            for limit, bad, judged, share in _limits(plan, window.of(source)):
                if bad > share * judged:
                    log_e = e_values.log_e_too_many_errors(bad, judged - bad, share)
                    needed = rejection_threshold(plan, state.step, limit, window.index)
                    yield Finding(limit, source, window.index, bad, judged, log_e, needed)


def _against_active(plan: Plan, state: StepState, candidate: Colour) -> Iterator[Finding]:
    bad = state.total(candidate, TrafficSource.USER).failed
    judged = bad + state.total(candidate.other, TrafficSource.USER).failed
    log_e = e_values.log_e_of_share_evidence(state.share_evidence)
    if log_e > 0:
        needed = rejection_threshold(plan, state.step, Limit.WORSE_THAN_ACTIVE, 0)
        yield Finding(Limit.WORSE_THAN_ACTIVE, TrafficSource.USER, 0, bad, judged, log_e, needed)


def _compared(evidence: tuple[float, ...], news: dict[str, Counters], candidate: Colour) -> tuple[float, ...]:
    ours, theirs = _of(news, candidate, TrafficSource.USER), _of(news, candidate.other, TrafficSource.USER)
    requests = ours.requests + theirs.requests
    if requests == 0:
        return evidence
    return e_values.add_share_evidence(evidence, ours.failed, theirs.failed, ours.requests / requests)


def _restart(plan: Plan, state: StepState, now: float) -> tuple[Window, ...]:
    """A new window if one is due; looks that come late open the latest one only. None beyond the first ceiling."""
    due = int((now - state.started_at) // plan.restart_seconds)
    if state.windows[-1].index < due < windows(plan, state.step):
        return (Window(index=due),)
    return ()


def _latest(newer: Counters, older: Counters | None) -> Counters:
    if older and older.latency and not newer.latency:
        return newer.replace(latency=older.latency)
    return newer


def _of(news: dict[str, Counters], colour: Colour, source: TrafficSource) -> Counters:
    return news.get(Backend(colour=colour, source=source).key, Counters())


class TrafficMetrics(StoredModel):
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


class StepMetrics(TrafficMetrics):
    """What the candidate did during a step, users and probe together.

    Attributes:
        kind: what the step was for.
        weight: percent of user traffic for the candidate.
        seconds: how long it lasted.
        sources: users and probe apart.
        active: what the other colour did meanwhile.
    """

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"strata": "sources"}

    kind: StepKind
    weight: int
    seconds: float
    sources: dict[TrafficSource, TrafficMetrics]
    active: TrafficMetrics


def step_metrics(state: StepState, candidate: Colour) -> StepMetrics:
    """The figures of a step so far."""
    whole = traffic_metrics(_both(state, candidate))
    return StepMetrics(
        requests=whole.requests,
        failed=whole.failed,
        overloads=whole.overloads,
        retries=whole.retries,
        p95_seconds=whole.p95_seconds,
        kind=state.step.kind,
        weight=state.step.weight,
        seconds=state.seconds,
        sources={source: traffic_metrics(state.total(candidate, source)) for source in TRAFFIC_SOURCES},
        active=traffic_metrics(_both(state, candidate.other)),
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
    )
