"""What people are told about an attempt: what happened, to what, why, and what to type next."""

from __future__ import annotations

from banana_delivery.policy import commands
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Outcome, StoredRecord
from banana_delivery.policy.outcomes import CONSEQUENCES, Urgency

HEADLINES: dict[Outcome, str] = {
    Outcome.RELEASED: "is in production",
    Outcome.REJECTED: "was rejected",
    Outcome.ROLLED_BACK: "was ROLLED BACK",
    Outcome.PARKED: "waits for a person",
    Outcome.SUPERSEDED: "was superseded",
    Outcome.CANCELLED: "was cancelled",
    Outcome.ERROR: "could not be delivered",
}


class Notice(StoredRecord):
    """A message for people.

    Attributes:
        key: the same for the same event, so that nobody is told twice.
        title: what happened to which version.
        body: why, the figures, where to look and what to type next.
        urgency: how loudly it is said.
    """

    key: str
    title: str
    body: str
    urgency: Urgency


def notice(model: str, attempt: AttemptRecord, dagster_url: str) -> Notice:
    """The message about an attempt."""
    title = f"{model} version {attempt.version} {HEADLINES[attempt.outcome]}"
    lines = [
        attempt.reason,
        f"Image: {attempt.digest[:19] or 'none was built'}. "
        f"Production serves version {attempt.serving_version or 'none'}.",
        f"Next: {_next_step(attempt.outcome, attempt.version)}",
        *_links(attempt, dagster_url),
    ]
    return Notice(
        key=f"{attempt.run_id or attempt.at}/{attempt.version}/{attempt.outcome}",
        title=title,
        body="\n".join(lines),
        urgency=CONSEQUENCES[attempt.outcome].urgency,
    )


def rollback_failed(model: str, run_id: str, digest: str, dagster_url: str) -> Notice:
    """The message about a rollback that could not be made; told once for an image, however often it is tried.

    Args:
        model: registered model in MLflow.
        run_id: the Dagster run.
        digest: image that had to go; empty for whatever was in production.
        dagster_url: where the run can be looked at.
    """
    lines = [
        f"What had to go may still have all users: {digest[:19] or 'the present one'}. Type: {commands.status()}",
        "The watch after a promotion tries again by itself for as long as it sees errors.",
        f"Next: read why in the run, then {commands.rollback()}",
        f"Run: {dagster_url}/runs/{run_id}",
    ]
    return Notice(
        key=f"rollback failed/{digest or run_id}",
        title=f"A rollback of {model} FAILED",
        body="\n".join(lines),
        urgency=Urgency.URGENT,
    )


def _next_step(outcome: Outcome, version: str) -> str:
    return {
        Outcome.RELEASED: f"Should it misbehave: {commands.rollback()}",
        Outcome.REJECTED: "Nothing to do; train a better one and stage it.",
        Outcome.ROLLED_BACK: (
            "Production serves the release before it. To deliver it again after all: "
            f"{commands.override(version)}, then {commands.deliver(version)}"
        ),
        Outcome.PARKED: "The reason above says what to type to release it.",
        Outcome.SUPERSEDED: "Nothing to do; a later staging is on its way.",
        Outcome.CANCELLED: f"To deliver it after all: {commands.deliver(version)}",
        Outcome.ERROR: f"When the cause is gone: {commands.deliver(version)}",
    }[outcome]


def _links(attempt: AttemptRecord, dagster_url: str) -> list[str]:
    run = [f"Run: {dagster_url}/runs/{attempt.run_id}"] if attempt.run_id else []
    return [*run, f"Report: {dagster_url}/assets/rollout_log?partition={attempt.version}"]
