"""What people are told about an attempt: what happened, to what, why, and what to type next."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from banana_delivery.policy import commands
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Model, Outcome, StoredRecord
from banana_delivery.policy.outages import Outage, Trouble, Word
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


class ProductionNow(Model):
    """What users get at the moment when people are told.

    Attributes:
        version: the one that is recorded as serving; empty before the first release.
        shares: percent of user traffic by version, as observed; empty if nobody serves.
        failing: share of the users' requests that fail, 0 to 1; None if it is not known.
        drifted: whether somebody else changed production, so that nothing touches it until a person decides.
        known: whether production answered when it was asked.
    """

    version: str = ""
    shares: Mapping[str, int] = {}
    failing: float | None = None
    drifted: bool = False
    known: bool = True

    def share(self, version: str) -> int:
        """Percent of user traffic of one version."""
        return self.shares.get(version, 0)

    @property
    def is_sound(self) -> bool:
        """Whether the recorded version has all users, and no failures of theirs are known."""
        return (
            self.known
            and not self.drifted
            and not self.failing
            and self.share(self.version) == (100 if self.version else 0)
        )


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


def notice(model: str, attempt: AttemptRecord, dagster_url: str, production: ProductionNow | None = None) -> Notice:
    """The message about an attempt, true about what users get now.

    Args:
        model: registered model in MLflow.
        attempt: how it ended.
        dagster_url: where its run can be looked at.
        production: what users get, observed after the attempt ended; None if only the attempt is known.
    """
    trouble = _trouble(attempt, production) if production else ""
    headline = HEADLINES[attempt.outcome]
    lines = [
        attempt.reason,
        f"Image: {attempt.digest[:19] or 'none was built'}. {_serves(attempt, production)}",
        f"Next: {_next_step(attempt, production, trouble)}",
        *_links(attempt, dagster_url),
    ]
    return Notice(
        key=key_of(attempt),
        title=f"{model} version {attempt.version} {headline}{f', {trouble}' if trouble else ''}",
        body="\n".join(lines),
        urgency=Urgency.URGENT if trouble else CONSEQUENCES[attempt.outcome].urgency,
    )


def key_of(attempt: AttemptRecord) -> str:
    """By what people were told of an attempt."""
    return f"{attempt.run_id or attempt.at}/{attempt.version}/{attempt.outcome}"


def _trouble(attempt: AttemptRecord, production: ProductionNow) -> str:
    """What is wrong with production besides how the attempt ended; empty if users get what they should."""
    if not production.known:
        # Only an attempt that may have moved users leaves a doubt.
        return "and PRODUCTION DOES NOT ANSWER" if attempt.colour else ""
    if production.failing:
        return f"and {float(f'{100 * production.failing:.2g}'):g} % OF USER REQUESTS FAIL"
    share = production.share(attempt.version)
    should_serve = attempt.outcome is Outcome.RELEASED or production.version == attempt.version
    if production.drifted:
        return f"and production was CHANGED BY HAND{f' and gives it {share} % of users' if share else ''}"
    if not should_serve and share:
        return f"but STILL HAS {share} % OF USERS"
    if attempt.outcome is Outcome.RELEASED and production.version != attempt.version:
        return f"no more: production serves version {production.version or 'none'} now"
    if attempt.outcome is Outcome.ROLLED_BACK and production.version == attempt.version:
        return "but STILL IS what production serves"
    if not production.is_sound:
        return f"and production is BETWEEN releases ({_shares(production)})"
    return ""


def _serves(attempt: AttemptRecord, production: ProductionNow | None) -> str:
    if production is None:
        return f"Production serves version {attempt.serving_version or 'none'}."
    if not production.known:
        return "What production serves could not be asked."
    if production.is_sound:
        return f"Production serves version {production.version or 'none'}."
    return f"Production now: {_shares(production)}; on record is version {production.version or 'none'}."


def _shares(production: ProductionNow) -> str:
    """Who has how many users, in words."""
    had = sorted(((share, version) for version, share in production.shares.items() if share), reverse=True)
    return ", ".join(f"version {version} has {share} %" for share, version in had) or "nobody has users"


def _next_step(attempt: AttemptRecord, production: ProductionNow | None, trouble: str) -> str:
    usual = _usual_step(attempt.outcome, attempt.version)
    if not trouble:
        return usual
    steps = [f"look at production first: {commands.status()}."]
    if production and production.share(attempt.version):
        # Nowhere else: typed once too often, it takes a good release out of service.
        steps.append(f"If version {attempt.version} is what harms users: {commands.rollback(attempt.version)}.")
    return " ".join(steps if attempt.outcome is Outcome.REJECTED else [*steps, f"Then: {usual}"])


def registry_trouble(model: str, trouble: Trouble, outage: Outage, word: Word) -> Notice:
    """The message that the model registry is away or refuses us, still does, or is well again.

    Args:
        model: registered model in MLflow.
        trouble: which kind.
        outage: as it was before it was over, or as it is.
        word: what is to be said.
    """
    since = outage.since or 0.0
    at = datetime.fromtimestamp(since, UTC).strftime("%d %B %H:%M UTC")
    title, body = _REGISTRY_WORDS[trouble, word is Word.OVER]
    lines = [] if word is Word.OVER else [outage.reason, f"This has lasted for {_duration(outage.lasted)}."]
    return Notice(
        key=f"registry/{trouble}/{since}/{word}/{outage.told}",
        title=f"The model registry of {model} {'STILL ' if word is Word.STILL else ''}{title.format(at=at)}",
        body="\n".join([*lines, body]),
        urgency=Urgency.NORMAL if word is Word.OVER else Urgency.ASKS,
    )


_REGISTRY_WORDS = {
    (Trouble.UNREACHABLE, False): (
        "does not answer (since {at})",
        "Production does not need it. Whatever is staged meanwhile is delivered, and what it should have been told is "
        "written into it, when it is back.\n"
        f"Next: look whether MLflow runs and whether MLFLOW_TRACKING_URI is right: {commands.status()}",
    ),
    (Trouble.UNREACHABLE, True): (
        "answers again (it was away since {at})",
        "What was staged meanwhile is being delivered. Nothing to do.",
    ),
    (Trouble.REFUSED, False): (
        "refuses to be written (since {at})",
        "Deliveries go on, but MLflow does not say any more what production serves, and versions that are done stay "
        "staged.\nNext: give the account in MLFLOW_TRACKING_USERNAME permission to edit the model, or set "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to one that has it. What is owed is written then.",
    ),
    (Trouble.REFUSED, True): (
        "can be written again (it refused since {at})",
        "What it should have been told is being written. Nothing to do.",
    ),
}


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 120 else f"{round(minutes / 60)} hours"


def deleted_version(model: str, attempt: AttemptRecord, why: str) -> Notice:
    """The message that MLflow cannot say how a version ended, since somebody deleted it.

    Args:
        model: registered model in MLflow.
        attempt: how it ended.
        why: what the registry said.
    """
    serving = attempt.serving_version
    lines = [
        why,
        f"All other versions say the truth; production serves version {serving or 'none'}.",
        f"Next: if version {serving} is the deleted one, register its model again or release another; it goes on "
        "serving, and can be rolled back, but not be delivered again."
        if serving == attempt.version
        else "Nothing to do.",
    ]
    return Notice(
        key=f"deleted/{attempt.run_id or attempt.at}/{attempt.version}",
        title=f"{model} version {attempt.version} was deleted from the model registry while it was delivered",
        body="\n".join(lines),
        urgency=Urgency.ASKS if serving == attempt.version else Urgency.NORMAL,
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


def _usual_step(outcome: Outcome, version: str) -> str:
    return {
        Outcome.RELEASED: f"Should it misbehave: {commands.rollback(version)}",
        Outcome.REJECTED: "Nothing to do; train a better one and stage it.",
        Outcome.ROLLED_BACK: (
            f"To deliver it again after all: {commands.override(version)}, then {commands.deliver(version)}"
        ),
        Outcome.PARKED: "The reason above says what to type to release it.",
        Outcome.SUPERSEDED: "Nothing to do; a later staging is on its way.",
        Outcome.CANCELLED: f"To deliver it after all: {commands.deliver(version)}",
        Outcome.ERROR: f"When the cause is gone: {commands.deliver(version)}",
    }[outcome]


def _links(attempt: AttemptRecord, dagster_url: str) -> list[str]:
    run = [f"Run: {dagster_url}/runs/{attempt.run_id}"] if attempt.run_id else []
    return [*run, f"Report: {dagster_url}/assets/rollout_log?partition={attempt.version}"]
