"""What the owner of production saw of the step under way at its last look: for people and records, for no decision.

It stands in the rollout record as JSON and is written with the signs of life, so it stays below ``MOST_BYTES``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from pydantic import ValidationError
from pydantic_core import to_json

from banana_delivery.policy.model import Colour, Model, Phase, RolloutRecord, StoredModel, StoredRecord, TrafficSource
from banana_delivery.policy.rollout import e_values
from banana_delivery.policy.rollout.active import limits, sample
from banana_delivery.policy.rollout.analysis import Finding, StepState
from banana_delivery.policy.rollout.metrics import StepMetrics, TrafficMetrics
from banana_delivery.policy.rollout.plan import TRAFFIC_SOURCES, Limit, Plan, Step, StepKind, all_steps

MOST_BYTES = 2000
"""Of the JSON, whatever happens."""
REASON_BYTES, PAUSED_BYTES = 450, 250
"""Of the words in it, as they stand in the record."""
STEP_PHASES = frozenset({Phase.COMPARING, Phase.SHIFTING, Phase.WATCHING, Phase.DEPLOYING, Phase.SCALING})
"""In others nothing is looked at, and what was seen before is over."""


class Evidence(StoredModel):
    """The strongest of the tests that look for one kind of fault.

    Attributes:
        limit: what they look for.
        source: whose requests the strongest one counted.
        bad: of these, how many broke the limit.
        judged: how many could have.
        log_e: how strong it is.
        needed: how strong it has to be to turn the candidate back.
        shared: whether what serves breaks the same limit, so that nothing is held against the candidate.
    """

    limit: Limit
    source: TrafficSource
    bad: int
    judged: int
    log_e: float
    needed: float
    shared: bool = False

    @property
    def share(self) -> float:
        """How much of what is needed is there: at 1 the candidate is turned back."""
        return max(self.log_e, 0.0) / self.needed


class Seen(StoredModel):
    """What a colour did since the step began, users and probe together.

    Attributes:
        requests: that count.
        failed: of these.
        p95_seconds: 95th percentile of the replicas' own time; None without answers.
    """

    requests: int = 0
    failed: int = 0
    p95_seconds: float | None = None


class LiveStep(StoredRecord):
    """One look at a step under way.

    Attributes:
        at: when, by the owner's clock, seconds since the epoch.
        kind: what the step is for.
        weight: percent of user traffic for the candidate; 0 before the first users.
        number: which of the delivery's steps it is, from 1.
        steps: how many those are.
        seconds: how long it has lasted.
        left: seconds until its ceiling, the second one once the first has passed.
        left_at_most: seconds until it ends whatever happens: a sample that does not come is waited for once more.
        left_after: ceilings of the steps after it, added up; seconds.
        candidate: what the candidate did.
        active: what serves, meanwhile.
        against: the strongest evidence of each kind against the candidate, the strongest first.
        healthy: log of the weakest evidence that a limit is kept.
        healthy_needed: how much of it ends the step early.
        reason: the look in one sentence.
        paused: who keeps the rollout where it is, and why; empty if nobody does.
    """

    at: float
    kind: StepKind
    weight: int
    number: int
    steps: int
    seconds: float
    left: float
    left_at_most: float
    left_after: float
    candidate: Seen
    active: Seen
    against: tuple[Evidence, ...] = ()
    healthy: float = 0.0
    healthy_needed: float
    reason: str
    paused: str = ""

    @property
    def strongest(self) -> Evidence | None:
        """What speaks most against the candidate; None if nothing does."""
        return self.against[0] if self.against else None


class Look(Model):
    """What is known beside the counters when a step is looked at.

    Attributes:
        at: when, seconds since the epoch.
        reason: what the policy says of it.
        weight: percent of user traffic that the candidate has.
        paused: who keeps the rollout where it is, and why; empty if nobody does.
    """

    at: float
    reason: str
    weight: int
    paused: str = ""


def live_step(plan: Plan, state: StepState, metrics: StepMetrics, against: Sequence[Finding], look: Look) -> LiveStep:
    """What people are shown of a step.

    Args:
        plan: the rollout plan.
        state: of the step at this look.
        metrics: its figures.
        against: the tests that point against the candidate.
        look: what is known beside the counters.
    """
    steps, step = all_steps(plan), state.step
    number = steps.index(step) + 1 if step in steps else 1
    return LiveStep(
        at=look.at,
        kind=step.kind,
        weight=look.weight,
        number=number,
        steps=len(steps),
        seconds=_rounded(state.whole_seconds),
        left=_left(step, state, state.ceilings),
        left_at_most=_left(step, state, 2),
        left_after=sum(one.ceiling_seconds for one in steps[number:]),
        candidate=_seen(metrics),
        active=_seen(metrics.active),
        against=_strongest(against),
        healthy=_rounded(_healthy(plan, state)),
        healthy_needed=_rounded(-math.log(plan.healthy_alpha)),
        reason=_cut(look.reason, REASON_BYTES),
        paused=_cut(look.paused, PAUSED_BYTES),
    )


def live_of(record: RolloutRecord) -> LiveStep | None:
    """What the owner of an environment saw last; None if there is no step under way, or nobody wrote it down."""
    if not record.look or record.owner is None or record.phase not in STEP_PHASES:
        return None
    try:
        return LiveStep.read_json(record.look)
    except ValidationError:
        return None


def step_of(plan: Plan, record: RolloutRecord, colour: Colour) -> Step:
    """The last step that a colour began, which may have no users just now: it is tried, or production is waited for.

    Args:
        plan: by which that was.
        record: of the environment, as its owner left it.
        colour: which one.
    """
    steps, live = all_steps(plan), live_of(record)
    if live and live.number <= len(steps):
        return steps[live.number - 1]
    weight = record.weights.get(colour, 0)
    return next((one for one in reversed(steps) if one.weight == weight), steps[-1])


def _left(step: Step, state: StepState, ceilings: int) -> float:
    return _rounded(max(ceilings * step.ceiling_seconds - state.seconds, 0.0))


def _seen(metrics: TrafficMetrics) -> Seen:
    p95 = metrics.p95_seconds
    return Seen(requests=metrics.requests, failed=metrics.failed, p95_seconds=None if p95 is None else round(p95, 4))


def _strongest(against: Sequence[Finding]) -> tuple[Evidence, ...]:
    """Of each limit the finding that is nearest to what it needs; the nearest of all first."""
    best: dict[Limit, Evidence] = {}
    for finding in against:
        one = Evidence(
            limit=finding.limit,
            source=finding.source,
            bad=finding.bad,
            judged=finding.judged,
            log_e=_rounded(finding.log_e),
            needed=_rounded(finding.needed),
            shared=finding.active is not None,
        )
        if finding.limit not in best or one.share > best[finding.limit].share:
            best[finding.limit] = one
    return tuple(sorted(best.values(), key=lambda one: (one.shared, -one.share)))


def _healthy(plan: Plan, state: StepState) -> float:
    """The weakest evidence for health, over the limits, of the source that shows the most; 0 without a request."""
    return max((min(_kept(plan, state, source), default=0.0) for source in TRAFFIC_SOURCES), default=0.0)


def _kept(plan: Plan, state: StepState, source: TrafficSource) -> Iterator[float]:
    seen = state.windows[0].of(source)
    if sample(seen):
        for _, part, share in limits(plan, seen):
            yield max(e_values.log_e_healthy(part.bad, part.judged - part.bad, share), 0.0)


def _cut(words: str, most: int) -> str:
    """As many of the words as fit; the record holds this as JSON within JSON, where a quote is four bytes."""
    words = words[:most]
    while len(to_json(to_json(words).decode())) > most:
        words = words[:-10]
    return words


def _rounded(figure: float) -> float:
    return round(figure, 2)
