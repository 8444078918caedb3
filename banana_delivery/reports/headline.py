"""What a report begins with: how an attempt ended and what users get since, in one sentence."""

from __future__ import annotations

from datetime import UTC, datetime

from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Outcome, TrafficSource

ENDED = {
    Outcome.REJECTED: "was rejected",
    Outcome.ROLLED_BACK: "was taken out of production",
    Outcome.PARKED: "waits for a person",
    Outcome.SUPERSEDED: "was superseded",
    Outcome.CANCELLED: "was cancelled",
    Outcome.ERROR: "could not be delivered",
}


def headline(attempt: AttemptRecord) -> str:
    """The sentence, true at the moment of the attempt's end."""
    version, at = f"Version {attempt.version}", clock(attempt.at)
    if attempt.outcome is not Outcome.RELEASED:
        return f"{version} {ENDED[attempt.outcome]} at {at}; {_serves(attempt)}"
    if attempt.serving_version not in {"", attempt.version}:
        return f"{version} was released at {at}; {_serves(attempt)}"
    if attempt.digest and attempt.digest == attempt.previous_digest:
        return f"{version} served all users already at {at}"
    return f"{version} serves all users since {at}"


def clock(at: float) -> str:
    """The time of day; the date stands below."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M UTC")


def met_users(attempt: AttemptRecord) -> str:
    """How many requests of users the version was given, for how long, and how many failed; empty if none."""
    met = [step.metrics for step in attempt.steps if step.metrics.weight and step.metrics.sources]
    users = [one.sources[TrafficSource.USER] for one in met if TrafficSource.USER in one.sources]
    if not users:
        return ""
    requests, failed = sum(one.requests for one in users), sum(one.failed for one in users)
    share = f" ({failed / requests:.1%})" if failed else ""
    return f"{requests:,} within {sum(one.seconds for one in met):.0f} s, of which {failed:,} failed{share}"


def _serves(attempt: AttemptRecord) -> str:
    if not attempt.serving_version:
        return "production serves nobody yet"
    if attempt.serving_version == "unknown":
        return "what production serves could not be asked"
    return f"version {attempt.serving_version} is what production serves"
