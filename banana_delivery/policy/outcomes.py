"""Every way a delivery can end, and what follows from it: run status, registry, who is told, how it counts.

The table is the single source: the pipeline, the sensors, the scorecard and the documentation read it. Beside it stands
what follows from the audit trail: whether a version was released or revoked, and what production served when.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Model, Outcome

SILENT = "The run failed without saying why."
STOPPED = (
    "The run was stopped, though nobody cancelled it: its pod was deleted, its node drained, or its machine shut down. "
    "The traffic is where it was."
)


class RunStatus(StrEnum):
    """How the Dagster run of an attempt ends (Dagster's own names)."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    CANCELED = "CANCELED"


class Urgency(StrEnum):
    """How loudly people are told."""

    QUIET = "quiet"
    NORMAL = "normal"
    ASKS = "asks"
    URGENT = "urgent"


class Score(StrEnum):
    """How an attempt counts in the success rate."""

    GOOD = "good"
    BAD = "bad"
    NEUTRAL = "neutral"
    BAD_IF_HEALTHY = "bad_if_healthy"


class Consequence(Model):
    """What follows from an outcome.

    Attributes:
        run_status: how the run ends.
        clears_staging: whether the version leaves the set of staged versions.
        promotes: whether the registry's ``production`` alias and stage move to this version.
        revokes: whether releasing the version again needs a recorded override.
        urgency: how loudly people are told.
        score: how it counts.
        exit_code: of a command that waited for it; 1 and 2 are other programs' words for other things.
    """

    run_status: RunStatus
    clears_staging: bool
    promotes: bool
    revokes: bool
    urgency: Urgency
    score: Score
    exit_code: int


def _row(
    run_status: RunStatus,
    urgency: Urgency,
    score: Score,
    exit_code: int,
    *,
    clears_staging: bool = False,
    promotes: bool = False,
    revokes: bool = False,
) -> Consequence:
    return Consequence(
        run_status=run_status,
        clears_staging=clears_staging,
        promotes=promotes,
        revokes=revokes,
        urgency=urgency,
        score=score,
        exit_code=exit_code,
    )


CONSEQUENCES: dict[Outcome, Consequence] = {
    Outcome.RELEASED: _row(RunStatus.SUCCESS, Urgency.NORMAL, Score.GOOD, 0, clears_staging=True, promotes=True),
    Outcome.REJECTED: _row(RunStatus.FAILURE, Urgency.NORMAL, Score.GOOD, 4, clears_staging=True),
    Outcome.ROLLED_BACK: _row(
        RunStatus.FAILURE, Urgency.URGENT, Score.BAD_IF_HEALTHY, 5, clears_staging=True, revokes=True
    ),
    Outcome.PARKED: _row(RunStatus.SUCCESS, Urgency.ASKS, Score.GOOD, 3),
    Outcome.SUPERSEDED: _row(RunStatus.CANCELED, Urgency.QUIET, Score.GOOD, 7, clears_staging=True),
    Outcome.CANCELLED: _row(RunStatus.CANCELED, Urgency.NORMAL, Score.NEUTRAL, 7),
    Outcome.ERROR: _row(RunStatus.FAILURE, Urgency.NORMAL, Score.BAD, 6),
}


NOTHING_KNOWN = 2
"""The exit code of a command that does not know how a delivery ended, or never began one."""


def exit_codes() -> str:
    """All of them in one line, for whoever types a command."""
    named: dict[int, list[str]] = {}
    for outcome, row in CONSEQUENCES.items():
        named.setdefault(row.exit_code, []).append(outcome.replace("_", " "))
    told = [f"{code} {' or '.join(outcomes)}" for code, outcomes in sorted(named.items())]
    return f"Exit codes: {', '.join(told)}; {NOTHING_KNOWN} it never began, or how it ends is not known."


class RegistryMark(Model):
    """What the model registry is to say after an attempt.

    Attributes:
        outcome: how it ended.
        reason: one sentence with the numbers.
        digest: the image it was about; empty if none was built.
        run_id: the Dagster run, or the person, that did it.
        clear_staging: take the version out of the staged set (alias ``staging`` removed).
        serving: the version that production really serves now: gets alias ``production`` and stage "Production",
            and every other version in stage "Production" becomes "Archived". None leaves both alone.
    """

    outcome: Outcome
    reason: str
    digest: str = ""
    run_id: str = ""
    clear_staging: bool = False
    serving: str | None = None


def registry_mark(outcome: Outcome, reason: str, digest: str, run_id: str, serving: str | None) -> RegistryMark:
    """The registry's side of an outcome; ``serving`` is the version that production really serves now."""
    consequence = CONSEQUENCES[outcome]
    return RegistryMark(
        outcome=outcome,
        reason=reason,
        digest=digest,
        run_id=run_id,
        clear_staging=consequence.clears_staging,
        serving=serving,
    )


class RunEnd(Model):
    """What is known of a run's end, where the run could not say it itself.

    Attributes:
        status: how it ended.
        superseded_by: the version that was staged later; empty if none ended it.
        aborted: who ended it and why, as a sentence; empty if nobody said so.
        refused: what a blocking check said that failed; empty if none did.
        cancelled: whether somebody cancelled it before it failed.
        stopped: whether its process was told to go although nobody cancelled the run.
        failure: the last thing that was said about a failure.
    """

    status: RunStatus
    superseded_by: str = ""
    aborted: str = ""
    refused: str = ""
    cancelled: bool = False
    stopped: bool = False
    failure: str = SILENT


def outcome_of_run(end: RunEnd, *, serves: bool) -> tuple[Outcome, str] | None:
    """The outcome of an ended run and why; None for a success that delivered nothing, as of one asset alone.

    Args:
        end: how it ended.
        serves: whether its production step began and production serves its image.
    """
    if serves:
        return Outcome.RELEASED, "The run ended right after the promotion; production serves the release."
    # Who was to end and died of something else first was ended all the same.
    ended = end.status is RunStatus.CANCELED or bool(end.superseded_by or end.aborted or end.cancelled)
    match end.status:
        case RunStatus.FAILURE if end.refused:
            return Outcome.REJECTED, end.refused
        case RunStatus.CANCELED | RunStatus.FAILURE if end.superseded_by:
            return Outcome.SUPERSEDED, f"Version {end.superseded_by} was staged later."
        case RunStatus.CANCELED | RunStatus.FAILURE if ended:
            return Outcome.CANCELLED, end.aborted or "A person cancelled the run; the traffic is where it was."
        case RunStatus.CANCELED | RunStatus.FAILURE:
            return Outcome.ERROR, STOPPED if end.stopped else end.failure
        case RunStatus.SUCCESS:
            return None


def is_redeploy(history: Sequence[AttemptRecord]) -> bool:
    """Whether delivering the version again is a redeploy: it was released and never revoked since.

    Args:
        history: all attempts at this one version, in any order.
    """
    latest = _latest_decisive(history)
    return latest is not None and latest.outcome is Outcome.RELEASED


def is_revoked(history: Sequence[AttemptRecord]) -> bool:
    """Whether the version was rolled back, by us or by a person, and not released again since."""
    latest = _latest_decisive(history)
    return latest is not None and latest.revoked


def _latest_decisive(history: Sequence[AttemptRecord]) -> AttemptRecord | None:
    """The latest attempt that says something about the version itself in production."""
    return max(decisive(history), key=lambda attempt: attempt.order, default=None)


def decisive(history: Sequence[AttemptRecord]) -> list[AttemptRecord]:
    """What says something about a version itself in production.

    A run may be stopped for long between its promotion and its line. If its release was taken out meanwhile, the line
    comes after the one that revokes it, and is no release since.
    """
    taken_out = {attempt.revokes for attempt in history if attempt.revoked and attempt.revokes}
    return [
        attempt
        for attempt in history
        if attempt.revoked or (attempt.outcome is Outcome.RELEASED and attempt.run_id not in taken_out)
    ]


def served_since(attempts: Iterable[AttemptRecord], since: float) -> set[str]:
    """The digests that had production's traffic at rest at any time since then.

    Args:
        attempts: the whole audit trail, newest first; read only as far as it takes.
        since: seconds since the epoch.
    """
    served = set()
    for attempt in attempts:
        live = attempt.digest if attempt.outcome is Outcome.RELEASED else attempt.previous_digest
        if live and attempt.outcome in {Outcome.RELEASED, Outcome.ROLLED_BACK}:
            served.add(live)
            if attempt.at <= since:
                break
    return served
