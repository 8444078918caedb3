"""Which staged versions are new since the last look, and which deliveries they make pointless.

The sensor reads the registry, calls ``look`` and acts on what it says; nothing here talks to anybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from banana_delivery.policy.model import Model, StoredModel, StoredRecord


class Staging(Model):
    """A version that is staged now.

    Attributes:
        version: MLflow model version.
        staged_at: when its stage last moved, seconds since the epoch; None if it is staged by alias alone, since an
            alias has no time.
    """

    version: str
    staged_at: float | None


class Seen(StoredModel):
    """What the cursor remembers of one version.

    Attributes:
        staged_at: when it was staged; for an alias, when it was first seen.
        transitions: how often the version was found newly staged; part of the run key, which dedupes for ever.
        staged: whether it was in the staged set at the last look.
        by_stage: whether it was there by its stage, whose time can be compared.
    """

    staged_at: float
    transitions: int
    staged: bool
    by_stage: bool


class Cursor(StoredRecord):
    """What the sensor carries from look to look."""

    versions: Mapping[str, Seen] = {}


class Trigger(Model):
    """A staging that asks for a delivery.

    Attributes:
        version: MLflow model version.
        staged_at: when it was staged, seconds since the epoch.
        run_key: the same for the same staging, and never for another.
    """

    version: str
    staged_at: float
    run_key: str


class UnderWay(Model):
    """A delivery that the sensor started and that has not ended.

    Attributes:
        run_id: its Dagster run.
        version: what it delivers.
        staged_at: the staging that started it.
        in_production: whether its production step has started; then nothing supersedes it.
    """

    run_id: str
    version: str
    staged_at: float
    in_production: bool


def parse_cursor(text: str | None) -> Cursor:
    """The cursor as stored; a lost or unreadable one is an empty one, since run keys still prevent doubles."""
    if not text:
        return Cursor()
    try:
        return Cursor.read_json(text)
    except ValidationError:
        return Cursor()


def look(cursor: Cursor, staged: Sequence[Staging], now: float) -> tuple[Cursor, list[Trigger]]:
    """Compare what is staged now with the last look.

    A version triggers when it is newly in the set or its stage moved again, so also for the second time. Giving the
    alias to a version in stage "Staging", or the stage to one with the alias, is the same staging.

    Args:
        cursor: what the last look returned.
        staged: what is staged.
        now: seconds since the epoch; the time of an alias that is seen for the first time.

    Returns:
        The new cursor, and the triggers, oldest staging first.
    """
    here = {staging.version for staging in staged}
    seen = {version: past.replace(staged=False) for version, past in cursor.versions.items() if version not in here}
    triggers = []
    for staging in staged:
        past = cursor.versions.get(staging.version)
        seen[staging.version], is_new = _look_at(past, staging, now)
        if is_new:
            triggers.append(_trigger(staging.version, seen[staging.version]))
    return Cursor(versions=seen), sorted(triggers, key=lambda trigger: trigger.staged_at)


def _look_at(past: Seen | None, staging: Staging, now: float) -> tuple[Seen, bool]:
    """What to remember of a staged version, and whether this is a new staging."""
    by_stage = staging.staged_at is not None
    if past is None or not past.staged:
        transitions = 1 + (past.transitions if past else 0)
        at = staging.staged_at if staging.staged_at is not None else now
        return Seen(staged_at=at, transitions=transitions, staged=True, by_stage=by_stage), True
    at = past.staged_at if staging.staged_at is None else staging.staged_at
    moved = past.by_stage and at > past.staged_at
    return Seen(staged_at=at, transitions=past.transitions + moved, staged=True, by_stage=by_stage), moved


def _trigger(version: str, seen: Seen) -> Trigger:
    run_key = f"{version}@{round(seen.staged_at * 1000)}#{seen.transitions}"
    return Trigger(version=version, staged_at=seen.staged_at, run_key=run_key)


def newest(triggers: Sequence[Trigger]) -> Trigger | None:
    """The trigger that wins when several versions were staged since the last look: the last one staged."""
    return triggers[-1] if triggers else None


def superseded(under_way: Sequence[UnderWay], by: Trigger) -> list[UnderWay]:
    """The deliveries that a later staging of another version makes pointless: by time, never by number."""
    return [
        run
        for run in under_way
        if run.version != by.version and run.staged_at <= by.staged_at and not run.in_production
    ]
