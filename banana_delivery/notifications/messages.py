"""What people are told about an attempt: what happened, to what, why, and what to type next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from banana_delivery.policy import commands
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Environment, Model, Outcome, StoredRecord, TrafficSource
from banana_delivery.policy.outcomes import CONSEQUENCES, Urgency
from banana_delivery.quoting import in_notice, in_path

HEADLINES: dict[Outcome, str] = {
    Outcome.RELEASED: "is in production",
    Outcome.REJECTED: "was rejected",
    Outcome.ROLLED_BACK: "was ROLLED BACK",
    Outcome.PARKED: "waits for a person",
    Outcome.SUPERSEDED: "was superseded",
    Outcome.CANCELLED: "was cancelled",
    Outcome.ERROR: "could not be delivered",
}


class Tone(StrEnum):
    """What a channel makes a notice look like; the words are Apprise's."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


TONES: dict[Outcome, Tone] = {
    Outcome.RELEASED: Tone.SUCCESS,
    Outcome.REJECTED: Tone.WARNING,
    Outcome.ROLLED_BACK: Tone.FAILURE,
    Outcome.PARKED: Tone.WARNING,
    Outcome.SUPERSEDED: Tone.INFO,
    Outcome.CANCELLED: Tone.WARNING,
    Outcome.ERROR: Tone.FAILURE,
}
BY_URGENCY: dict[Urgency, Tone] = {
    Urgency.QUIET: Tone.INFO,
    Urgency.NORMAL: Tone.INFO,
    Urgency.ASKS: Tone.WARNING,
    Urgency.URGENT: Tone.FAILURE,
}
"""Of notices that do not say it themselves."""


class Audience(StrEnum):
    """Who wants to hear of a notice: how deliveries go, what waits for a person, what cannot wait."""

    PROGRESS = "progress"
    ASKS = "asks"
    URGENT = "urgent"


AUDIENCES: dict[Urgency, Audience] = {
    Urgency.NORMAL: Audience.PROGRESS,
    Urgency.ASKS: Audience.ASKS,
    Urgency.URGENT: Audience.URGENT,
}
"""A quiet notice has none; it is only written down."""


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
        tone: what it looks like; None in what earlier versions wrote, then its urgency tells.
        at: when it happened, seconds since the epoch; None if nobody knows.
        where: which environment it is about, and which host says so; empty if nobody knows.
        links: lines of the body that are links, and nothing else is one: their first word, and the address.
        report: a file that tells the whole of it; empty if there is none.
    """

    key: str
    title: str
    body: str
    urgency: Urgency
    tone: Tone | None = None
    at: float | None = None
    where: str = ""
    links: tuple[tuple[str, str], ...] = ()
    report: str = ""

    @property
    def look(self) -> Tone:
        """What it looks like."""
        return self.tone or BY_URGENCY[self.urgency]

    @property
    def audience(self) -> Audience | None:
        """Who hears of it; None for nobody."""
        return AUDIENCES.get(self.urgency)


def notice(
    model: str,
    attempt: AttemptRecord,
    dagster_url: str,
    production: ProductionNow | None = None,
    log_asset: str = "rollout_log",
    report: str = "",
    decide: str = "",
) -> Notice:
    """The message about an attempt, true about what users get now.

    Args:
        model: registered model in MLflow.
        attempt: how it ended.
        dagster_url: where its run can be looked at; empty if that is not known.
        production: what users get, observed after the attempt ended; None if only the attempt is known.
        log_asset: key of the audit trail, for the link to it.
        report: the file that tells the whole of it; empty if there is none.
        decide: where a person decides about it; empty for nowhere. It goes with what asks somebody, and nothing else.
    """
    trouble = _trouble(attempt, production) if production else ""
    headline = HEADLINES[attempt.outcome]
    urgency = Urgency.URGENT if trouble else CONSEQUENCES[attempt.outcome].urgency
    asks = [("Decide", decide)] if decide and urgency is Urgency.ASKS else []
    links = (*asks, *_links(attempt, dagster_url, log_asset, report))
    lines = [
        attempt.reason,
        *_users(attempt),
        f"Image: {attempt.digest[:19] or 'none was built'}. {_serves(attempt, production)}",
        f"Next: {_next_step(attempt, production, trouble)}",
        *([f"Run: {attempt.run_id}"] if attempt.run_id and not dagster_url else []),
        *(f"{label}: {address}" for label, address in links),
    ]
    return Notice(
        key=key_of(attempt),
        title=f"{model} version {attempt.version} {headline}{f', {trouble}' if trouble else ''}",
        body=body_of(lines),
        urgency=urgency,
        tone=Tone.FAILURE if trouble else Tone.WARNING if attempt.observed else TONES[attempt.outcome],
        at=attempt.at,
        links=links,
        report=report,
    )


def _users(attempt: AttemptRecord) -> list[str]:
    """How many requests of users met the version, for how long, and how many of them failed."""
    met = [step.metrics for step in attempt.steps if step.metrics.weight]
    users = [one.sources[TrafficSource.USER] for one in met if TrafficSource.USER in one.sources]
    if not users:
        return []
    requests, failed = sum(one.requests for one in users), sum(one.failed for one in users)
    seconds = sum(one.seconds for one in met)
    share = f" ({percent(failed / requests)})" if failed else ""
    return [
        f"Users: version {attempt.version} was given {requests:,} of their requests within {seconds:.0f} s; "
        f"{f'{failed:,} failed{share}' if failed else 'none failed'}."
    ]


def body_of(lines: Iterable[str]) -> str:
    """A line stays one: what strangers said must not look like a line of ours."""
    return "\n".join(in_notice(line) for line in lines)


def key_of(attempt: AttemptRecord) -> str:
    """By what people were told of an attempt."""
    return f"{attempt.run_id or attempt.at}/{attempt.version}/{attempt.outcome}"


def _trouble(attempt: AttemptRecord, production: ProductionNow) -> str:
    """What is wrong with production besides how the attempt ended; empty if users get what they should."""
    if not production.known:
        # Only an attempt that may have moved users leaves a doubt.
        return "and PRODUCTION DOES NOT ANSWER" if attempt.colour else ""
    if production.failing:
        return f"and {percent(production.failing)} OF USER REQUESTS FAIL"
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
    usual = _usual_step(attempt)
    if not trouble:
        return usual
    steps = [f"look at production first: {commands.status()}."]
    if production and production.drifted:
        # Until then, whatever else is typed is refused.
        steps.append(f"When it is as you want it: {commands.resume(Environment.PRODUCTION)}.")
    if production and production.share(attempt.version):
        # Nowhere else: typed once too often, it takes a good release out of service.
        steps.append(f"If version {attempt.version} is what harms users: {commands.rollback(attempt.version)}.")
    return " ".join(steps if attempt.outcome is Outcome.REJECTED else [*steps, f"Then: {usual}"])


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
        body=body_of(lines),
        urgency=Urgency.ASKS if serving == attempt.version else Urgency.NORMAL,
    )


def _usual_step(attempt: AttemptRecord) -> str:
    version = attempt.version
    if attempt.outcome is Outcome.ERROR and attempt.basis == "approval":
        # Delivered as a whole it would get another report, for which the approval does not count.
        return f"When the cause is gone, approve it again: {commands.approve(version)}"
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
    }[attempt.outcome]


def _links(attempt: AttemptRecord, pages: str, log_asset: str, report: str) -> tuple[tuple[str, str], ...]:
    """Where to read on; the report is served beside Dagster's pages, under its own name."""
    if not pages:
        return ()
    run = [("Run", f"{pages}/runs/{attempt.run_id}")] if attempt.run_id else []
    told = (
        f"{pages}{report_path(attempt)}"
        if report
        else f"{pages}/assets/{log_asset}?partition={attempt.version}&view=partitions"
    )
    return (*run, ("Report", told))


def report_name(attempt: AttemptRecord) -> str:
    """Of the file that tells of an attempt, without what is after the dot."""
    return f"version-{in_path(attempt.version)}-{attempt.at:.0f}-{attempt.outcome}"


def report_path(attempt: AttemptRecord) -> str:
    """Where the pages serve that file, as part of an address: by version and attempt, and nothing in it is quoted.

    Servers and proxies do not agree how often what is quoted twice is to be read.
    """
    return f"/reports/{in_path(attempt.version).replace('%', '~')}/{attempt.at:.0f}-{attempt.outcome}"


def percent(share: float) -> str:
    """A share of 0 to 1, for people."""
    return f"{float(f'{100 * share:.2g}'):g} %"
