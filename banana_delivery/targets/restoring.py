"""Two copies of the rollout record, and what is believed when they differ: pure rules, shared by all targets.

The record itself is written first and its copy after it, so a copy is never newer than the record was. Whoever reads
both reads the copy, and what claims left on the objects, before the record: then a record that is older than either was
put back, and one that is missing was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from banana_delivery.errors import LostRecordError, TargetError
from banana_delivery.policy import commands
from banana_delivery.policy.drift import Observed
from banana_delivery.policy.model import COLOURS, Colour, Deployment, Environment, ImageRef, RolloutRecord
from banana_delivery.targets.base import RecordDamage


class KeptRecord(RolloutRecord):
    """A rollout record as it lies somewhere.

    Attributes:
        revision: grows with every write, whoever claims; 0 where an earlier version wrote.
    """

    revision: int = 0

    @property
    def order(self) -> tuple[int, int]:
        """Which of two was written later."""
        return self.generation, self.revision

    @property
    def told(self) -> RolloutRecord:
        """The record without what only its storage knows."""
        return RolloutRecord.read(_fields(self))


def kept(record: RolloutRecord, revision: int) -> KeptRecord:
    """A record as it is to be stored."""
    return KeptRecord.read({**_fields(record), "revision": revision})


def _fields(record: RolloutRecord) -> dict[str, object]:
    """What every record says, and what a newer version added."""
    own = {name: getattr(record, name) for name in RolloutRecord.model_fields if name != "schema_number"}
    return {**own, **(record.model_extra or {}), "schema": record.schema_number}


@dataclass(frozen=True)
class Found:
    """What lies in one of the two places.

    Attributes:
        where: the place, for people.
        record: None if there is none, or it cannot be read.
        fault: why it cannot be read; empty if it can, or nothing is there.
    """

    where: str
    record: KeptRecord | None = None
    fault: str = ""

    @property
    def order(self) -> tuple[int, int]:
        """Which of two was written later."""
        return self.record.order if self.record else (-1, -1)

    @property
    def state(self) -> str:
        """What is to be said of it beside a better one."""
        if self.fault:
            return f"cannot be read ({self.fault})"
        return "is an old one" if self.record else "is missing"


def parsed(where: str, text: str | bytes) -> Found:
    """What a stored text says; one that is half there says nothing."""
    try:
        return Found(where, KeptRecord.read_json(text))
    except ValidationError as error:
        first = str(error.errors()[0]["msg"]).rstrip(".")
        return Found(where, fault=f"it is no rollout record: {error.error_count()} errors, the first: {first}")
    except UnicodeDecodeError:
        return Found(where, fault="it is no text")


@dataclass(frozen=True)
class Traces:
    """What earlier claims left behind, apart from the record.

    Attributes:
        generation: the highest that stands on an object; 0 if none bears one.
        running: what of ours is there, for people.
    """

    generation: int = 0
    running: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settled:
    """What is believed.

    Attributes:
        record: the newest; a blank one on the first day.
        damage: what is wrong with what is stored; None if nothing is.
    """

    record: KeptRecord
    damage: RecordDamage | None = None

    @property
    def is_restored(self) -> bool:
        """Whether the record itself has to be written again."""
        return self.damage is not None and self.damage.restored


def settled(environment: Environment, first: Found, copy: Found, traces: Traces) -> Settled:
    """What is believed of an environment.

    Args:
        environment: which one.
        first: the record, read last.
        copy: its copy.
        traces: what else is left of earlier claims.

    Raises:
        LostRecordError: if neither is as new as the traces, and something of ours is there.
    """
    newest = first if first.order >= copy.order else copy
    untouched = not (first.fault or copy.fault or traces.generation or traces.running)
    if newest.record is None and untouched:
        return Settled(KeptRecord(environment=environment))
    if newest.record is None or newest.record.generation < traces.generation:
        raise LostRecordError(_lost(environment, first, copy, traces))
    if newest is copy:
        what = f"{first.where} {first.state}, so the record of {environment} was restored from {copy.where}"
        return Settled(newest.record, RecordDamage(f"{what}.", restored=True))
    if copy.order < first.order:
        what = f"The record of {environment} has no second copy that is up to date: {copy.where} {copy.state}."
        return Settled(newest.record, RecordDamage(what, restored=False))
    return Settled(newest.record)


def _lost(environment: Environment, first: Found, copy: Found, traces: Traces) -> str:
    if first.record or copy.record:
        said = f"{first.where} {first.state}, {copy.where} {copy.state}; the objects were changed under later claims"
    elif traces.running or traces.generation:
        there = ", ".join(traces.running) or f"the stamp of generation {traces.generation}"
        said = f"{first.where} {first.state}, {copy.where} {copy.state}, and this is not the first day ({there})"
    else:
        said = f"{first.where} {first.state}, {copy.where} {copy.state}"
    return (
        f"The record of {environment} is lost: {said}. Nothing was changed; to write one from what runs, type: "
        f"{commands.restore(environment)}"
    )


def above(environment: Environment, record: RolloutRecord, first: Found, copy: Found, traces: Traces) -> RolloutRecord:
    """A rebuilt record as it is to be claimed: nobody's, and of a generation that nothing is above.

    A newer record that can be read keeps its owner: whether that one may be replaced is for the claim to say.
    """
    newest = first if first.order >= copy.order else copy
    generations = [found.record.generation for found in (first, copy) if found.record]
    highest = max([traces.generation, *generations])
    stands = newest.record is not None and newest.record.generation >= traces.generation
    known = newest.record if stands else None
    return record.replace(
        environment=environment,
        generation=highest,
        owner=known.owner if known else None,
        beat=known.beat if known else 0,
        heartbeat=known.heartbeat if known else 0.0,
    )


def next_revision(*found: Found) -> int:
    """The number of the next write."""
    return 1 + max((one.record.revision for one in found if one.record), default=0)


@dataclass(frozen=True)
class Running:
    """What a record can be rebuilt from.

    Attributes:
        observed: weights, replicas and digests as router and replicas have them.
        images: what each colour was made from, by colour.
        answering: replicas that answer, by colour.
        main: the colour to which something beside the router leads as a whole; None if nothing does.
    """

    observed: Observed
    images: Mapping[Colour, ImageRef]
    answering: Mapping[Colour, int] = field(default_factory=dict)
    main: Colour | None = None


def rebuilt(
    environment: Environment, running: Running, known: RolloutRecord | None = None, active: Colour | None = None
) -> RolloutRecord:
    """A record from what runs.

    What cannot be seen (what served before, a rollback that is not on record yet) is taken from a record that is known
    to be old, as far as it still fits.

    Args:
        environment: which one.
        running: what runs there.
        known: the newest record that can be read, however old.
        active: the colour that a person says owns the traffic; None if that is to be found out.

    Raises:
        TargetError: if it cannot be told which colour owns the traffic, or the one that a person named does not answer.
    """
    deployments = {
        colour: Deployment(image=image, replicas=running.observed.replicas.get(colour, 0))
        for colour, image in running.images.items()
    }
    record = RolloutRecord(environment=environment, deployments=deployments)
    owner = _owner_of_traffic(environment, running, active)
    if known is not None:
        record = record.replace(intent=known.intent, rolled_back=known.rolled_back)
        if owner and known.live and known.live.digest == running.images[owner].digest:
            record = record.replace(
                previous=known.previous, scale_down_at=known.scale_down_at, promoted_by=known.promoted_by
            )
    if owner is None:
        return record
    weights = dict(running.observed.weights)
    whole = sum(weights.values()) == 100 and all(running.answering.get(colour) for colour, it in weights.items() if it)
    record = record.replace(active=owner)
    return record.replace(weights=weights if whole else record.resting_weights)


def _owner_of_traffic(environment: Environment, running: Running, asked: Colour | None) -> Colour | None:
    """The colour that owns the traffic at rest; None if nothing of ours runs."""
    answering = {colour for colour, count in running.answering.items() if count and colour in running.images}
    if asked is not None:
        if asked in answering:
            return asked
        raise TargetError(
            f"No replica of {asked} answers in {environment}, so it cannot own the traffic; nothing was changed."
        )
    if not any(running.observed.replicas.values()):
        return None
    if environment is Environment.STAGING:
        return Colour.SOLE
    weights = running.observed.weights
    whole = {colour for colour, weight in weights.items() if weight == 100}
    for colours in (whole, {running.main} if running.main else set()):
        if colours and colours <= answering:
            return next(iter(colours))
    seen = ", ".join(_said(running, colour) for colour in COLOURS[environment])
    example = next((colour for colour in COLOURS[environment] if colour in answering), COLOURS[environment][0])
    raise TargetError(
        f"What owns the traffic of {environment} cannot be told from what runs ({seen}); nothing was changed. Say "
        f"which colour it is, for example: {commands.restore(environment, active=example)}"
    )


def _said(running: Running, colour: Colour) -> str:
    image = running.images.get(colour)
    if image is None:
        return f"{colour}: nothing"
    count, weight = running.answering.get(colour, 0), running.observed.weights.get(colour, 0)
    return f"{colour}: version {image.version}, {count} replicas answer, {weight} % of the users by the router"
