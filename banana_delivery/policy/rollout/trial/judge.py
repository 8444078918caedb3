"""A trial from its first look to its verdict.

Users are protected by the first evidence, whatever it comes from: their own clients, a moment in which the platform
failed, or the release. Only the last one is held against the version. The probe tells first, since it costs users
nothing: it asks both colours the same in the same seconds. What it does not meet may still be the version's: then a few
seconds with users, drawn by lot, tell whether it comes with the candidate or with those who ask.
"""

from __future__ import annotations

import math

from banana_delivery.policy.model import Colour, StoredModel, TrafficSnapshot, TrafficSource
from banana_delivery.policy.rollout import e_values, reasons
from banana_delivery.policy.rollout.active import BEYOND_CHANCE, NOBODY, Part, exceeds
from banana_delivery.policy.rollout.analysis import (
    MAX_SILENT_POLLS,
    Finding,
    StepState,
    begin_step,
    observe,
    worse_by_probes,
)
from banana_delivery.policy.rollout.comparison import Paired, compare, judged_by
from banana_delivery.policy.rollout.counters import tally
from banana_delivery.policy.rollout.decision import Action, ActionKind, StepAssessment, StepVerdict
from banana_delivery.policy.rollout.e_values import THETAS
from banana_delivery.policy.rollout.plan import CROSSOVER, TRAFFIC_SOURCES, TRIAL, Limit, Plan, blame_threshold
from banana_delivery.policy.rollout.trial.crossover import (
    BLOCKS,
    STEEPNESS,
    Crossover,
    begin_crossover,
    crossover_after,
)
from banana_delivery.policy.rollout.trial.tried import NOTHING_TRIED, Tried, started

TRIAL_RATE = 10.0
"""Probe requests a second to each colour while they alone tell: few beside the users of the active release, and a look
in which some of so many fail says nearly all that a look can. The plan's limit holds here as well."""
CROSSOVER_RATE = 5.0
SHORTEST_SECONDS = 10.0
"""A fault that comes and goes has this long to come again."""
LONGEST_SECONDS = 60.0
CROSSOVER_SECONDS = 480.0
LOADED = {Limit.SLOW, Limit.OVERLOAD}
"""What a release may do under its users' load, and never under the probe's."""

TRIED = {ActionKind.ROLL_BACK, ActionKind.PARK}
"""What a trial may follow: a limit that is broken beyond chance, or by its share when the step's time is over."""


class Trial(StoredModel):
    """A trial under way.

    Attributes:
        limit: what the candidate broke.
        source: whose requests showed it.
        shown: whether that was beyond chance; otherwise their share was over the limit when the step's time was over.
        digest: what is meant to run there.
        why: the sentence with which its users were taken away.
        seed: of the lots of the crossover.
        users_per_second: of both colours, before.
        state: what was counted since the users were taken away; the comparison of the whole release goes on in it.
        paired: the comparison of this trial, by the limit that was broken, with what those before it have gathered.
        crossover: once the probe has not shown it.
        tried: what the trials before it have found.
        users: requests in the step before it that broke the limit, of the candidate's users and the active release's.
        anyway: requests of users in the trial, while the candidate had none of them.
    """

    limit: Limit
    source: TrafficSource
    shown: bool = True
    digest: str
    why: str
    seed: int
    users_per_second: float
    state: StepState
    paired: Paired
    crossover: Crossover | None = None
    tried: Tried = NOTHING_TRIED
    users: tuple[Part, Part] = (NOBODY, NOBODY)
    anyway: Part = NOBODY

    @property
    def seconds(self) -> float:
        """How long the trial has lasted."""
        return self.state.seconds


def needs_trial(judgement: StepAssessment) -> bool:
    """Whether it is still to be found out who is to blame, where a step ends by one of ``TRIED``.

    Not where a stranger or nobody at all answers, and not where the comparison of both colours has shown it already.
    """
    return judgement.limit is not None and not judgement.proven


def begin_trial(
    plan: Plan,
    state: StepState,
    snapshot: TrafficSnapshot,
    failed: StepAssessment,
    candidate: Colour,
    digest: str,
    *,
    seed: int,
) -> Trial:
    """A trial that starts now, after the users were taken away.

    Args:
        plan: the rollout plan.
        state: of the step that failed.
        snapshot: the newest counters.
        failed: why the users were taken away.
        candidate: the colour that they were taken away from.
        digest: of the image that is meant to run there.
        seed: unpredictable to whoever sends requests.

    Raises:
        ValueError: if nothing was broken that could be tried.
    """
    if failed.limit is None:
        raise ValueError("No limit was broken, so there is nothing to try; turn the candidate back.")
    totals = [state.total(colour, TrafficSource.USER) for colour in (candidate, candidate.other)]
    ours, theirs = (judged_by(failed.limit, tally(one, plan.latency_budget_seconds)) for one in totals)
    return Trial(
        limit=failed.limit,
        source=failed.source,
        shown=failed.verdict is StepVerdict.FAIL,
        digest=digest,
        why=failed.reason,
        seed=seed,
        users_per_second=sum(one.requests for one in totals) / max(state.whole_seconds, 1.0),
        state=begin_step(plan, state.step, snapshot, paired=state.paired, tried=state.tried),
        paired=_from_start(state.tried),
        tried=state.tried,
        users=(ours, theirs),
    )


def trial_rate(plan: Plan, trial: Trial) -> float:
    """Probe requests per second to each colour."""
    return min(CROSSOVER_RATE if trial.crossover else TRIAL_RATE, plan.probe_limit)


def assess_trial(
    plan: Plan, trial: Trial, snapshot: TrafficSnapshot, candidate: Colour, *, anew: int | None = None
) -> tuple[Action, Trial]:
    """Judge a trial by the newest counters.

    Args:
        plan: the rollout plan.
        trial: what ``begin_trial`` or the last look returned.
        snapshot: the newest counters.
        candidate: the colour whose users were taken away.
        anew: another seed, if a person keeps the rollout where it is: then nobody is given away and nothing is judged,
            and it begins anew. None if nobody does.

    Returns:
        ``WAIT``, with the candidate's percent of the users, while it goes on. ``ROLL_BACK`` if the version is to blame,
        or none of its probes is answered to tell; ``STAND_BACK`` if the active release suffers from it as well;
        ``PARK`` if nothing shows it again. And the next state.
    """
    if anew is not None:
        state = begin_step(plan, trial.state.step, snapshot, paired=trial.state.paired)
        state = state.replace(tried=trial.tried)
        trial = trial.replace(seed=anew, state=state, paired=_from_start(trial.tried), crossover=None, anyway=NOBODY)
        return _action(trial, ActionKind.WAIT), trial
    trial = _observed(plan, trial, snapshot, candidate)
    reported = snapshot.digests.get(candidate)
    if reported not in (None, trial.digest):
        said = reasons.wrong_release(candidate, str(reported), trial.digest)
        return _action(trial, ActionKind.ROLL_BACK, said).replace(wrong_release=True), trial
    shown = _shown(plan, trial, candidate)
    if shown:
        return _action(trial, ActionKind.ROLL_BACK, shown), trial
    if trial.crossover is None:
        return _by_probes(plan, trial, candidate)
    return _by_users(plan, trial)


def _from_start(tried: Tried) -> Paired:
    """The comparison by probes as a trial begins."""
    return Paired(ratios=started(tried.probes, tried.trials, len(THETAS)))


def against_version(plan: Plan, trial: Trial) -> tuple[Finding, ...]:
    """What speaks for blaming the version, the strongest first: for people."""
    paired, needed = trial.paired, blame_threshold(plan, TRIAL)
    found = [
        Finding(
            trial.limit,
            TrafficSource.PROBE,
            0,
            paired.ours.bad,
            paired.ours.judged,
            paired.log_e,
            needed,
            paired.log_e,
            proven=True,
        )
    ]
    if trial.crossover:
        log_e = trial.crossover.log_e
        needed = blame_threshold(plan, CROSSOVER)
        found.append(Finding(trial.limit, TrafficSource.USER, 0, 0, 0, log_e, needed, log_e, proven=True))
    return tuple(sorted(found, key=lambda finding: -finding.excess))


def _observed(plan: Plan, trial: Trial, snapshot: TrafficSnapshot, candidate: Colour) -> Trial:
    state = observe(plan, trial.state, snapshot, candidate)
    poll = state.lately[-1]
    crossover, anyway = trial.crossover, trial.anyway
    if crossover is None or not crossover.current_weight:
        anyway += judged_by(trial.limit, poll.active[TrafficSource.USER])
    if crossover:
        users = [of[TrafficSource.USER] for of in (poll.candidate, poll.active)]
        bad = sum(judged_by(trial.limit, seen).bad for seen in users)
        crossover = crossover_after(crossover, bad, snapshot.at)
    paired = compare(trial.paired, trial.limit, poll.candidate, poll.active)
    return trial.replace(state=state, paired=paired, crossover=crossover, anyway=anyway)


def _shown(plan: Plan, trial: Trial, candidate: Colour) -> str:
    """Why the version is to blame: one sentence; empty while nothing shows it."""
    if trial.state.silent_polls >= MAX_SILENT_POLLS:
        return reasons.silent(trial.state, candidate)
    paired, again = trial.paired, trial.shown or _breaks_it_again(plan, trial)
    if again and paired.log_e >= blame_threshold(plan, TRIAL) and paired.ours.bad >= plan.minimum_failures:
        return reasons.shown_by_probes(paired, candidate, trial.seconds)
    found = worse_by_probes(plan, trial.state)
    if found and found.counts(plan):
        return reasons.worse_than_active(found, trial.state.paired, candidate)
    if again and trial.crossover and trial.crossover.log_e >= blame_threshold(plan, CROSSOVER):
        return reasons.shown_by_users(trial.crossover.block, candidate)
    return ""


def _breaks_it_again(plan: Plan, trial: Trial) -> bool:
    """Whether the candidate breaks the limit in the trial, beyond chance.

    Where that was not shown before, being worse than what serves is no reason to blame a version that keeps its limits.
    """
    share = _share(plan, trial.limit)
    seen = (judged_by(trial.limit, trial.state.windows[0].of(source)) for source in TRAFFIC_SOURCES)
    return any(
        exceeds(one, share) and e_values.log_e_too_many_errors(one.bad, one.judged - one.bad, share) >= BEYOND_CHANCE
        for one in seen
    )


def _by_probes(plan: Plan, trial: Trial, candidate: Colour) -> tuple[Action, Trial]:
    """What follows from the probe alone, which has not shown it yet."""
    paired, seconds = trial.paired, trial.seconds
    if seconds < SHORTEST_SECONDS:
        return _action(trial, ActionKind.WAIT), trial
    if judged_by(trial.limit, trial.state.windows[0].of(TrafficSource.PROBE)).judged < plan.minimum_failures:
        unanswered = ActionKind.ROLL_BACK if trial.shown else ActionKind.PARK
        return _action(trial, unanswered, reasons.no_probe(seconds)), trial
    if seconds < LONGEST_SECONDS and not _is_calm(plan, paired, trial.limit):
        return _action(trial, ActionKind.WAIT), trial
    if exceeds(paired.theirs, _share(plan, trial.limit)):
        return _action(trial, ActionKind.STAND_BACK, reasons.suffered_by_both(candidate, seconds)), trial
    if trial.source is not TrafficSource.USER:
        compared = paired.ours.judged >= plan.minimum_failures
        said = reasons.not_shown_again(paired, seconds) if compared else reasons.not_compared(candidate, seconds)
        return _action(trial, ActionKind.PARK, said), trial
    crossover = begin_crossover(
        seed=trial.seed,
        users_per_second=trial.users_per_second,
        most_weight=trial.state.step.weight,
        loaded=trial.limit in LOADED,
        now=trial.state.seen.at,
    ).replace(ratios=started(trial.tried.users, trial.tried.crossovers, len(STEEPNESS)))
    trial = trial.replace(crossover=crossover)
    return _action(trial, ActionKind.WAIT), trial


def _by_users(plan: Plan, trial: Trial) -> tuple[Action, Trial]:
    """What follows from the blocks with users, which have not shown it yet."""
    crossover = trial.crossover
    assert crossover is not None
    out_of_reach = crossover.log_e + crossover.groups_left * math.log(BLOCKS) < blame_threshold(plan, CROSSOVER)
    if crossover.is_quiet or out_of_reach or trial.seconds >= LONGEST_SECONDS + CROSSOVER_SECONDS:
        said = reasons.not_shown_by_users(trial.paired, crossover.block, trial.seconds)
        return _action(trial, ActionKind.PARK, said), trial
    return _action(trial, ActionKind.WAIT), trial


def _is_calm(plan: Plan, paired: Paired, limit: Limit) -> bool:
    """Whether the probe shows, beyond chance, that the candidate keeps the limit."""
    ours = paired.ours
    if limit is Limit.WORSE_THAN_ACTIVE:
        return ours.judged >= plan.minimum_sample and ours.bad * paired.theirs.judged <= paired.theirs.bad * ours.judged
    log_e = e_values.log_e_healthy(ours.bad, ours.judged - ours.bad, _share(plan, limit))
    return log_e >= -math.log(plan.healthy_alpha)


def _share(plan: Plan, limit: Limit) -> float:
    shares = {Limit.SLOW: plan.latency_share, Limit.OVERLOAD: plan.overload_share}
    return shares.get(limit, plan.error_threshold)


def _action(trial: Trial, kind: ActionKind, said: str = "") -> Action:
    weight = trial.crossover.current_weight if trial.crossover and kind is ActionKind.WAIT else 0
    return Action(kind=kind, weight=weight, reason=f"{trial.why} {said}".rstrip())
