"""What people are told beside an attempt's end: what is wrong with production, the registry or the watch itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from banana_delivery.notifications.messages import Notice, body_of, percent
from banana_delivery.policy import commands
from banana_delivery.policy.drift import Drift, DriftKind, News
from banana_delivery.policy.holds import PauseRecord
from banana_delivery.policy.model import Environment, Model, RolloutRecord
from banana_delivery.policy.outages import Outage, Trouble, Word
from banana_delivery.policy.outcomes import Urgency


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
    fails = f"{percent(found.failing)} OF USER REQUESTS FAIL" if found.failing else ""
    at = datetime.fromtimestamp(found.since, UTC).strftime("%d %B %H:%M UTC")
    serves = f"On record is version {found.serving or 'none'}."
    what = [drift.sentence for drift in found.drifts]
    match news:
        case News.OVER:
            title, lines = f"is as recorded again (it was not since {at})", [serves, "Nothing to do."]
        case News.MADE_GOOD:
            failed = f"{percent(found.failing)} of user requests failed. " if found.failing else ""
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
        body=body_of(lines),
        urgency=Urgency.URGENT if loud else Urgency.NORMAL if news is News.OVER else Urgency.ASKS,
    )


def paused_long(model: str, said: PauseRecord, seconds: float) -> Notice:
    """The message that somebody keeps a delivery where it is, and has for long.

    Args:
        model: registered model in MLflow.
        said: who, and why.
        seconds: for how long.
    """
    lines = [
        f"Paused by {said.words}",
        "It stays at its weight and is watched: a fault still turns it back, and nothing moves it forward. No other "
        "delivery begins meanwhile.",
        f"Next: {commands.go_on()}, or: {commands.abort()}",
    ]
    return Notice(
        key=f"paused/{said.run_id}/{said.at:.0f}/{seconds // 60:.0f}",
        title=f"Version {said.version} of {model} has been paused for {seconds / 60:.0f} minutes",
        body=body_of(lines),
        urgency=Urgency.ASKS,
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
        body=body_of(lines),
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
        body=body_of([*lines, *body.split("\n")]),
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
        body=body_of(lines),
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
        body=body_of(lines),
        urgency=Urgency.URGENT,
    )


def only_observed(model: str, version: str, digest: str, reason: str, generation: int) -> Notice:
    """The message that production would have been rolled back, by a policy that only observes.

    Args:
        model: registered model in MLflow.
        version: that serves.
        digest: its image.
        reason: why, in one sentence.
        generation: of production's record; the same for as long as nobody changes it.
    """
    return Notice(
        key=f"only observed/{digest}/{generation}",
        title=f"{model} version {version} fails in production, and its policy only observes",
        body=body_of([reason, "Nothing was done.", f"Next: if users suffer: {commands.rollback(version)}"]),
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
        body=body_of([*problems, "Then start the stack, or the pipeline's processes, again."]),
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
        body=body_of(lines),
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
