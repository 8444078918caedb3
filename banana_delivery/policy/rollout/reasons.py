"""Why a step was judged as it was: one sentence with the numbers, for the person who reads it at night."""

from __future__ import annotations

from collections.abc import Sequence

from banana_delivery.policy.model import Colour, TrafficSource
from banana_delivery.policy.rollout.active import RECENT_SECONDS, Trouble, sample
from banana_delivery.policy.rollout.analysis import Finding, StepState
from banana_delivery.policy.rollout.comparison import Paired
from banana_delivery.policy.rollout.plan import TRAFFIC_SOURCES, Limit, Plan
from banana_delivery.policy.rollout.traffic.estimates import Excess
from banana_delivery.policy.rollout.traffic.split import Mismatch


def turned_back(plan: Plan, state: StepState, candidate: Colour, finding: Finding) -> str:
    """The candidate broke a limit."""
    if finding.proven:
        return worse_than_active(finding, state.paired, candidate)
    evidence = f"(log E {finding.log_e:.1f} >= {finding.needed:.1f})"
    if finding.limit is Limit.WORSE_THAN_ACTIVE:
        return (
            f"{candidate.capitalize()} caused {finding.bad} of {finding.judged} failed {finding.source} requests with "
            f"{_share(state, candidate)} of the traffic {evidence}: it fails more often than {candidate.other}."
        )
    deed, allowed = _deed(plan, finding.limit)
    allowed = finding.allowed or allowed
    latest = "its latest " if finding.window else ""
    beside = " beside what users meet anyway" if finding.allowed and finding.source is TrafficSource.USER else ""
    apart = f", {finding.left_out} left out that {candidate.other} broke it with" if finding.left_out else ""
    return (
        f"{candidate.capitalize()} {deed} {finding.bad} of {latest}{finding.judged} {finding.source} requests at "
        f"{state.step.weight} %{apart} {evidence}: more than the {_percent(allowed)} allowed{beside}."
    )


def progress(state: StepState, said: str, against: Sequence[Finding]) -> str:
    """How a step stands that goes on, for whoever watches its log: weight, time, requests, and what speaks against it.

    Args:
        state: the step under way.
        said: what its last look said.
        against: what points against the candidate, the strongest first.
    """
    step = state.step
    strongest = next((one for one in against if one.log_e > 0), None)
    evidence = (
        f"strongest evidence against it: {strongest.limit.replace('_', ' ')} of {strongest.source} requests, log E "
        f"{strongest.log_e:.1f} of {strongest.needed:.1f}"
        if strongest
        else "nothing speaks against it"
    )
    return f"{step.kind.value} at {step.weight} % since {state.seconds:.0f} s: {said.rstrip('.')}; {evidence}."


def healthy(state: StepState, candidate: Colour) -> str:
    """The candidate kept every limit, beyond chance."""
    return f"{_counts(state, candidate)}: healthy, so the step ended early.{_trials(state)}"


def no_evidence(plan: Plan, state: StepState, candidate: Colour, over: Excess | None) -> str:
    """The ceiling came, the sample is there, and nothing speaks against the candidate, or nothing beyond chance."""
    said = f"{_counts(state, candidate)}: no evidence against it when the step's time was over.{_trials(state)}"
    if over is None:
        return said
    return f"{said} It {_over(plan, state, over)}; look after it, as nothing else serves that its users could go to."


def over_limit(plan: Plan, state: StepState, candidate: Colour, over: Excess) -> str:
    """The ceiling came, and one source's share of bad requests is over a limit, though that may be chance."""
    said = f"{candidate.capitalize()} {_over(plan, state, over)}"
    return f"{said}. The step does not end well before that share is kept."


def _over(plan: Plan, state: StepState, over: Excess) -> str:
    deed, _ = _deed(plan, over.limit)
    return (
        f"{deed} {over.part.bad} of {over.part.judged} {over.source} requests at {state.step.weight} % in "
        f"{state.seconds:.0f} s: more than the {_percent(over.allowed)} allowed, which may be chance"
    )


def going_on(state: StepState, candidate: Colour) -> str:
    """Not decided yet."""
    return f"{_counts(state, candidate)}."


def too_few(plan: Plan, state: StepState, candidate: Colour) -> str:
    """There is too little to judge: the step waits for it beyond its ceiling, or ends without a verdict."""
    usable = " and ".join(f"{sample(state.windows[0].of(source))} {source}" for source in TRAFFIC_SOURCES)
    return (
        f"{candidate.capitalize()} had {usable} requests with known latency at {state.step.weight} % "
        f"in {state.seconds:.0f} s: too few to judge, one kind needs {plan.minimum_sample}."
    )


def troubled(plan: Plan, state: StepState, candidate: Colour, trouble: Trouble) -> str:
    """What serves breaks a limit itself."""
    active = candidate.other
    deed = {Limit.FAILURES: "fails", Limit.SLOW: "is slow", Limit.OVERLOAD: "turns requests away"}[trouble.limit]
    broke, allowed = _deed(plan, trouble.limit)
    if not trouble.part.judged:
        seen = f"{active} gives no sign of life"
    else:
        when = f"while {candidate} did" if trouble.together else f"within {min(state.seconds, RECENT_SECONDS):.0f} s"
        seen = (
            f"{active} {broke} {trouble.part.bad} of {trouble.part.judged} {trouble.source} requests {when}, "
            f"more than the {_percent(allowed)} allowed"
        )
    return (
        f"Production itself {deed}: {seen}. Nothing is held against {candidate}; see to production, "
        "then deliver again, or override if this release is what mends it."
    )


def misled(state: StepState, candidate: Colour, found: Mismatch) -> str:
    """Users do not arrive as they were given away."""
    return (
        f"{candidate.capitalize()} got {found.ours} of {found.everybody} user requests in {state.whole_seconds:.0f} s, "
        f"where {_percent(found.share)} were meant for it (log E {found.log_e:.1f}): connections that clients keep "
        "were not shared out anew, or a replica is not behind the router. Nothing is held against the version, and the "
        "step does not end well before they arrive as meant."
    )


def unidentified(state: StepState, candidate: Colour) -> str:
    """Nothing says which release was measured."""
    return (
        f"{candidate.capitalize()} did not report which release it runs in {state.seconds:.0f} s "
        f"at {state.step.weight} %; look whether its metrics can be reached."
    )


def silent(state: StepState, candidate: Colour) -> str:
    """It is given requests, and nobody is there."""
    return (
        f"{candidate.capitalize()} gave no sign of life at {state.silent_polls} looks in a row at {state.step.weight} %"
        ": no replica reported, and none answered a request."
    )


def wrong_release(candidate: Colour, reported: str, meant: str) -> str:
    """Something else was measured than was meant."""
    return f"{candidate.capitalize()} runs {_short(reported)}, not {_short(meant)}: another release was measured."


def _deed(plan: Plan, limit: Limit) -> tuple[str, float]:
    """What is done to a request that breaks a limit, and the share that may."""
    return {
        Limit.FAILURES: ("failed", plan.error_threshold),
        Limit.SLOW: (f"took over {plan.latency_budget_seconds:g} s for", plan.latency_share),
        Limit.OVERLOAD: ("turned away", plan.overload_share),
    }[limit]


def _counts(state: StepState, candidate: Colour) -> str:
    users, probes = (state.total(candidate, source) for source in (TrafficSource.USER, TrafficSource.PROBE))
    apart = f" ({users.unfinished} uploads that their clients broke off apart)" if users.unfinished else ""
    return (
        f"{candidate.capitalize()} failed {users.failed} of {users.requests} user requests{apart} "
        f"and {probes.failed} of {probes.requests} probe requests at {state.step.weight} % "
        f"in {state.whole_seconds:.0f} s"
    )


def _trials(state: StepState) -> str:
    """One more sentence, where users were sent away before and nobody was to blame."""
    trials = state.tried.trials
    times = "once" if trials == 1 else f"{trials} times"
    return f" Users were sent away {times} before, and no trial showed that the version is to blame." if trials else ""


def _share(state: StepState, candidate: Colour) -> str:
    ours = state.total(candidate, TrafficSource.USER).requests
    theirs = state.total(candidate.other, TrafficSource.USER).requests
    return _percent(ours / max(ours + theirs, 1))


def _percent(share: float) -> str:
    return f"{round(100 * share, 1):g} %"


def _short(digest: str) -> str:
    return digest[:19]


def worse_than_active(finding: Finding, paired: Paired, candidate: Colour) -> str:
    """Probes of both colours, compared look by look."""
    return (
        f"{candidate.capitalize()} failed {paired.ours.bad} of {paired.ours.judged} probes and {candidate.other} "
        f"{paired.theirs.bad} of {paired.theirs.judged} in the same seconds "
        f"(log E {finding.log_e:.1f} >= {finding.needed:.1f}): it fails more often."
    )


def shown_by_probes(paired: Paired, candidate: Colour, seconds: float) -> str:
    """The probe shows what the users met, and only on the candidate."""
    return (
        f"Its users were sent away, and {paired.ours.bad} of {paired.ours.judged} probes met it too within "
        f"{seconds:.0f} s, but {paired.theirs.bad} of {paired.theirs.judged} of {candidate.other}'s."
    )


def shown_by_users(blocks: int, candidate: Colour) -> str:
    """What users met comes and goes with the candidate."""
    return (
        f"The probe does not meet it, but users do: in {blocks} stretches of time it came when {candidate} had users, "
        "drawn by lot, and left when it had none."
    )


def not_shown_again(paired: Paired, seconds: float) -> str:
    """Nothing shows it any more, and no users were in it."""
    return (
        f"Tried again, {paired.ours.bad} of {paired.ours.judged} probes met it within {seconds:.0f} s: it may have "
        "been the moment. Nothing is held against the version until somebody has looked."
    )


def not_shown_by_users(paired: Paired, blocks: int, seconds: float) -> str:
    """Neither the probe nor the users show that it comes with the candidate."""
    return (
        f"Its users were sent away; {paired.ours.bad} of {paired.ours.judged} probes met it, and in {blocks} stretches "
        f"of time it did not come with the candidate's users, within {seconds:.0f} s: it may have been the moment, or "
        "what some of them send. Nothing is held against the version until somebody has looked."
    )


def no_probe(seconds: float) -> str:
    """Nobody can tell otherwise."""
    return f"No probe was answered within {seconds:.0f} s to tell otherwise."


def not_compared(candidate: Colour, seconds: float) -> str:
    """What the probe meets on the candidate cannot be compared."""
    return (
        f"Its users were sent away, and no probe of {candidate.other} was answered within {seconds:.0f} s to compare "
        "with. Nothing is held against the version until somebody has looked."
    )


def suffered_by_both(candidate: Colour, seconds: float) -> str:
    """The active release broke the limit as well."""
    return (
        f"Its users were sent away, and within {seconds:.0f} s {candidate.other} broke the same limit: production "
        f"itself is in trouble, and nothing is held against {candidate}; deliver again when it is well."
    )
