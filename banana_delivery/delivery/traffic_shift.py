"""The loop of a release: poll, let the policy judge, do what it says. Nothing is decided here."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn, TypeVar

from banana_delivery.delivery.evidence.kept import LookBook
from banana_delivery.delivery.evidence.own import OwnMetrics
from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.live.beside import Beside
from banana_delivery.delivery.recovery import shelter
from banana_delivery.errors import DriftError, FencedError, TargetError
from banana_delivery.evaluation.base import Evaluator, Load, Log
from banana_delivery.policy import commands
from banana_delivery.policy.asset_records import ShiftStep
from banana_delivery.policy.drift import detect_drift
from banana_delivery.policy.hindsight.observing import let_go_on, place_of
from banana_delivery.policy.hindsight.would_have import WouldHave
from banana_delivery.policy.model import Colour, Environment, ImageRef, Phase, TrafficSnapshot
from banana_delivery.policy.rollout.analysis import Finding, StepState, begin_step, findings, observe
from banana_delivery.policy.rollout.comparison import NOT_COMPARED, Paired
from banana_delivery.policy.rollout.decision import (
    Action,
    ActionKind,
    StepAssessment,
    around_pause,
    assess_step,
    control_rate,
    may_begin,
    next_action,
    probe_rate,
    stand_back,
)
from banana_delivery.policy.rollout.live import Look, live_step
from banana_delivery.policy.rollout.metrics import EvidenceSeen, StepMetrics, step_metrics
from banana_delivery.policy.rollout.plan import Plan, Step, StepKind
from banana_delivery.policy.rollout.reasons import progress
from banana_delivery.policy.rollout.traffic.split import Split
from banana_delivery.policy.rollout.trial.judge import (
    TRIED,
    Trial,
    against_version,
    assess_trial,
    begin_trial,
    needs_trial,
    trial_rate,
)
from banana_delivery.policy.rollout.trial.resuming import after_trial
from banana_delivery.policy.rollout.trial.tried import NOTHING_TRIED, Tried
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.waiting import retry

POLL_SECONDS = 1.0
ENTRY_SECONDS = 2.0
"""How long production is looked at before a candidate gets the first users: trouble shows in a few requests."""
SAY_SECONDS = 15.0
"""Between two lines about a step that goes on: few enough to read, and a step of minutes does not look hung."""
LAST_LOOKS = 2
"""At what a candidate still answered while its users were sent back."""
OUTAGE_SECONDS = 60.0
"""How long the target may fail to answer before a release gives up; the replicas serve on meanwhile."""

PHASES = {
    StepKind.AB: Phase.COMPARING,
    StepKind.SHIFT: Phase.SHIFTING,
    StepKind.WATCH: Phase.WATCHING,
}

Result = TypeVar("Result")


def probing(evaluator: Evaluator, target: ReleaseTarget, colour: Colour) -> AbstractContextManager[Load]:
    """Our own load on one colour of production, by its internal route and with its proof."""
    where = Environment.PRODUCTION
    return evaluator.probe(target.probe_url(where, colour), target.probe_token(where, colour))


@dataclass
class TrafficShift:
    """Moves user traffic to a candidate colour step by step, and keeps what it saw.

    Attributes:
        target: where releases run.
        lease: our hold on production.
        plan: the rollout plan.
        candidate: the colour that gets traffic.
        image: what must be answering there.
        probe: internal load on the candidate.
        control: internal load on the release that serves, for as long as too few users tell how it does; None before
            the first release.
        overridden: whether a person wants the candidate out whatever production does.
        log: told one line a step.
        sleep: waits so many seconds between two polls.
        now: seconds since the epoch, for people and for the record.
        paused: asks who keeps the rollout where it is, and why; empty if nobody does.
        own: the team's own metrics; None without any.
        looks: keeps what was looked at; None where nobody does.
        observing: whether the policy only observes.
        observed: what it would have done first in the step under way.
        steps: what was seen so far.
        last: how the last step stood when it was decided.
        paired: probes of both colours compared, since the A/B began.
        tried: what the delivery's trials have found, since the A/B began.
    """

    target: ReleaseTarget
    lease: Lease
    plan: Plan
    candidate: Colour
    image: ImageRef
    probe: Load
    log: Log
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    paused: Callable[[], str] = lambda: ""
    control: Load | None = None
    overridden: bool = False
    own: OwnMetrics | None = None
    looks: LookBook | None = None
    observing: bool = False
    observed: WouldHave | None = None
    steps: list[ShiftStep] = field(default_factory=list)
    last: StepState | None = None
    paired: Paired = NOT_COMPARED
    tried: Tried = NOTHING_TRIED

    def run(self, step: Step) -> Action:
        """Give the candidate the step's share and poll every second until the policy knows what to do.

        It begins again after a trial that showed nothing against the candidate, as often as the policy says.

        Raises:
            FencedError: if somebody else took production over.
            DriftError: if somebody changed production by hand.
            TargetError: if the target did not answer for ``OUTAGE_SECONDS``.
        """
        action = self._once(step)
        while action.kind is ActionKind.RESUME:
            self.look_back()
            action = self._once(step)
        return action

    def _once(self, step: Step) -> Action:
        self.observed = None
        hindered = self._wait_for_production(step)
        if hindered:
            return hindered
        began_at = self.now() if self._set_weight(step.weight) else None
        split = None if began_at is None else self._split()
        snapshot = self.retry(lambda: self.target.traffic(Environment.PRODUCTION))
        self.retry(lambda: self.lease.enter(PHASES[step.kind], baseline=snapshot))
        state = begin_step(self.plan, step, snapshot, paired=self.paired, tried=self.tried, split=split)
        asked = self.own.begin() if self.own else ((), {})
        if self.looks:
            self.looks.begin(
                state, self.candidate, self.image.digest, *asked, overridden=self.overridden, first=not self.control
            )
        action, judgement, state = self._poll_until_decided(state)
        self.last, self.paired = state, state.paired
        if action.kind in TRIED and needs_trial(judgement) and self.control is not None:
            action = self._try(state, judgement)
        if self.looks:
            self.looks.end(judgement.verdict, action)
        metrics = judgement.metrics.replace(began_at=began_at, paired=self.paired, tried=self.tried)
        self.steps.append(
            ShiftStep(metrics=metrics, decision=action.kind.value, reason=action.reason, observed=self.observed)
        )
        self.log(f"{step.kind.value} at {step.weight} %: {action.reason} -> {action.kind.value}")
        return action

    def _split(self) -> Split | None:
        """How the target shares users out now; a head count of pods is not what was asked for."""
        observed = self.retry(lambda: self.target.observed(Environment.PRODUCTION))
        share = observed.share(self.candidate)
        return Split(share=share, by_connection=any(observed.shares.values())) if share else None

    def _wait_for_production(self, step: Step) -> Action | None:
        """Before the first users are given away: wait until production keeps its limits; what to do if it never does.

        For at most twice the step's ceiling, as for any sample that does not come.
        """
        record = self.retry(lambda: self.target.record(Environment.PRODUCTION))
        if record.weights.get(self.candidate):
            return None
        if record.active is None:
            while self.paused():
                self.sleep(POLL_SECONDS)
                self.lease.check()
            return None
        state, said = begin_step(self.plan, step, self.retry(self._poll)), ""
        paused = before = ""
        while True:
            self._set_rates(probe_rate(self.plan, state, state.seen, self.candidate), control_rate(state))
            self.sleep(POLL_SECONDS)
            self.lease.check()
            state = observe(self.plan, state, self.retry(self._poll), self.candidate)
            reason = may_begin(self.plan, state, self.candidate, overridden=self.overridden)
            paused, before = self.paused(), paused
            state = around_pause(state, paused=bool(paused), before=bool(before))
            if (not reason or self.observing) and not paused and state.seconds >= ENTRY_SECONDS:
                if reason:
                    self.observed = WouldHave(what="wait", where=f"before {place_of(step)}", reason=reason)
                return None
            shown = reason or "Production is looked at before the first users are given away."
            metrics, against = step_metrics(state, self.candidate), findings(self.plan, state, self.candidate)
            self._show(state, metrics, against, Look(at=self.now(), reason=shown, weight=0, paused=paused))
            if reason and not said:
                self.log(f"Waiting before {step.kind.value} at {step.weight} %: {reason}")
            said = reason
            if reason and not paused and state.seconds >= 2 * step.ceiling_seconds:
                action = stand_back(reason)
                metrics = metrics.replace(weight=0)
                self.steps.append(ShiftStep(metrics=metrics, decision=action.kind.value, reason=reason))
                self.last = None  # It met no users of which more could be counted.
                return action

    def _set_rates(self, probe: float, control: float) -> None:
        self.probe.set_rate(probe)
        if self.control:
            self.control.set_rate(control)

    def look_back(self) -> None:
        """Count what users got in the last step and its trial until they were elsewhere: some fail after the decision.

        For the record alone: nothing is judged, and what cannot be seen now stays as it was.
        """
        for _ in range(LAST_LOOKS):
            if self.last is None:
                return
            try:
                snapshot = self.target.traffic(Environment.PRODUCTION)
            except TargetError:
                return
            self.last = observe(self.plan, self.last, snapshot, self.candidate)
            before = self.steps[-1].metrics
            kept = {"evidence": before.evidence, "began_at": before.began_at, "tried": before.tried, "own": before.own}
            metrics = step_metrics(self.last, self.candidate).replace(**kept, paired=before.paired)
            if metrics.requests == self.steps[-1].metrics.requests:
                return
            self.steps[-1] = self.steps[-1].replace(metrics=metrics)
            self.sleep(POLL_SECONDS)

    def _try(self, state: StepState, failed: StepAssessment) -> Action:
        """Send the users away first; then find out whether the release is to blame.

        While a person keeps the rollout where it is, nobody is given away and nothing is judged.
        """
        self._set_weight(0)
        telling = Beside("telling how a trial goes on")
        line = f"{failed.reason} All users are with {self.candidate.other}; now {self.candidate} is tried."
        telling.do(partial(self.log, line))
        snapshot, seed = self.retry(self._poll), secrets.randbits(64)
        trial = begin_trial(self.plan, state, snapshot, failed, self.candidate, self.image.digest, seed=seed)
        weight, said = 0, 0.0
        while True:
            rate = trial_rate(self.plan, trial)
            self._set_rates(rate, rate)
            self.sleep(POLL_SECONDS)
            self.lease.check()
            snapshot, paused = self.retry(self._poll), self.paused()
            anew = secrets.randbits(64) if paused else None
            action, trial = assess_trial(self.plan, trial, snapshot, self.candidate, anew=anew)
            if action.weight != weight:
                weight = action.weight
                self._set_weight(weight)
            self._show_trial(trial, Look(at=self.now(), reason=action.reason, weight=weight, paused=paused))
            if action.kind is not ActionKind.WAIT:
                action, self.tried = after_trial(trial, action)
                self.paired = trial.state.paired
                return action
            if not 0.0 <= trial.seconds - said < SAY_SECONDS:
                said = trial.seconds
                line = f"{self.candidate} is tried since {said:.0f} s: {action.reason}"
                telling.do(partial(self.log, line))

    def _show_trial(self, trial: Trial, look: Look) -> None:
        self._show(trial.state, step_metrics(trial.state, self.candidate), against_version(self.plan, trial), look)

    def _poll_until_decided(self, state: StepState) -> tuple[Action, StepAssessment, StepState]:
        seen, said, telling = EvidenceSeen(), 0.0, Beside("telling how a step goes on")
        assess = partial(assess_step, overridden=self.overridden, first=self.control is None)
        paused = before = ""
        while True:
            self.lease.check()
            snapshot = self.retry(self._poll)
            judgement, state = assess(self.plan, state, snapshot, self.candidate, self.image.digest)
            if self.own:
                judgement = self.own.assess(judgement, state)
            seen.add(state.whole_seconds, judgement.against)
            paused, before = self.paused(), paused
            if self.looks:
                self.looks.add(snapshot, paused=bool(paused), own=self.own.latest if self.own else {})
            action = next_action(self.plan, state, judgement, paused=bool(paused or before))
            if self.observing:
                action, would = let_go_on(
                    self.plan, state, judgement, action, self.candidate, paused=bool(paused or before)
                )
                self._note(would)
            look = Look(at=self.now(), reason=action.reason, weight=state.step.weight, paused=paused)
            self._show(state, judgement.metrics, judgement.against, look)
            if action.kind is not ActionKind.WAIT:
                return action, judgement.replace(metrics=judgement.metrics.replace(evidence=seen.lines)), state
            if state.whole_seconds - said >= SAY_SECONDS:
                said = state.whole_seconds
                line = progress(state, judgement.reason, judgement.against)
                telling.do(partial(self.log, line))
            state = around_pause(state, paused=bool(paused), before=bool(before))
            self._set_rates(probe_rate(self.plan, state, snapshot, self.candidate), control_rate(state))
            self.sleep(POLL_SECONDS)

    def _note(self, would: WouldHave | None) -> None:
        """What would have ended the step first; that it would have waited before it is less."""
        if would and (self.observed is None or self.observed.what == ActionKind.WAIT):
            self.observed = would
            self.log(f"The policy only observes; it would {would.sentence}.")

    def _show(self, state: StepState, metrics: StepMetrics, against: Sequence[Finding], look: Look) -> None:
        """Let people see this look."""
        self.lease.show(live_step(self.plan, state, metrics, against, look).model_dump_json())

    def _poll(self) -> TrafficSnapshot:
        difference = self._difference()
        if difference:
            # An autoscaler that is just at work looks like a hand edit for a moment.
            self.sleep(POLL_SECONDS)
            difference = self._difference()
        if difference:
            self._freeze(difference)
        return self.target.traffic(Environment.PRODUCTION)

    def _difference(self) -> str:
        record = self.target.record(Environment.PRODUCTION)
        return detect_drift(record, self.target.observed(Environment.PRODUCTION))

    def _freeze(self, difference: str) -> NoReturn:
        """Leave production to a person, after its users were sent away from where nobody answers any more."""
        note = f"{difference}{self._shelter()}"
        self.lease.enter(Phase.DRIFTED, note=note)
        raise DriftError(
            f"Somebody changed production by hand during a release: {note} Nothing more was touched. "
            f"When it is as you want it, type: {commands.resume(Environment.PRODUCTION)}"
        )

    def _shelter(self) -> str:
        """One more sentence if users had to be moved."""
        record = self.target.record(Environment.PRODUCTION)
        try:
            colour = shelter(self.target, self.lease.claim, record, self.target.observed(Environment.PRODUCTION))
        except FencedError:
            raise
        except TargetError as error:
            return f" The users could not be sent to where somebody answers: {error}"
        return f" Nobody answered some of the users, so all of them were sent to {colour}." if colour else ""

    def _set_weight(self, weight: int) -> bool:
        """Set the candidate's percent of users; False before the first release, when there is nobody to share with."""
        record = self.target.record(Environment.PRODUCTION)
        if record.active is None and weight < 100:
            return False
        other = {} if record.active is None else {self.candidate.other: 100 - weight}
        self.retry(lambda: self.target.set_weights(self.lease.claim, {self.candidate: weight, **other}))
        return True

    def retry(self, ask: Callable[[], Result]) -> Result:
        """What the target answers; it may be away for ``OUTAGE_SECONDS`` as long as production is still ours."""
        return retry(ask, OUTAGE_SECONDS, meanwhile=self._say)

    def _say(self, error: TargetError) -> None:
        self.log(f"No answer, trying again: {error}")
        self.lease.check()
