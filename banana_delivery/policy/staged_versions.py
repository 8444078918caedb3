"""Which staged versions are new since the last look, and which deliveries they make pointless.

The sensor reads the registry, calls ``look`` and acts on what it says; nothing here talks to anybody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

from pydantic import ValidationError

from banana_delivery.policy.model import Model, StoredModel, StoredRecord
from banana_delivery.policy.outages import Outage, Trouble

_VERSION = re.compile(r"[1-9][0-9]{0,17}")


def is_version(text: str) -> bool:
    """Whether this can be the number of a version in MLflow; a partition can be called anything."""
    return _VERSION.fullmatch(text) is not None


class Wish(StrEnum):
    """What people may write beside a staged version in the registry, with the reason as its value."""

    APPROVE = "approve"
    REJECT = "reject"
    OVERRIDE = "override"


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
        staged_at: when it was staged by the registry's clock; for an alias, when it was first seen by ours. Shown to
            people, and part of the run key; never compared between versions.
        transitions: how often the version was found newly staged; part of the run key, which dedupes for ever.
        staged: whether it was in the staged set at the last look.
        by_stage: whether it was there by its stage, whose time can be compared.
        moved_at: the registry's time of its stage within this staging, kept while the alias alone holds it; None if
            it has only been there by alias, or if an earlier version remembered it.
        order: of its latest staging among all that were ever seen; 0 if an earlier version saw it.
    """

    staged_at: float
    transitions: int
    staged: bool
    by_stage: bool
    moved_at: float | None = None
    order: int = 0

    @property
    def stage_time(self) -> float | None:
        """When the registry moved its stage within this staging, by the registry's clock."""
        return self.staged_at if self.moved_at is None and self.by_stage else self.moved_at


class Cursor(StoredRecord):
    """What the sensor carries from look to look.

    Attributes:
        versions: what is remembered of each version.
        stagings: how many were seen so far. The order of stagings is the order in which this counter met them: two
            clocks, the registry's and ours, say nothing about each other, and the registry's may go back.
        looked: whether there was a look at all; what is staged at the first one may have been delivered before.
        outages: what is wrong with the registry, by kind of trouble.
        wishes: what people wrote beside versions that was acted on and still stands there: hashes of the reasons.
    """

    versions: Mapping[str, Seen] = {}
    stagings: int = 0
    looked: bool = True
    outages: Mapping[Trouble, Outage] = {}
    wishes: Mapping[str, str] = {}


class Trigger(Model):
    """A staging that asks for a delivery.

    Attributes:
        version: MLflow model version.
        staged_at: when it was staged, seconds since the epoch, for people.
        run_key: the same for the same staging, and never for another.
        order: its place among all stagings that were ever seen.
        by_stage: whether the registry gave it a time, so that it has an order among others of the same look.
    """

    version: str
    staged_at: float
    run_key: str
    order: int = 0
    by_stage: bool = True

    @property
    def staging(self) -> str:
        """The staging as runs carry it: what tells it from every other one of the version."""
        return f"{self.staged_at:.3f}"


class Overtaken(Model):
    """A staging that a later one of the same look makes pointless before anything was started for it."""

    trigger: Trigger
    by: Trigger


class UnderWay(Model):
    """A delivery that the sensor started and that has not ended.

    Attributes:
        run_id: its Dagster run.
        version: what it delivers.
        staged_at: the staging that started it.
        in_production: whether its production step has started; then nothing supersedes it.
        order: of the staging that started it; 0 if it was started before stagings were counted.
    """

    run_id: str
    version: str
    staged_at: float
    in_production: bool
    order: int = 0


def parse_cursor(text: str | None) -> Cursor:
    """The cursor as stored; a lost or unreadable one is an empty one, since run keys still prevent doubles."""
    if not text:
        return Cursor(looked=False)
    try:
        return Cursor.read_json(text)
    except ValidationError:
        return Cursor(looked=False)


def look(cursor: Cursor, staged: Sequence[Staging], now: float) -> tuple[Cursor, list[Trigger]]:
    """Compare what is staged now with the last look.

    A version triggers when it is newly in the set or the time of its stage is another one, earlier or later: so also
    for the second time, and when the registry's clock went back. Giving the alias to a version in stage "Staging", or
    the stage to one with the alias, is the same staging.

    Args:
        cursor: what the last look returned.
        staged: what is staged.
        now: seconds since the epoch, the label of an alias that is seen for the first time; compared with nothing.

    Returns:
        The new cursor, and the triggers in the order of their stagings. Within one look the registry's own times say
        it; an alias, which has none, comes last.
    """
    here = {staging.version for staging in staged}
    seen = {version: past.replace(staged=False) for version, past in cursor.versions.items() if version not in here}
    triggers: list[Trigger] = []
    for staging in sorted(staged, key=_in_the_registrys_order):
        past = cursor.versions.get(staging.version)
        order = cursor.stagings + len(triggers) + 1
        seen[staging.version], is_new = _look_at(past, staging, now, order)
        if is_new:
            triggers.append(_trigger(staging.version, seen[staging.version]))
    return cursor.replace(versions=seen, stagings=cursor.stagings + len(triggers), looked=True), triggers


def _in_the_registrys_order(staging: Staging) -> tuple[bool, float]:
    return staging.staged_at is None, staging.staged_at or 0.0


def _look_at(past: Seen | None, staging: Staging, now: float, order: int) -> tuple[Seen, bool]:
    """What to remember of a staged version, and whether this is a new staging."""
    at, by_stage = staging.staged_at, staging.staged_at is not None
    if past is None or not past.staged:
        transitions = 1 + (past.transitions if past else 0)
        shown = now if at is None else at
        return Seen(
            staged_at=shown, transitions=transitions, staged=True, by_stage=by_stage, moved_at=at, order=order
        ), True
    known = past.stage_time
    moved = at is not None and known is not None and at != known
    return past.replace(
        staged_at=past.staged_at if at is None else at,
        transitions=past.transitions + moved,
        by_stage=by_stage,
        moved_at=known if at is None else at,
        order=order if moved else past.order,
    ), moved


def _trigger(version: str, seen: Seen) -> Trigger:
    run_key = f"{version}@{round(seen.staged_at * 1000)}#{seen.transitions}"
    return Trigger(version=version, staged_at=seen.staged_at, run_key=run_key, order=seen.order, by_stage=seen.by_stage)


def newest(triggers: Sequence[Trigger]) -> Trigger | None:
    """The trigger that was staged last, as far as that can be said."""
    return triggers[-1] if triggers else None


def choose(triggers: Sequence[Trigger]) -> tuple[list[Trigger], list[Overtaken]]:
    """What to deliver of one look, in this order, and what the registry's own order makes pointless.

    A version that is staged by alias alone has no place in that order: whether it came before or after the others
    cannot be known, so it is delivered and overtakes nothing.
    """
    last = newest([trigger for trigger in triggers if trigger.by_stage])
    overtaken = [Overtaken(trigger=one, by=last) for one in triggers if last and one.by_stage and one != last]
    pointless = [one.trigger for one in overtaken]
    return [trigger for trigger in triggers if trigger not in pointless], overtaken


def superseded(under_way: Sequence[UnderWay], by: Trigger) -> list[UnderWay]:
    """The deliveries that a later staging of another version makes pointless: by what was seen later, by no clock.

    Args:
        under_way: unfinished.
        by: the first trigger of a look that is delivered; what the same look started is not older.
    """
    return [run for run in under_way if run.version != by.version and run.order < by.order and not run.in_production]
