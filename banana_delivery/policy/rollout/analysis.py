"""What a step has seen so far, and how strongly it speaks against the candidate or for it.

The state is kept between two looks, turns into JSON, and holds only counts: no test is ever computed incrementally,
except the one of candidate against active, whose likelihood depends on the share observed between the looks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from pydantic import Field

from banana_delivery.policy.model import Colour, Counters, StoredModel, TrafficSnapshot, TrafficSource
from banana_delivery.policy.rollout import e_values
from banana_delivery.policy.rollout.active import (
    NOBODY,
    RECENT_SECONDS,
    Part,
    Poll,
    Trouble,
    added,
    apart_from,
    breaks,
    exceeds,
    is_dark,
    key,
    limits,
    recent_trouble,
    shared_parts,
)
from banana_delivery.policy.rollout.comparison import (
    NOT_COMPARED,
    Paired,
    compare,
    unfinished_compared,
)
from banana_delivery.policy.rollout.counters import NOTHING, Tally, add, counts_of, delta, latest, tally
from banana_delivery.policy.rollout.onset import NO_ONSET, Onset, onsets_after
from banana_delivery.policy.rollout.plan import (
    PAIRED,
    TRAFFIC_SOURCES,
    Limit,
    Plan,
    Step,
    blame_threshold,
    rejection_threshold,
    starts,
    windows,
)
from banana_delivery.policy.rollout.traffic.signs import active_silent_polls, counted, silent_polls
from banana_delivery.policy.rollout.traffic.split import Split
from banana_delivery.policy.rollout.trial.tried import (
    NOTHING_TRIED,
    Tried,
    allowed,
    first_onsets,
    rule_after,
    users_compared_after,
)

MAX_SILENT_POLLS = 3
"""A router has no replica to count the failure of a request on when there is none, so that no test would ever tell."""

EARLY_PASS_VETO = math.log(20)
"""While any test is this far from calm, good overall figures do not end a step early: a fault may just have begun."""


class Window(StoredModel):
    """The counts since a step began.

    Attributes:
        index: 0; earlier versions numbered later starts of the tests.
        tallies: of the candidate, by source.
        active: of the active release meanwhile, by source; without what both suffered together.
        shared: of the candidate's, what the active release suffered with it, by ``active.key``.
    """

    index: int = Field(ge=0)
    tallies: dict[TrafficSource, Tally] = Field(default_factory=dict)
    active: dict[str, Part] = Field(default_factory=dict)
    shared: dict[str, Part] = Field(default_factory=dict)

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
        windows: counts since the step began. Earlier versions kept those since each restart here, too.
        onsets: the tests of a fault that begins late, by ``active.key``.
        starts: how many later starts these have had.
        paired: failures of the probe, compared with those of the active release's; carried from step to step.
        share_evidence: log likelihood ratios of candidate against active, see ``e_values.add_share_evidence``.
        unfinished_evidence: the same for uploads that their clients never finished.
        ceilings: how often the step's ceiling may pass; 2 once the first one found too small a sample.
        silent_polls: how many looks in a row have found no trace of the candidate.
        lately: what was counted in the last seconds, poll by poll.
        active_silent_polls: how many looks in a row have found no trace of the active release; None until the first
            that did find one.
        dark_seconds: for how long, look by look, users asked and none of them was served.
        before_seconds: what of it is not judged by, since it was begun anew.
        tried: what the trials before it have found.
        split: how users are meant to be shared out; None if nobody knows.
    """

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"silent_looks": "silent_polls"}

    step: Step
    started_at: float
    seen: TrafficSnapshot
    totals: dict[str, Counters] = Field(default_factory=dict)
    windows: tuple[Window, ...] = (Window(index=0),)
    onsets: dict[str, Onset] = Field(default_factory=dict)
    starts: int = Field(default=0, ge=0)
    paired: Paired = NOT_COMPARED
    share_evidence: tuple[float, ...] = e_values.NO_SHARE_EVIDENCE
    unfinished_evidence: tuple[float, ...] = e_values.NO_SHARE_EVIDENCE
    ceilings: int = Field(default=1, ge=1, le=2)
    silent_polls: int = Field(default=0, ge=0)
    lately: tuple[Poll, ...] = ()
    active_silent_polls: int | None = None
    dark_seconds: float = 0.0
    before_seconds: float = 0.0
    tried: Tried = NOTHING_TRIED
    split: Split | None = None

    @property
    def whole_seconds(self) -> float:
        """How long the step had lasted at the last look."""
        return max(self.seen.at - self.started_at, 0.0)

    @property
    def seconds(self) -> float:
        """The same, since it was begun anew if it was."""
        return self.lasted(self.seen.at)

    def lasted(self, at: float) -> float:
        """How long it has lasted so at a moment of the last meter's clock."""
        return max(at - self.started_at - self.before_seconds, 0.0)

    def total(self, colour: Colour, source: TrafficSource) -> Counters:
        """What one backend did since the step began."""
        return self.totals.get(f"{colour}/{source}", NOTHING)


@dataclass(frozen=True)
class Finding:
    """One test that points against the candidate.

    Attributes:
        limit: what it looks at.
        source: whose requests.
        window: 0 for the whole step, 1 for a fault that began later in it.
        bad: requests that broke the limit.
        judged: requests that could have broken it.
        log_e: the evidence.
        needed: how much of it turns the candidate back.
        doubt: the same evidence as if its start had not been searched for: too weak to act upon, enough to wait.
        active: what the active release did meanwhile, if it breaks the same limit: then nothing turns back.
        left_out: requests in which both suffered together, which are not among those judged.
        proven: whether this blames the version, rather than only sending its users away.
        allowed: the share that may break the limit, where a trial has made it another than the plan's.
    """

    limit: Limit
    source: TrafficSource
    window: int
    bad: int
    judged: int
    log_e: float
    needed: float
    doubt: float = 0.0
    active: Part | None = None
    left_out: int = 0
    proven: bool = False
    allowed: float | None = None

    @property
    def excess(self) -> float:
        """How far the evidence is beyond what is needed."""
        return self.log_e - self.needed

    def counts(self, plan: Plan) -> bool:
        """Whether the evidence is enough to be acted upon."""
        return self.excess >= 0 and self.bad >= plan.minimum_failures


def begin_step(
    plan: Plan,
    step: Step,
    snapshot: TrafficSnapshot,
    *,
    paired: Paired = NOT_COMPARED,
    tried: Tried = NOTHING_TRIED,
    split: Split | None = None,
) -> StepState:
    """A step that starts now: whatever the counters showed before says nothing about it.

    Args:
        plan: the rollout plan.
        step: which one.
        snapshot: the counters now.
        paired: the comparison with the active release until now; it goes on through a whole delivery.
        tried: what the delivery's trials have found until now.
        split: how users are meant to be shared out; None if nobody knows.

    Raises:
        ValueError: if the plan's latency budget is no edge of the buckets that are counted.
    """
    for counters in snapshot.backends.values():
        tally(counters, plan.latency_budget_seconds)
    return StepState(
        step=step,
        started_at=snapshot.at,
        seen=snapshot,
        onsets=first_onsets(tried),
        paired=paired,
        tried=tried,
        split=split,
    )


def observe(plan: Plan, state: StepState, snapshot: TrafficSnapshot, candidate: Colour) -> StepState:
    """The state after one more look.

    A backend, or the latency of one, that a look does not show stays as it was last seen: what it does meanwhile is
    counted when it shows up again. A snapshot of another meter than the last one's is a new start: nobody knows what
    was counted between the two, nor how much time passed by the clocks of both.
    """
    if snapshot.meter != state.seen.meter:
        state = state.replace(seen=snapshot, started_at=snapshot.at - state.whole_seconds)
    backends = {key: latest(counters, state.seen.backends.get(key)) for key, counters in snapshot.backends.items()}
    news = {key: delta(counters, state.seen.backends.get(key, NOTHING)) for key, counters in backends.items()}
    budget = plan.latency_budget_seconds
    tallies = {source: tally(counts_of(news, candidate, source), budget) for source in TRAFFIC_SOURCES}
    active = {source: tally(counts_of(news, candidate.other, source), budget) for source in TRAFFIC_SOURCES}
    before = state.lately[-1].active if state.lately else {}
    at_once, shared = shared_parts(plan, tallies, active), shared_parts(plan, tallies, active, before)
    failed = key(TrafficSource.USER, Limit.FAILURES)
    compared = users_compared_after(state.share_evidence, news, candidate, state.tried)
    # One failure of both that is counted a poll later on the candidate says nothing of which of them is worse.
    late = failed in shared and failed not in at_once
    apart = apart_from(plan, active, shared)
    whole = state.windows[0]
    grown = Window(
        index=0,
        tallies={source: whole.of(source) + tallies[source] for source in TRAFFIC_SOURCES},
        active=added(whole.active, apart),
        shared=added(whole.shared, shared),
    )
    due = max(state.starts, min(int(state.lasted(snapshot.at) // plan.restart_seconds), starts(plan, state.step) - 1))
    begun, rule = (due - state.starts) / starts(plan, state.step), partial(rule_after, state.tried, state.step.weight)
    heard = {*snapshot.digests, *counted(news)}
    poll = Poll(at=snapshot.at, candidate=tallies, active=active)
    # All of it was judged when it was made; to judge it again at every look would cost more than all tests together.
    return state.model_copy(
        update={
            "silent_polls": silent_polls(state.silent_polls, heard, candidate),
            "lately": (*(one for one in state.lately if one.at > snapshot.at - RECENT_SECONDS), poll),
            "active_silent_polls": active_silent_polls(state.active_silent_polls, heard, candidate.other),
            "dark_seconds": state.dark_seconds + is_dark(tallies, active) * (snapshot.at - state.seen.at),
            "seen": snapshot.model_copy(update={"backends": {**state.seen.backends, **backends}}),
            "totals": {**state.totals, **{key: add(state.totals.get(key, NOTHING), new) for key, new in news.items()}},
            "windows": (grown,),
            "starts": due,
            "onsets": onsets_after(state.onsets, plan, tallies, apart, shared, begun, rule),
            "paired": compare(state.paired, Limit.FAILURES, tallies, active),
            "share_evidence": tuple(map(min, state.share_evidence, compared)) if late else compared,
            "unfinished_evidence": unfinished_compared(state.unfinished_evidence, news, candidate),
        }
    )


def production_trouble(plan: Plan, state: StepState, against: Sequence[Finding]) -> Trouble | None:
    """The limit that the active release breaks just now; None if it keeps them all, or has no users to break it for.

    Args:
        plan: the rollout plan.
        state: the step under way.
        against: what points against the candidate.

    A release that had a trace of life and has none any more answers nobody, though no failure is counted.
    """
    silent = state.active_silent_polls or 0
    if silent >= MAX_SILENT_POLLS and state.step.weight < 100:
        return Trouble(Limit.FAILURES, TrafficSource.USER, Part())
    now = recent_trouble(plan, state.lately)
    if now:
        return now
    for finding in against:
        if finding.active and finding.counts(plan):
            return Trouble(finding.limit, finding.source, finding.active, together=True)
    return None


def findings(plan: Plan, state: StepState, candidate: Colour) -> tuple[Finding, ...]:
    """Every test that points against the candidate, the strongest first; those that the whole step shows before."""
    found = [*_against_limits(plan, state), *_against_active(plan, state, candidate)]
    by_probes = worse_by_probes(plan, state)
    if by_probes:
        found.append(by_probes)
    return tuple(sorted(found, key=lambda finding: (finding.window > 0 or finding.excess < 0, -finding.excess)))


def worse_by_probes(plan: Plan, state: StepState) -> Finding | None:
    """The comparison of both colours' probes, if it points against the candidate."""
    log_e, bad, judged = state.paired.log_e, state.paired.ours.bad, state.paired.ours.judged
    if log_e <= 0:
        return None
    needed = blame_threshold(plan, PAIRED)
    return Finding(Limit.WORSE_THAN_ACTIVE, TrafficSource.PROBE, 0, bad, judged, log_e, needed, log_e, proven=True)


def _against_limits(plan: Plan, state: StepState) -> Iterator[Finding]:
    """The tests of shares. At or below the allowed share the evidence never exceeds 1, so it is not computed."""
    whole = state.windows[0]
    late = windows(plan, state.step) - 1
    for source in TRAFFIC_SOURCES:
        for limit, everything, share in limits(plan, whole.of(source)):
            name, met = key(source, limit), state.tried.of(limit)
            left_out = whole.shared.get(name, NOBODY)
            part = everything - left_out
            # Where a trial found nothing, requests are no independent evidence any more; see ``first_onsets``.
            if met is None and exceeds(part, share):
                # What is left out depends on what was counted, so the evidence is never more than all of it gives.
                log_e = min(_too_many(one, share) for one in {part, everything})
                actives = [whole.active.get(key(each, limit), NOBODY) for each in TRAFFIC_SOURCES]
                found = _finding(plan, state, limit, source, 0, part, log_e, actives, share)
                yield replace(found, left_out=left_out.judged)
            onset = state.onsets.get(name, NO_ONSET)
            if onset.part.judged and (late or met):
                most = allowed(met, share, source, state.step.weight) if met else share
                found = _finding(plan, state, limit, source, late, onset.part, onset.log_e, onset.actives, most)
                yield replace(found, doubt=onset.log_e, allowed=most) if met else found


def _finding(
    plan: Plan,
    state: StepState,
    limit: Limit,
    source: TrafficSource,
    window: int,
    part: Part,
    log_e: float,
    actives: Sequence[Part],
    share: float,
) -> Finding:
    """A test that points against the candidate, and what the active release did meanwhile if that excuses it."""
    excuse = next((one for one in actives if breaks(one, share, part.bad / part.judged)), None)
    needed = rejection_threshold(plan, state.step, limit, window)
    doubt = _too_many(part, share) if window else log_e
    return Finding(limit, source, window, part.bad, part.judged, log_e, needed, doubt, excuse)


def _too_many(part: Part, share: float) -> float:
    return e_values.log_e_too_many_errors(part.bad, part.judged - part.bad, share)


def _against_active(plan: Plan, state: StepState, candidate: Colour) -> Iterator[Finding]:
    bad = state.total(candidate, TrafficSource.USER).failed
    judged = bad + state.total(candidate.other, TrafficSource.USER).failed
    log_e = e_values.log_e_of_share_evidence(state.share_evidence)
    if log_e > 0:
        needed = rejection_threshold(plan, state.step, Limit.WORSE_THAN_ACTIVE, 0)
        yield Finding(Limit.WORSE_THAN_ACTIVE, TrafficSource.USER, 0, bad, judged, log_e, needed, log_e)
