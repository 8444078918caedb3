"""The staging sensor with a bell: it looks at once, decides as it always does, and starts one run for one staging."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import dagster as dg
import pytest
from typing_extensions import override

from banana_delivery.defs.sensors import LISTENING_SECONDS
from banana_delivery.model_registry.webhooks.bell import Bell
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.outages import Trouble
from banana_delivery.policy.staged_versions import parse_cursor
from tests.support.pipeline import PipelineHarness

Act = Callable[[], object]


def nothing() -> None:
    """Somebody rings for no reason."""


@dataclass
class ScriptedBell(Bell):
    """Rings once after each act, and not again.

    Attributes:
        acts: what happens in the registry before it rings.
        asked: for how long somebody would have waited, each time.
    """

    acts: list[Act]
    asked: list[float] = field(default_factory=list)
    rings: int = 0

    @override
    def heard(self) -> str | None:
        return str(self.rings)

    @override
    def wait(self, heard: str, seconds: float) -> str | None:
        assert heard == str(self.rings), "else it would ring for what was seen already"
        self.asked.append(seconds)
        if not self.acts or seconds <= 0:
            return None
        self.acts.pop(0)()
        self.rings += 1
        return str(self.rings)


@dataclass
class Sensor:
    """The sensor, tick by tick, with what it remembers."""

    pipeline: PipelineHarness
    cursor: str | None = None

    def tick(self, *acts: Act) -> list[dg.RunRequest]:
        """One tick, during which so much happens."""
        self.bell.acts, self.bell.asked = list(acts), []
        context = dg.build_sensor_context(
            instance=self.pipeline.instance,
            cursor=self.cursor,
            resources=self.pipeline.resources.by_key(),
            sensor_name="staged_versions",
        )
        result = self.pipeline.defs.resolve_sensor_def("staged_versions")(context)
        self.cursor = result.cursor if isinstance(result, dg.SensorResult) else context.cursor
        return list(result.run_requests or []) if isinstance(result, dg.SensorResult) else []

    @property
    def bell(self) -> ScriptedBell:
        bell = self.pipeline.resources.bell
        assert isinstance(bell, ScriptedBell)
        return bell


@pytest.fixture
def sensor(empty_pipeline: PipelineHarness) -> Sensor:
    """One that has looked before."""
    empty_pipeline.change(bell=ScriptedBell([]))
    sensor = Sensor(empty_pipeline)
    assert sensor.tick() == []
    return sensor


def test_what_is_staged_between_two_ticks_is_delivered_when_it_rings(sensor: Sensor) -> None:
    (request,) = sensor.tick(sensor.pipeline.stage)
    assert request.partition_key == "1"
    assert sensor.tick() == [], "the tick after it knows"


def test_a_staging_that_rings_often_and_is_polled_as_well_starts_one_run(sensor: Sensor) -> None:
    requests = sensor.tick(nothing, nothing, sensor.pipeline.stage, nothing)
    for _ in range(3):
        requests += sensor.tick(nothing, nothing)
    assert [request.partition_key for request in requests] == ["1"]


def test_each_of_two_stagings_of_one_version_starts_its_run(sensor: Sensor) -> None:
    registry = sensor.pipeline.registry
    first = sensor.tick(sensor.pipeline.stage)
    again = sensor.tick(nothing, lambda: registry.stage("1"))
    assert [request.partition_key for request in first + again] == ["1", "1"]
    assert len({request.run_key for request in first + again}) == 2


def test_of_two_versions_staged_before_it_rings_the_later_is_delivered(sensor: Sensor) -> None:
    def both() -> None:
        sensor.pipeline.stage()
        sensor.pipeline.stage()

    assert [request.partition_key for request in sensor.tick(both)] == ["2"]
    assert [attempt.outcome for attempt in sensor.pipeline.attempts("1")] == [Outcome.SUPERSEDED]


def test_a_registry_that_is_away_when_it_rings_loses_nothing(sensor: Sensor) -> None:
    registry = sensor.pipeline.registry
    assert sensor.tick(sensor.pipeline.registry.go_down) == []
    assert Trouble.UNREACHABLE in parse_cursor(sensor.cursor).outages
    registry.come_back()
    version = sensor.pipeline.stage()
    assert [request.partition_key for request in sensor.tick()] == [version]


def test_it_comes_to_its_end_before_the_daemon_comes_again_however_often_it_rings(sensor: Sensor) -> None:
    start = sensor.pipeline.clock.monotonic()
    assert sensor.tick(*[nothing] * 1000) == []
    assert sensor.bell.acts, "it stopped before they did"
    assert sensor.pipeline.clock.monotonic() - start < LISTENING_SECONDS + 0.1, "a look near its end is its last act"
    assert len(sensor.bell.asked) < 20
    assert sensor.bell.asked == sorted(sensor.bell.asked, reverse=True)


def test_where_a_slow_sensor_would_keep_others_waiting_it_does_not_listen(
    sensor: Sensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for told in ({}, {"use_threads": True, "num_workers": 4}, {"use_threads": False, "num_workers": 5}):
        monkeypatch.setattr(sensor.pipeline.instance, "get_sensor_settings", lambda told=told: told)
        assert sensor.tick(sensor.pipeline.stage) == []
        assert sensor.bell.asked == []
