"""A past delivery judged again, look by look, by another policy: the functions that decide are those of a delivery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from banana_delivery.policy.hindsight.looks import KeptStep, Own
from banana_delivery.policy.hindsight.observing import place_of
from banana_delivery.policy.model import Colour, Model, TrafficSource
from banana_delivery.policy.own_metrics.joining import joined
from banana_delivery.policy.own_metrics.judging import (
    MetricState,
    begun,
    begun_anew,
    is_judged,
    judged,
    measured,
    plan_beside,
    threshold,
)
from banana_delivery.policy.own_metrics.metric import UNKNOWN, OwnMetric
from banana_delivery.policy.rollout.analysis import StepState, begin_step
from banana_delivery.policy.rollout.counters import tally
from banana_delivery.policy.rollout.decision import ActionKind, StepAssessment, StepVerdict, around_pause, assess_step
from banana_delivery.policy.rollout.plan import Plan, Step, StepKind, all_steps


class Ended(StrEnum):
    """How a delivery ended with its users, or would have."""

    WENT_ON = "went on"
    TURNED_BACK = "turned back"
    PARKED = "parked"
    ERROR = "error"
    UNKNOWN = "not known"
    """It would have gone on, where what came next was not recorded."""


ENDS = {
    StepVerdict.FAIL: Ended.TURNED_BACK,
    StepVerdict.INCONCLUSIVE: Ended.PARKED,
    StepVerdict.TROUBLED: Ended.ERROR,
}
GOES_ON = {ActionKind.SET_WEIGHT.value, ActionKind.PROMOTE.value, ActionKind.RESUME.value}


class Course(Model):
    """How a delivery went, or would have gone.

    Attributes:
        ended: how.
        where: in which step.
        seconds: of its steps until then, added up.
        bad: requests of users that the candidate had failed, turned away or answered too late until then, by the limits
            of the policy that it is judged by.
        reason: why, in one sentence.
    """

    ended: Ended
    where: str
    seconds: float
    bad: int
    reason: str = ""


class Replay(Model):
    """A past delivery by another policy.

    Attributes:
        recorded: how it went.
        replayed: how it would have gone.
        notes: what of that policy could not be judged by what was recorded, one sentence each.
    """

    recorded: Course
    replayed: Course
    notes: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether it would have ended otherwise, or more than a look earlier or later."""
        one, other = self.recorded, self.replayed
        same = (one.ended, one.where) == (other.ended, other.where)
        return not same or (one.ended is not Ended.WENT_ON and abs(one.seconds - other.seconds) > 1.0)

    @property
    def cut_short(self) -> Replay:
        """The same of a delivery that something else than the evidence ended, in a step that nobody kept."""
        if self.recorded.ended is not Ended.WENT_ON:
            return self
        unknown = self.recorded.replace(ended=Ended.UNKNOWN)
        return self.replace(recorded=unknown, replayed=self.replayed if self.differs else unknown)


@dataclass
class _Replaying:
    """The policy, and what came out so far.

    Attributes:
        plan: with all of alpha.
        metrics: of the policy.
        notes: as in ``Replay``.
        seconds: of the steps that are over.
        bad: in these.
        replayed: how it would have ended; None while it goes on.
    """

    plan: Plan
    metrics: tuple[OwnMetric, ...]
    notes: dict[str, None] = field(default_factory=dict)
    seconds: float = 0.0
    bad: int = 0
    replayed: Course | None = None

    def note(self, sentence: str) -> None:
        """Say something once."""
        self.notes[sentence] = None


def replay(plan: Plan, metrics: tuple[OwnMetric, ...], steps: Sequence[KeptStep]) -> Replay:
    """Judge a delivery again.

    Args:
        plan: of the policy.
        metrics: of the policy.
        steps: as they were kept, at least one.

    Raises:
        ValueError: if the plan's latency budget is no edge of the buckets that were counted.
    """
    under = _Replaying(plan, metrics)
    _note_missing_metrics(under, steps)
    for kept in steps:
        _step(under, kept)
    last = steps[-1]
    recorded = Course(ended=_recorded(last), where=place_of(last.header.step), seconds=under.seconds, bad=under.bad)
    return Replay(recorded=recorded, replayed=under.replayed or recorded, notes=tuple(under.notes))


def _recorded(kept: KeptStep) -> Ended:
    """How the last step ended: where a trial followed, the users had been sent back by then."""
    if kept.end is None or kept.end.action == ActionKind.RESUME.value:
        return Ended.UNKNOWN  # A step that was to begin again never did: production was waited for, or somebody came.
    if kept.end.action in GOES_ON:
        return Ended.WENT_ON
    if kept.end.verdict is StepVerdict.INCONCLUSIVE and kept.end.action != ActionKind.PARK.value:
        return Ended.TURNED_BACK  # Nothing was beyond chance when the step's time was over, and a trial followed.
    return ENDS.get(kept.end.verdict, Ended.UNKNOWN)


def _step(under: _Replaying, kept: KeptStep) -> None:
    """Judge one step again, and count what it takes in any case."""
    header = kept.header
    step = _step_of(under, header.step)
    plan = plan_beside(under.plan, under.metrics)
    state = begin_step(plan, step, header.snapshot, paired=header.paired, tried=header.tried, split=header.split)
    own, before, said = _Own(under, kept), False, None
    for look, snapshot in kept.snapshots():
        counted, state = assess_step(
            plan,
            state,
            snapshot,
            header.candidate,
            header.digest,
            overridden=header.overridden,
            first=header.first,
        )
        if said is None:
            found = own.assess(counted, state, look.own)
            waits = (look.paused or before) and found.verdict is not StepVerdict.FAIL
            if found.verdict is not StepVerdict.CONTINUE and not waits:
                said = found
                _end(under, kept, state, found)
            state = around_pause(state, paused=look.paused, before=before)
        before = look.paused
    if under.replayed is None:
        _note_end(under, kept, state, said)
    under.seconds += state.whole_seconds
    under.bad += _bad(plan, state, header.candidate)


def _end(under: _Replaying, kept: KeptStep, state: StepState, found: StepAssessment) -> None:
    """The first of the steps that does not pass ends the delivery, unless a trial then showed nothing."""
    resumed = kept.end is not None and kept.end.action == ActionKind.RESUME.value
    tried = found.limit is not None and found.verdict is StepVerdict.INCONCLUSIVE
    if resumed and (tried or found.verdict is StepVerdict.FAIL):
        under.note(
            f"In {place_of(state.step)} a trial showed nothing against the candidate, and the step began again; here, "
            "too, it is taken to show nothing."
        )
        return
    candidate = kept.header.candidate
    if under.replayed is None and found.verdict in ENDS:
        under.replayed = Course(
            ended=Ended.TURNED_BACK if tried else ENDS[found.verdict],
            where=place_of(state.step),
            seconds=under.seconds + state.whole_seconds,
            bad=under.bad + _bad(under.plan, state, candidate),
            reason=found.reason,
        )


def _note_end(under: _Replaying, kept: KeptStep, state: StepState, said: StepAssessment | None) -> None:
    """What is not known where a step would have lasted longer than it did."""
    over = kept.end is not None and kept.end.action in GOES_ON
    where = place_of(kept.header.step)
    if over and said is None:
        under.note(f"It would have stayed longer in {where}; what would have come there is not known.")
    elif not over:
        under.replayed = Course(
            ended=Ended.UNKNOWN,
            where=where,
            seconds=under.seconds + state.whole_seconds,
            bad=under.bad + _bad(under.plan, state, kept.header.candidate),
            reason="It would not have ended there, and what would have come next was not recorded.",
        )
    if kept.end and kept.end.cut:
        under.note(f"Of {where} only the first {len(kept.looks):,} looks were kept.")


def _step_of(under: _Replaying, recorded: Step) -> Step:
    """The step of the policy that a recorded one stands for: its own, or one of its kind at the recorded weight."""
    steps = all_steps(under.plan)
    for step in steps:
        if (step.kind, step.weight) == (recorded.kind, recorded.weight):
            return step
    weights = ", ".join(str(step.weight) for step in steps if step.kind is recorded.kind)
    said = {StepKind.AB: "the A/B", StepKind.SHIFT: "the shift", StepKind.WATCH: "the watch"}[recorded.kind]
    under.note(
        f"With this policy users get {weights} % in {said}; recorded is {recorded.weight} %, by which it was judged."
    )
    like = next(step for step in steps if step.kind is recorded.kind)
    return like.replace(weight=recorded.weight)


def _bad(plan: Plan, state: StepState, candidate: Colour) -> int:
    users = tally(state.total(candidate, TrafficSource.USER), plan.latency_budget_seconds)
    return users.failed + users.overloads + users.slow


def _note_missing_metrics(under: _Replaying, steps: Sequence[KeptStep]) -> None:
    asked = {_question(metric) for kept in steps for metric in kept.header.metrics}
    for metric in under.metrics:
        if _question(metric) not in asked:
            under.note(f"The metric {metric.name} was not asked for then, so nothing is judged by it.")


def _question(metric: OwnMetric) -> tuple[str, ...]:
    """What was asked, whatever it is called and however it is judged."""
    return (metric.provider, metric.address, metric.query, metric.total, metric.value, metric.time)


class _Own:
    """The team's metrics of the policy within one step, by what was answered then."""

    def __init__(self, under: _Replaying, kept: KeptStep) -> None:
        called = {_question(metric): metric.name for metric in kept.header.metrics}
        self._under, self._first, self._usual = under, kept.header.first, kept.header.usual
        self._asked = [(metric, called[_question(metric)]) for metric in under.metrics if _question(metric) in called]
        self._states: dict[str, MetricState] = {}  # By the policy's own names: two of it may ask the same.

    def assess(self, judgement: StepAssessment, state: StepState, own: Own) -> StepAssessment:
        """The assessment with what these say."""
        verdicts = []
        for metric, name in self._asked:
            if not is_judged(metric, state.step, first=self._first):
                continue
            before = self._states.get(metric.name) or begun(state.step, self._usual.get(name, UNKNOWN))
            if before.since != state.before_seconds:
                before = self._states[metric.name] = begun_anew(before, state.before_seconds)
            if name in own:
                ours, theirs = own[name]
                before = measured(metric, state.step, before, state.whole_seconds, ours, theirs)
                self._states[metric.name] = before
            needed = threshold(self._under.plan, self._under.metrics)
            verdicts.append(judged(metric, before, state.whole_seconds, needed, state.step.ceiling_seconds))
        return joined(judgement, state, verdicts)
