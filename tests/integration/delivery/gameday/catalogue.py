"""What is broken on a game day, one thing at a time, and what is promised all the same."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NoReturn
from unittest import mock

import dagster as dg

from banana_delivery.errors import NothingToRollBackError
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Outcome
from banana_delivery.runs.evidence.signing import Origin, sign
from banana_delivery.targets.restoring import KeptRecord
from tests.integration.delivery.gameday.day import BAD, DATABASE, HANGS_SECONDS, DatabaseError, Day, put_place
from tests.integration.delivery.gameday.place import PRODUCTION
from tests.integration.delivery.serving import FIRST
from tests.support.phases import NoPlots

HOUR = 3600.0
NEWER = 1000


@dataclass(frozen=True)
class Fault:
    """Something that is broken.

    Attributes:
        name: of the case, and in the documentation.
        apply: breaks it; how it is mended again is left with the day's ``faults``.
        promise: what holds all the same, in one sentence for people.
        warm: whether a replica of the release before answers.
        on_its_way: whether the bad release is still being delivered.
        takes: what nobody can use meanwhile.
        needs: without which there is no way back while this lasts.
        told_again: whether people may be told twice, since nobody knows whether they heard it the first time.
        chosen: whether it is paired with every other chosen one.
    """

    name: str
    apply: Callable[[Day], object]
    promise: str
    warm: bool = True
    on_its_way: bool = False
    takes: str = ""
    needs: str = ""
    told_again: bool = False
    chosen: bool = True


def impossible(*faults: Fault) -> str:
    """What the command says where these together leave no way back for now, as a pattern; empty where there is one."""
    missing = {one.needs for one in faults if one.needs} & {one.takes for one in faults if one.takes}
    if any(one.on_its_way for one in faults) or not missing:
        # The release before of one that is on its way is what serves: nobody has to look it up. Its image may be gone.
        missing -= {"history"}
    return {
        frozenset(): "",
        frozenset(
            {"history"}
        ): r"names no release before the present one, and the audit trail (does not answer|cannot)",
        frozenset({"images"}): r"users stay where they are, since blue does not answer: not one replica answered",
    }[frozenset(missing)]


def break_database(day: Day, fault: Callable[[], None]) -> None:
    """Whoever asks Dagster's database anything meets a fault."""
    day.database = fault

    def asked(*_: object, **__: object) -> NoReturn:
        fault()
        raise AssertionError("The database answered.")

    for name in (
        "fetch_materializations",
        "fetch_observations",
        "report_runless_asset_event",
        "get_run_by_id",
        "get_runs",
        "add_dynamic_partitions",
        "has_dynamic_partition",
    ):
        day.faults.enter_context(mock.patch.object(dg.DagsterInstance, name, asked))
    day.faults.callback(lambda: setattr(day, "database", lambda: None))


def audit_trail_away(day: Day) -> None:
    def refuse() -> NoReturn:
        raise DatabaseError("Connection refused.")

    break_database(day, refuse)


def database_hangs(day: Day) -> None:
    def hang() -> NoReturn:
        day.clock.now += HANGS_SECONDS
        raise DatabaseError("Canceling statement due to timeout.")

    break_database(day, hang)


def unreadable_line(day: Day) -> None:
    """Stays: nobody can mend a line of the event log."""
    location, half = day.pipeline.location, {"version": BAD, "outcome": "half of a li"}
    key = location.key("rollout_log")
    signature = sign(half, Origin("AttemptRecord", key.to_user_string(), BAD), location.evidence)
    day.pipeline.instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset_key=key,
            partition=BAD,
            metadata={"record": dg.MetadataValue.json(half), "signature": dg.MetadataValue.json(signature)},
        )
    )


def registry_away(day: Day) -> None:
    day.pipeline.registry.go_down()
    day.faults.callback(day.pipeline.registry.come_back)


def channel_hangs(day: Day) -> None:
    day.phone.hangs = True
    day.faults.callback(lambda: setattr(day.phone, "hangs", False))


class BrokenPlots(NoPlots):
    """Cannot draw."""

    def rollout(self, *facts: object, **options: object) -> bytes:
        raise MemoryError("No room for a picture.")

    quality = rollout

    def rollout_in_page(self, *facts: object, **options: object) -> str:
        raise MemoryError("No room for a picture.")

    quality_in_page = rollout_in_page


def report_not_drawn(day: Day) -> None:
    before = day.pipeline.resources
    day.pipeline.resources = replace(day.pipeline.resources, plots=BrokenPlots())
    day.faults.callback(setattr, day.pipeline, "resources", before)


def record_lost(day: Day) -> None:
    day.target.place.records.first.pop(PRODUCTION)


def record_half_written(day: Day) -> None:
    first = day.target.place.records.first
    whole = first[PRODUCTION]
    assert isinstance(whole, KeptRecord)
    text = whole.model_dump_json()
    first[PRODUCTION] = text[: len(text) // 2]


def old_record_put_back(day: Day) -> None:
    first = day.target.place.records.first
    new = day.target.place.records.copies[PRODUCTION]
    assert isinstance(new, KeptRecord)
    first[PRODUCTION] = new.replace(
        generation=new.generation - 1, revision=new.revision - 9, owner=None, candidate=None
    )


def disk_full(day: Day) -> None:
    """No file of this process may grow; SQLite, the notices and the reports meet that as they meet a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    day.faults.callback(resource.setrlimit, resource.RLIMIT_FSIZE, before)


def deployment_deleted(day: Day) -> None:
    record = day.target.record(PRODUCTION)
    old = next(colour for colour, one in record.deployments.items() if one.image.version == FIRST)
    day.target.place.delete_replicas(PRODUCTION, old)


def scaled_to_nothing(day: Day) -> None:
    record = day.target.record(PRODUCTION)
    old = next(colour for colour, one in record.deployments.items() if one.image.version == FIRST)
    day.target.place.edit_replicas(PRODUCTION, old, 0)


def one_replica_gone(day: Day) -> None:
    record = day.target.record(PRODUCTION)
    old = next(colour for colour, one in record.deployments.items() if one.image.version == FIRST)
    if old in day.target.place.deployments[PRODUCTION]:
        day.target.place.edit_replicas(PRODUCTION, old, 1)


def router_slow(day: Day) -> None:
    day.target.follows_after = 1.0
    day.faults.callback(lambda: setattr(day.target, "follows_after", 0.0))


def router_forgets(day: Day) -> None:
    """It is started anew from an old configuration once the rollback is done."""
    before = dict(day.target.place.weights[PRODUCTION])
    day.faults.callback(lambda: day.target.place.edit_weights(PRODUCTION, before))


def dead_delivery(day: Day) -> None:
    day.dies = True


def living_delivery(day: Day) -> None:
    """It shows life for as long as it has production."""
    seen = day.target.record(PRODUCTION)
    claim = None if seen.owner is None else seen

    def beat() -> None:
        now = day.target.record(PRODUCTION)
        if claim and (now.owner, now.generation) == (claim.owner, claim.generation):
            day.target.place.records[PRODUCTION] = now.replace(beat=now.beat + 1)

    day.target.meanwhile.append(beat)
    day.clock.on_sleep.append(beat)


def promotion_in_the_moment(day: Day) -> None:
    """Between the look and the claim of whoever rolls back, the delivery promotes."""
    kept = day.target.place

    def promote() -> None:
        broken = {name: value for name, value in vars(kept).items() if name in {"images_away", "ready_at"}}
        gone = {FIRST} - {one.image.version for one in kept.deployments[PRODUCTION].values()}
        put_place(day.pipeline, day.templates.promoted_place)
        vars(kept).update(broken)
        if gone:
            deployment_deleted(day)

    day.target.meanwhile.append(promote)


def another_rollback(day: Day) -> None:
    """Somebody else types it in that very moment."""

    def bea() -> None:
        with suppress(NothingToRollBackError):
            day.type_rollback("Bea")

    day.target.meanwhile.append(bea)


def clock_fast(day: Day) -> None:
    day.clock.stepped += HOUR
    day.faults.callback(lambda: setattr(day.clock, "stepped", 0.0))


def clock_slow(day: Day) -> None:
    day.clock.stepped -= HOUR
    day.faults.callback(lambda: setattr(day.clock, "stepped", 0.0))


def newer_attempts(day: Day) -> None:
    """A thousand of other versions, written the way Dagster keeps them."""
    pipeline = day.pipeline
    other = AttemptRecord(version="77", outcome=Outcome.REJECTED, reason="It finds little.", run_id="other", at=1.0)
    pipeline.audit_log.log(other, day.home / "none.html")
    with closing(sqlite3.connect(day.home / DATABASE)) as database, database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(event_logs)") if row[1] != "id"]
        ((last,),) = database.execute("SELECT max(id) FROM event_logs WHERE partition = '77'")
        names = ", ".join(columns)
        database.executemany(
            f"INSERT INTO event_logs ({names}) SELECT {names} FROM event_logs WHERE id = ?",
            [(last,)] * (NEWER - 1),
        )


def previous_missing(day: Day) -> None:
    """An earlier version of this program wrote the record."""
    place = day.target.place
    for lying in (place.records.first, place.records.copies):
        record = lying.get(PRODUCTION)
        if isinstance(record, KeptRecord):
            lying[PRODUCTION] = record.replace(previous=None)


def dagster_home_elsewhere(day: Day) -> None:
    day.faults.enter_context(mock.patch.dict("os.environ", {"DAGSTER_HOME": str(day.home / "elsewhere")}))


def image_store_away(day: Day) -> None:
    day.target.game_place.images_away = True
    day.faults.callback(day.target.game_place.images_are_back)


CATALOGUE = (
    Fault(
        "audit trail away",
        audit_trail_away,
        "The record of production knows where to go; the line is written when the trail is back.",
        takes="history",
    ),
    Fault(
        "a line that cannot be read",
        unreadable_line,
        "What cannot be read is passed over; the line is written beside it.",
        takes="history",
    ),
    Fault("database hangs", database_hangs, "It is asked only after the users are safe.", takes="history"),
    Fault("registry away", registry_away, "The version is marked when MLflow is back."),
    Fault("channel hangs", channel_hangs, "The notice is sent once more when its time has come.", told_again=True),
    Fault("report not drawn", report_not_drawn, "The line stands without a picture.", chosen=False),
    Fault("record lost", record_lost, "Its copy is believed, and stored again."),
    Fault("record half written", record_half_written, "Its copy is believed, and stored again.", chosen=False),
    Fault("old record put back", old_record_put_back, "Its copy is newer, and is believed."),
    Fault(
        "disk full",
        disk_full,
        "Whoever reads the channels is told; what could not be written is written later.",
        told_again=True,
        takes="history",
    ),
    Fault(
        "old colour scaled to nothing",
        scaled_to_nothing,
        "It is started first, and users move when one replica answers.",
        warm=False,
        needs="images",
        chosen=False,
    ),
    Fault(
        "its Deployment deleted",
        deployment_deleted,
        "It is made again first, and users move when one replica answers.",
        warm=False,
        needs="images",
    ),
    Fault("one of two replicas gone", one_replica_gone, "The one that answers is enough; the other comes up after."),
    Fault("router slow", router_slow, "Users have moved when it follows, and not before is anything scaled down."),
    Fault("router forgets", router_forgets, "The next look at production sends the users back where they belong."),
    Fault(
        "a dead delivery has production",
        dead_delivery,
        "It is fenced off; its run is failed by reconcile.",
        on_its_way=True,
    ),
    Fault("a delivery is under way", living_delivery, "It is fenced off, and ends by itself.", on_its_way=True),
    Fault(
        "promotion in that moment",
        promotion_in_the_moment,
        "What was just promoted goes, since the claim is judged anew.",
        on_its_way=True,
    ),
    Fault("somebody else rolls back", another_rollback, "One of both does it; the other is told so."),
    Fault("clock an hour fast", clock_fast, "No clock decides anything.", chosen=False),
    Fault("clock an hour slow", clock_slow, "No clock decides anything."),
    Fault("a thousand newer attempts", newer_attempts, "The trail is read as far as it takes."),
    Fault("release before not in the record", previous_missing, "The audit trail knows it.", needs="history"),
    Fault("DAGSTER_HOME elsewhere", dagster_home_elsewhere, "The pipeline's own instance is used.", chosen=False),
    Fault("image store away", image_store_away, "What is warm needs no image.", takes="images"),
)
PAIRS = tuple(combinations([one for one in CATALOGUE if one.chosen], 2))
