"""What monitoring is told, as Prometheus reads it."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from banana_delivery.delivery.observing.exposition import PipelineMetrics
from banana_delivery.delivery.observing.snapshot import EnvironmentState, Snapshot, SnapshotFile
from banana_delivery.delivery.rescue.deadman import watch
from banana_delivery.delivery.rescue.ticks import WATCHED, Ticks
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Environment, Outcome, Phase
from banana_delivery.policy.scorecard.totals import Totals, count
from banana_delivery.settings import Settings
from tests.support.clock import HandClock
from tests.support.ports import free_port

SHIFTING = EnvironmentState(
    phase=Phase.SHIFTING, under_way="8", serving="7", digest=f"sha256:{'a' * 64}", candidate_share=0.2
)


def attempt(outcome: Outcome, order: int, **facts: object) -> AttemptRecord:
    known = {
        "version": "7",
        "outcome": outcome,
        "reason": "So.",
        "at": 100.0 + order,
        "order": order,
        "run_id": f"r{order}",
    }
    return AttemptRecord.model_validate({**known, "seconds": 40.0, **facts})


TRAIL = [
    attempt(Outcome.RELEASED, 1, requests=90, failed=1),
    attempt(Outcome.RELEASED, 2, seconds=5000.0),
    attempt(Outcome.ROLLED_BACK, 3, rollback_seconds=0.4),
]


def samples(text: str) -> dict[tuple[str, frozenset[str]], float]:
    """The value of each series, by its name and the values of its labels."""
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def told(home: Path, snapshot: Snapshot | None = None) -> dict[tuple[str, frozenset[str]], float]:
    if snapshot:
        SnapshotFile(home).write(snapshot)
    return samples(PipelineMetrics(home).text())


def test_before_anything_was_seen_only_the_sensors_are_spoken_of(tmp_path: Path) -> None:
    found = told(tmp_path)
    assert {name for name, _ in found} == {"banana_delivery_sensor_silent"}
    assert found["banana_delivery_sensor_silent", frozenset({"reconcile"})] == 0


def test_every_end_is_counted_from_nothing_so_that_the_first_one_is_an_increase(tmp_path: Path) -> None:
    found = told(tmp_path, Snapshot(totals=count(Totals(), TRAIL)))
    counted = {outcome: found["banana_delivery_attempts_total", frozenset({outcome})] for outcome in Outcome}
    assert counted == {**dict.fromkeys(Outcome, 0), Outcome.RELEASED: 2, Outcome.ROLLED_BACK: 1}
    assert found["banana_delivery_rollout_requests_total", frozenset({"served"})] == 89


def test_durations_are_buckets_that_hold_all_below_them(tmp_path: Path) -> None:
    found = told(tmp_path, Snapshot(totals=count(Totals(), TRAIL)))
    buckets = {
        edge: found["banana_delivery_duration_seconds_bucket", frozenset({"released", edge})]
        for edge in ("30", "60", "900", "3600", "+Inf")
    }
    assert buckets == {"30": 0, "60": 1, "900": 1, "3600": 1, "+Inf": 2}
    assert found["banana_delivery_duration_seconds_sum", frozenset({"released"})] == 5040.0
    assert found["banana_delivery_rollback_seconds_bucket", frozenset({"0.5"})] == 1


def test_a_line_is_counted_once_however_often_it_is_read() -> None:
    once = count(Totals(), TRAIL)
    assert count(once, TRAIL) == once
    assert count(count(Totals(), TRAIL[:1]), TRAIL) == once


def test_an_environment_that_does_not_answer_is_said_and_nothing_about_it_is_made_up(tmp_path: Path) -> None:
    found = told(tmp_path, Snapshot(environments={Environment.PRODUCTION: SHIFTING}, silent=(Environment.STAGING,)))
    assert found["banana_delivery_environment_answers", frozenset({"staging"})] == 0
    assert found["banana_delivery_phase", frozenset({"production", "shifting"})] == 1
    assert found["banana_delivery_phase", frozenset({"production", "idle"})] == 0
    assert found["banana_delivery_candidate_share", frozenset({"production"})] == 0.2
    assert ("banana_delivery_phase", frozenset({"staging", "idle"})) not in found


def test_the_dead_man_says_who_is_silent_whatever_the_others_left(tmp_path: Path) -> None:
    clock, metrics = HandClock(), PipelineMetrics(tmp_path)
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "snapshot.json").write_text('{"cut off')
    Ticks(tmp_path).note("reconcile")
    watch(Settings(home=tmp_path), clock, rounds=80, metrics=metrics)
    found = samples((tmp_path / "metrics" / "banana-delivery.prom").read_text())
    assert {name: found["banana_delivery_sensor_silent", frozenset({name})] for name in WATCHED} == dict.fromkeys(
        WATCHED, 1
    )
    assert found["banana_delivery_sensor_last_tick_timestamp_seconds", frozenset({"reconcile"})] > 0


def test_whoever_asks_gets_the_same_page_and_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    SnapshotFile(tmp_path).write(Snapshot(totals=count(Totals(), TRAIL)))
    metrics = PipelineMetrics(tmp_path)
    port = free_port()
    stop = metrics.serve("127.0.0.1", port)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert samples(answer.read().decode()) == samples(metrics.text())
        with pytest.raises(OSError, match="in use"):
            metrics.serve("127.0.0.1", port)
    finally:
        stop()
