"""Metrics are asked when they are due, beside the loop: whoever does not answer keeps no look waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from banana_delivery.delivery.evidence import asking
from banana_delivery.delivery.evidence.own import OwnMetrics
from banana_delivery.policy.own_metrics.metric import Measurement, OwnMetric
from banana_delivery.policy.rollout.decision import StepVerdict, around_pause
from tests.unit.policy.own_metrics.metrics import SHARE, VALUE, metric
from tests.unit.policy.rollout.scene import GREEN, QUICK, USER, WATCH, Scene

GREENS, BLUES = ({"colour": colour, "digest": "sha256:ab", "version": "7"} for colour in ("green", "blue"))


@dataclass
class Source:
    """Says what it is told to, once it may.

    Attributes:
        value: of every metric.
        asked: metric and colour, each time.
        may: whether it answers.
    """

    value: float = 0.0
    asked: list[tuple[str, str]] = field(default_factory=list)
    may: threading.Event = field(default_factory=threading.Event)

    def measure(self, metric: OwnMetric, names: Mapping[str, str]) -> Measurement:
        self.asked.append((metric.name, names["colour"]))
        self.may.wait(10)
        return Measurement(value=self.value, total=100.0)


@pytest.fixture
def source() -> Source:
    source = Source()
    source.may.set()
    return source


def looked(scene: Scene, metrics: OwnMetrics, looks: int) -> list[StepVerdict]:
    metrics.begin()
    found = []
    for _ in range(looks):
        scene.serve(GREEN, USER, 40)
        found.append(metrics.assess(scene.look(), scene.state).verdict)
    return found


def test_both_releases_are_asked_about_at_each_interval(source: Source) -> None:
    metrics = OwnMetrics((metric(VALUE, interval_seconds=5),), source, QUICK, (GREENS, BLUES))
    looked(Scene(), metrics, 6)
    assert sorted(source.asked) == sorted([("empty", "green"), ("empty", "blue")] * 2)


def test_no_figure_of_a_release_without_users_is_asked_for(source: Source) -> None:
    both = metric(VALUE, name="figure"), metric(SHARE, name="counters")
    looked(Scene(WATCH), OwnMetrics(both, source, QUICK, (GREENS, BLUES)), 1)
    assert sorted(source.asked) == [("counters", "blue"), ("counters", "green"), ("figure", "green")]


def test_a_step_that_begins_again_after_a_trial_is_measured_anew(source: Source) -> None:
    metrics = OwnMetrics((metric(VALUE, interval_seconds=5),), source, QUICK, (GREENS, BLUES))
    source.value = 1.0
    looked(Scene(), metrics, 6)
    assert metrics.states["empty"].shared == 2
    source.value = 0.0
    looked(Scene(), metrics, 1)
    assert (len(source.asked), metrics.states["empty"].shared) == (6, 0)


@pytest.mark.parametrize("paused_seconds", [10, 600])
def test_a_fault_is_found_as_soon_however_long_the_step_was_paused(paused_seconds: int) -> None:
    scene, bad, total = Scene(), 0.0, 0.0

    class Counting(Source):
        def measure(self, metric: OwnMetric, names: Mapping[str, str]) -> Measurement:
            return Measurement(value=bad, total=total) if names["colour"] == "green" else Measurement(trouble="none")

    metrics = OwnMetrics((metric(SHARE, interval_seconds=1),), Counting(), QUICK, (GREENS, BLUES))
    metrics.begin()
    for _ in range(paused_seconds):
        total += 40
        assert metrics.assess(scene.look(), scene.state).verdict is not StepVerdict.FAIL
        scene.state = around_pause(scene.state, paused=True, before=True)
    looks = 0
    while looks < 20:
        looks, bad, total = looks + 1, bad + 40, total + 40
        if metrics.assess(scene.look(), scene.state).verdict is StepVerdict.FAIL:
            break
        scene.state = around_pause(scene.state, paused=True, before=True)
    assert looks <= 12


def test_what_names_no_release_is_asked_once(source: Source) -> None:
    whole = metric(VALUE, query="min_over_time(up[1m])")
    looked(Scene(), OwnMetrics((whole,), source, QUICK, (GREENS, BLUES)), 1)
    assert source.asked == [("empty", "green")]


def test_whoever_does_not_answer_keeps_no_look_waiting_and_the_step_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.02)
    silent, scene = Source(), Scene()
    both = metric(VALUE, name="one"), metric(SHARE, name="two")
    metrics = OwnMetrics(both, silent, QUICK, (GREENS, BLUES))
    began = time.monotonic()
    found = looked(scene, metrics, 10)
    assert time.monotonic() - began < 2
    assert scene.judgements[-1].verdict is StepVerdict.PASS
    assert set(found) == {StepVerdict.CONTINUE}
    assert len(silent.asked) == 4, "Both metrics are asked about both releases, once."
    silent.may.set()


def test_without_metrics_nothing_changes(source: Source) -> None:
    scene = Scene()
    judgement = scene.look()
    assert OwnMetrics((), source, QUICK, (GREENS,)).assess(judgement, scene.state) is judgement
