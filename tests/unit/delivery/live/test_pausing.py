"""Who keeps a delivery where it is: asked at every look, told when it lasts, and signed when it is to go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest

from banana_delivery.delivery.live import beside
from banana_delivery.delivery.live.pausing import TOLD_SECONDS, PauseWatch, say_pause
from banana_delivery.errors import DagsterError, GateError
from banana_delivery.notifications.alarms import paused_long
from banana_delivery.policy.holds import PauseRecord
from banana_delivery.policy.model import Environment
from banana_delivery.policy.outcomes import Urgency
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import PAUSES, CodeLocation
from banana_delivery.runs.records import to_metadata
from banana_delivery.settings import Settings
from banana_delivery.targets.fake import FakeTarget
from banana_delivery.waiting import wait_until
from tests.support.clock import HandClock

ADA = PauseRecord(run_id="run", version="7", paused=True, by="Ada", reason="Lunch.", at=1000.0)


@dataclass
class Trail:
    """What is said of a delivery, and whether anybody answers who is asked for it."""

    said: PauseRecord | None = None
    away: bool = False
    told: list[float] = field(default_factory=list)

    def ask(self) -> PauseRecord | None:
        if self.away:
            raise DagsterError("The database is away.")
        return self.said

    def watch(self, clock: HandClock) -> PauseWatch:
        return PauseWatch(self.ask, lambda _, seconds: self.told.append(seconds), clock)


def test_while_nobody_answers_what_was_known_last_holds() -> None:
    trail, clock = Trail(), HandClock()
    watch = trail.watch(clock)
    trail.away = True
    assert watch() == ""
    trail.away, trail.said = False, ADA
    assert watch() == "Ada: Lunch."
    trail.away, trail.said = True, None
    assert watch() == "Ada: Lunch."
    trail.away = False
    assert watch() == ""


def test_an_audit_trail_that_hangs_keeps_no_look_waiting_and_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "PATIENCE_SECONDS", 0.01)
    answers, asked = threading.Event(), []

    def hang() -> PauseRecord | None:
        asked.append(True)
        answers.wait(30)
        return ADA

    watch = PauseWatch(hang, lambda *_: None, HandClock())
    assert [watch(), watch(), watch()] == ["", "", ""]
    assert len(asked) == 1
    answers.set()
    wait_until(lambda: watch() == "Ada: Lunch.", 10.0, lambda _: AssertionError("it never heard of it"), pause=0.01)


def test_a_pause_that_lasts_is_told_and_again_when_it_has_lasted_twice_as_long() -> None:
    trail, clock = Trail(ADA), HandClock()
    watch = trail.watch(clock)
    for _ in range(round(5 * TOLD_SECONDS / 60)):
        watch()
        clock.sleep(60)
    assert trail.told == [TOLD_SECONDS, 2 * TOLD_SECONDS, 4 * TOLD_SECONDS]


def test_another_pause_is_timed_from_its_own_beginning() -> None:
    trail, clock = Trail(ADA), HandClock()
    watch = trail.watch(clock)
    watch()
    clock.sleep(TOLD_SECONDS - 1)
    trail.said = None
    watch()
    trail.said = ADA
    watch()
    clock.sleep(TOLD_SECONDS - 1)
    watch()
    assert trail.told == []


def test_people_are_asked_what_becomes_of_it() -> None:
    notice = paused_long("leaves", ADA, 1800.0)
    assert notice.urgency is Urgency.ASKS
    assert notice.title == "Version 7 of leaves has been paused for 30 minutes"
    assert "Ada: Lunch." in notice.body
    assert "banana-delivery resume --reason" in notice.body


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AuditLog]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield AuditLog(instance, CodeLocation.of(Settings(home=tmp_path)))


def forge(log: AuditLog, said: PauseRecord) -> None:
    """A stranger reports a record that nobody signed."""
    observation = dg.AssetObservation(asset_key=log.location.key(PAUSES), metadata=to_metadata(said))
    log.instance.report_runless_asset_event(observation)


def test_a_pause_counts_whoever_wrote_it_and_only_a_signed_word_lets_go_on(log: AuditLog) -> None:
    assert log.pause("run") is None
    forge(log, ADA)
    assert log.pause("run") == ADA
    forge(log, ADA.replace(paused=False))
    assert log.pause("run") == ADA
    log.record_pause(ADA.replace(paused=False))
    assert log.pause("run") is None
    log.record_pause(ADA)
    assert log.pause("run") == ADA
    assert log.pause("another") is None


@pytest.mark.parametrize("paused", [True, False])
def test_where_no_delivery_is_under_way_there_is_nothing_to_pause(log: AuditLog, *, paused: bool) -> None:
    target = FakeTarget()
    for owner in (None, "reconcile"):
        if owner:
            target.claim(Environment.PRODUCTION, owner)
        with pytest.raises(GateError, match="No delivery is under way in production"):
            say_pause(target, log, HandClock(), "Ada", "Lunch.", paused=paused)
