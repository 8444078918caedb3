"""Sensors that tick no more are noticed by somebody else, within a minute, by that one's own clock."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from banana_delivery.delivery.rescue import deadman
from banana_delivery.delivery.rescue.deadman import DeadMan, watch
from banana_delivery.delivery.rescue.ticks import WATCHED, Ticks, noted
from banana_delivery.notifications.messages import Notice
from banana_delivery.notifications.notifier import Notifier
from banana_delivery.policy.outcomes import Urgency
from banana_delivery.reports.terminal import ticks_view
from banana_delivery.settings import Settings
from tests.support.clock import HandClock


class Stage:
    """A dead man's switch, and sensors that tick as long as they are told to."""

    def __init__(self, home: Path) -> None:
        self.home, self.clock, self.told = home, HandClock(), list[Notice]()
        self.ticks = Ticks(home)
        self.switch = DeadMan("leaves", self.ticks, self.told.append, self.clock)
        self._stamp = 0

    def pass_time(self, seconds: float, ticking: tuple[str, ...] = WATCHED, stamps: int = 1) -> None:
        """Looks every five seconds; whoever ticks does so between them, at whatever hour its clock shows."""
        for _ in range(round(seconds / deadman.LOOK_SECONDS)):
            self.clock.sleep(deadman.LOOK_SECONDS)
            for sensor in ticking:
                self.ticks.note(sensor)
                self._stamp += stamps
                os.utime(self.home / "ticks" / sensor, (self._stamp, self._stamp))
            self.switch.look()


def test_a_daemon_that_dies_is_told_within_a_minute_and_once_and_so_is_its_return(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.pass_time(600.0)
    assert stage.told == []
    stage.pass_time(60.0, ticking=())
    (told,) = stage.told
    assert (told.title, told.urgency) == ("Nobody watches leaves: its sensors have stopped", Urgency.URGENT)
    assert all(sensor in told.body for sensor in WATCHED)
    stage.pass_time(3600.0, ticking=())
    assert len(stage.told) == 1
    stage.pass_time(30.0)
    assert [notice.title for notice in stage.told[1:]] == ["The sensors of leaves tick again"]
    stage.pass_time(60.0, ticking=())
    assert len(stage.told) == 3


def test_one_sensor_that_hangs_is_told_while_the_others_tick(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.pass_time(60.0)
    stage.pass_time(60.0, ticking=tuple(sensor for sensor in WATCHED if sensor != "production_watch"))
    (told,) = stage.told
    assert told.body.startswith("production_watch did not come to an end")


def test_sensors_that_never_begin_are_told_and_those_of_before_do_not_count(tmp_path: Path) -> None:
    for sensor in WATCHED:
        Ticks(tmp_path).note(sensor)
    stage = Stage(tmp_path)
    stage.pass_time(deadman.START_SECONDS, ticking=())
    assert stage.told == []
    stage.pass_time(deadman.LOOK_SECONDS, ticking=())
    assert len(stage.told) == 1


def test_a_clock_that_is_set_back_is_no_silence(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.pass_time(30.0, stamps=1000)
    stage.pass_time(600.0, stamps=-1)
    assert stage.told == []


def test_a_tick_that_fails_is_none(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)

    @noted("reconcile")
    def tick(*, settings: Settings, fails: bool) -> str:
        if fails:
            raise ValueError(settings)
        return "done"

    with pytest.raises(ValueError, match="home"):
        tick(settings=settings, fails=True)
    assert Ticks(tmp_path).mark("reconcile") is None
    assert tick(settings=settings, fails=False) == "done"
    assert Ticks(tmp_path).mark("reconcile") is not None


def test_the_process_tells_of_a_bad_channel_when_it_begins_and_survives_a_look_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path, notify_urls=["nosuch://secret"])  # type: ignore[list-item]
    clock = HandClock()

    def broken(_: DeadMan) -> set[str]:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(DeadMan, "look", broken)
        watch(settings, clock, rounds=2)
    watch(settings, clock, rounds=round(240.0 / deadman.LOOK_SECONDS))
    told = Notifier(tmp_path / "notifications.jsonl").sent()
    assert [notice.title for notice in told] == [
        "Notices of banana_sigatoka_detector do not go everywhere",
        "Nobody watches banana_sigatoka_detector: its sensors have stopped",
    ]
    assert "secret" not in told[0].body


def test_the_status_says_when_each_sensor_ticked() -> None:
    assert ticks_view({"reconcile": 90.0, "cool_down": None}, 100.0) == "Sensors: reconcile 10 s ago, cool_down never"
