"""What people are told about an attempt: what happened, to what, why, and what to type next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from banana_delivery.policy import commands
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.drift import Drift, DriftKind, News
from banana_delivery.policy.model import Environment, Model, Outcome, RolloutRecord, StoredRecord
from banana_delivery.policy.outages import Outage, Trouble, Word
from banana_delivery.policy.outcomes import CONSEQUENCES, Urgency
from banana_delivery.quoting import in_notice

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


def notice(
    model: str,
    attempt: AttemptRecord,
    dagster_url: str,
    production: ProductionNow | None = None,
    log_asset: str = "rollout_log",
) -> Notice:
    """The message about an attempt, true about what users get now.

    Args:
        model: registered model in MLflow.
        attempt: how it ended.
        dagster_url: where its run can be looked at; empty if that is not known.
        production: what users get, observed after the attempt ended; None if only the attempt is known.
        log_asset: key of the audit trail, for the link to it.
    """
    trouble = _trouble(attempt, production) if production else ""
    headline = HEADLINES[attempt.outcome]
    lines = [
        attempt.reason,
        f"Image: {attempt.digest[:19] or 'none was built'}. {_serves(attempt, production)}",
        f"Next: {_next_step(attempt, production, trouble)}",
        *_links(attempt, dagster_url, log_asset),
    ]
    return Notice(
        key=key_of(attempt),
        title=f"{model} version {attempt.version} {headline}{f', {trouble}' if trouble else ''}",
        body=_body(lines),
        urgency=Urgency.URGENT if trouble else CONSEQUENCES[attempt.outcome].urgency,
    )


def _body(lines: Iterable[str]) -> str:
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
        return f"and {_percent(production.failing)} OF USER REQUESTS FAIL"
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
    if production and production.drifted:
        # Until then, whatever else is typed is refused.
        steps.append(f"When it is as you want it: {commands.resume(Environment.PRODUCTION)}.")
    if production and production.share(attempt.version):
        # Nowhere else: typed once too often, it takes a good release out of service.
        steps.append(f"If version {attempt.version} is what harms users: {commands.rollback(attempt.version)}.")
    return " ".join(steps if attempt.outcome is Outcome.REJECTED else [*steps, f"Then: {usual}"])


class ProductionDrift(Model):
    """What was found to differ in production.

    Attributes:
        drifts: each difference.
        failing: share of the users' requests that fail because of them, 0 to 1.
        since: when it began, seconds since the epoch.
        serving: the version on record; empty if there is none.
        frozen: whether a person has to say that the pipeline may touch production again.
        owner: who has production now, and is not disturbed; empty if nobody does.
        times: how often something was made good lately.
    """

    drifts: tuple[Drift, ...] = ()
    failing: float = 0.0
    since: float
    serving: str = ""
    frozen: bool = False
    owner: str = ""
    times: int = 0


def drift_notice(model: str, news: News, found: ProductionDrift) -> Notice:
    """The message that production is not what its record says, was made so again, or is again.

    Args:
        model: registered model in MLflow.
        news: what is to be said.
        found: what differs, or differed.
    """
    away = any(drift.kind is DriftKind.AWAY for drift in found.drifts)
    fails = f"{_percent(found.failing)} OF USER REQUESTS FAIL" if found.failing else ""
    at = datetime.fromtimestamp(found.since, UTC).strftime("%d %B %H:%M UTC")
    serves = f"On record is version {found.serving or 'none'}."
    what = [drift.sentence for drift in found.drifts]
    match news:
        case News.OVER:
            title, lines = f"is as recorded again (it was not since {at})", [serves, "Nothing to do."]
        case News.MADE_GOOD:
            failed = f"{_percent(found.failing)} of user requests failed. " if found.failing else ""
            again = f" This was the {found.times}th time lately." if found.times > 2 else ""
            title = "was CHANGED BY HAND, or lost replicas, and was made good"
            lines = [
                *what,
                f"{failed}Version {found.serving or 'none'} has all users again, as recorded.{again}",
                f"Next: find out who or what did it. To change production for good: {commands.deliver('VERSION')}",
            ]
        case News.FOUND | News.WORSE:
            title = fails or ("does not answer" if away else "is not as recorded")
            lines = [*what, serves, f"Next: {_drift_step(found)}"]
    loud = news is not News.OVER and (found.failing or away)
    return Notice(
        key=f"drift/{found.since:.0f}/{news}/{found.times}/{found.failing:.3f}",
        title=f"Production of {model}{': ' if fails and loud and news is not News.MADE_GOOD else ' '}{title}",
        body=_body(lines),
        urgency=Urgency.URGENT if loud else Urgency.NORMAL if news is News.OVER else Urgency.ASKS,
    )


def held_version_fails(model: str, record: RolloutRecord, version: str, reason: str) -> Notice:
    """The message that a version fails its users while production is held; told once for a hold.

    Args:
        model: registered model in MLflow.
        record: of production.
        version: the one that fails.
        reason: what its counters showed.
    """
    back = (
        f"{commands.resume(Environment.PRODUCTION)}, which gives version {record.live.version if record.live else '?'}"
    )
    lines = [
        reason,
        f"Production is held: {record.note}",
        f"Next: look at what runs: {commands.status()}. Nothing is touched until you type {back} all users, or take "
        f"the failing one out: {commands.rollback(version)}",
    ]
    return Notice(
        key=f"held/{record.generation}/{version}",
        title=f"Production of {model} is held, and version {version} FAILS ITS USERS",
        body=_body(lines),
        urgency=Urgency.URGENT,
    )


def _drift_step(found: ProductionDrift) -> str:
    look = f"look at what runs: {commands.status()}."
    if found.frozen:
        resume = commands.resume(Environment.PRODUCTION)
        return f"{look} Nothing is touched until you type: {resume}, which brings version {found.serving} back."
    if found.owner:
        return f"{look} {found.owner} has production and is not disturbed."
    if any(drift.mendable for drift in found.drifts):
        return f"{look} What the record says is tried again and again; see why it does not come up."
    return f"{look} The pipeline takes nobody's replicas away, and its next delivery stops at such a difference."


def _percent(share: float) -> str:
    return f"{float(f'{100 * share:.2g}'):g} %"


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
        body=_body([*lines, *body.split("\n")]),
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
        body=_body(lines),
        urgency=Urgency.ASKS if serving == attempt.version else Urgency.NORMAL,
    )


def rollback_failed(
    model: str, run_id: str, digest: str, dagster_url: str, *, why: str = "", occasion: str = ""
) -> Notice:
    """The message about a rollback that could not be made.

    Args:
        model: registered model in MLflow.
        run_id: the Dagster run; empty if the watch did it.
        digest: image that had to go; empty for whatever was in production.
        dagster_url: where the run can be looked at; empty if that is not known.
        why: what was in its way, if that is known here.
        occasion: what tells this failure from another one of the same image; the run does by itself.
    """
    lines = [
        f"What had to go may still have all users: {digest[:19] or 'the present one'}. Type: {commands.status()}",
        *([why] if why else []),
        "The watch after a promotion tries again by itself for as long as it sees errors.",
        f"Next: {'' if why else 'read why in the run, then '}{commands.rollback()}",
        *([f"Run: {f'{dagster_url}/runs/' if dagster_url else ''}{run_id}"] if run_id else []),
    ]
    return Notice(
        key="/".join(filter(None, ["rollback failed", digest, occasion or run_id])),
        title=f"A rollback of {model} FAILED",
        body=_body(lines),
        urgency=Urgency.URGENT,
    )


def wrong_release(model: str, version: str, why: str) -> Notice:
    """The message that production answers as something else than what is recorded there.

    Args:
        model: registered model in MLflow.
        version: what is recorded.
        why: what answers instead.
    """
    lines = [why, f"Next: look what runs there: {commands.status()}", f"To take it out: {commands.rollback(version)}"]
    return Notice(
        key=f"wrong release/{version}/{why}",
        title=f"{model}: production does NOT run version {version}, which is on record",
        body=_body(lines),
        urgency=Urgency.URGENT,
    )


def bad_channels(model: str, problems: Sequence[str]) -> Notice:
    """The message that people are not told where they were to be.

    Args:
        model: registered model in MLflow.
        problems: one sentence a channel.
    """
    return Notice(
        key=f"bad channels/{' '.join(problems)}",
        title=f"Notices of {model} do not go everywhere",
        body=_body([*problems, "Then start the stack, or the pipeline's processes, again."]),
        urgency=Urgency.ASKS,
    )


def silent_sensors(model: str, sensors: Sequence[str], seconds: float, now: float) -> Notice:
    """The message that sensors tick no more.

    Args:
        model: registered model in MLflow.
        sensors: which ones.
        seconds: for how long at least.
        now: seconds since the epoch; tells this silence from another one.
    """
    lines = [
        f"{', '.join(sensors)} did not come to an end for over {seconds:.0f} s.",
        "Production serves on, but nothing is delivered, nothing dead is found, and NO release that goes bad is rolled "
        "back by itself.",
        f"Next: {commands.status()}; look at the logs of dagster-daemon and the code server, then: {commands.up()}",
        f"If production is bad meanwhile: {commands.rollback()}",
    ]
    return Notice(
        key=f"silent sensors/{','.join(sensors)}/{now:.0f}",
        title=f"Nobody watches {model}: its sensors have stopped",
        body=_body(lines),
        urgency=Urgency.URGENT,
    )


def sensors_are_back(model: str, now: float) -> Notice:
    """The message that all sensors tick again."""
    return Notice(
        key=f"sensors are back/{now:.0f}",
        title=f"The sensors of {model} tick again",
        body="Nothing to do.",
        urgency=Urgency.NORMAL,
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


def _links(attempt: AttemptRecord, dagster_url: str, log_asset: str) -> list[str]:
    if not dagster_url:
        return [f"Run: {attempt.run_id}"] if attempt.run_id else []
    run = [f"Run: {dagster_url}/runs/{attempt.run_id}"] if attempt.run_id else []
    return [*run, f"Report: {dagster_url}/assets/{log_asset}?partition={attempt.version}"]
