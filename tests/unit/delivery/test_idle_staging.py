"""When staging's replicas go between deliveries."""

from __future__ import annotations

from pathlib import Path

import pytest

from banana_delivery.delivery.scale_down import scale_staging_down_if_due
from banana_delivery.errors import BadSettingsError, TargetError
from banana_delivery.policy.model import Colour, Environment, ImageRef
from banana_delivery.settings import Settings, load_settings
from banana_delivery.targets.base import Claim
from banana_delivery.targets.fake import FakeTarget
from banana_delivery.targets.sightings import sightings
from tests.support.clock import HandClock

PRODUCTION, STAGING, SOLE = Environment.PRODUCTION, Environment.STAGING, Colour.SOLE
IDLE_SECONDS = 600.0


class World:
    """Staging with a release, and a sensor that looks."""

    def __init__(self, home: Path, idle_seconds: float | None = IDLE_SECONDS) -> None:
        self.clock = HandClock()
        self.target = FakeTarget(clock=self.clock.time)
        self.settings = Settings(home=home, staging_idle_seconds=idle_seconds)
        claim = self.target.claim(STAGING, "run-1")
        release = ImageRef(repository="banana", digest="sha256:" + "1" * 64, version="1", key="key")
        self.target.deploy(claim, SOLE, release, 2)
        self.target.write(claim, self.target.record(STAGING).replace(active=SOLE))
        self.target.release(claim)

    def look_after(self, seconds: float = 0.0) -> str:
        self.clock.now += seconds
        return scale_staging_down_if_due(self.target, sightings(self.settings, self.clock), self.settings)

    @property
    def replicas(self) -> int:
        return self.target.record(STAGING).deployments[SOLE].replicas


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_by_default_staging_keeps_its_replicas(tmp_path: Path) -> None:
    world = World(tmp_path, Settings(home=tmp_path).staging_idle_seconds)
    world.look_after()

    assert world.look_after(1e6) == "Staging keeps its replicas."
    assert world.replicas == 2


def test_they_go_when_nothing_was_delivered_for_long_enough(world: World) -> None:
    world.look_after()
    assert world.look_after(IDLE_SECONDS - 1) == "Nothing to scale down in staging."
    assert world.replicas == 2

    assert world.look_after(1).startswith("Staging was scaled to nothing")
    record = world.target.record(STAGING)
    assert (world.replicas, record.owner, record.live) == (0, None, record.deployments[SOLE].image)
    world.look_after()
    assert world.look_after(IDLE_SECONDS) == "Nothing to scale down in staging."


def test_time_in_which_nobody_looked_does_not_count(world: World) -> None:
    assert world.look_after(1e6) == "Nothing to scale down in staging."
    assert world.replicas == 2


def test_what_was_put_on_record_and_not_done_is_done_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    scale = world.target.scale

    def half(claim: Claim, colour: Colour, replicas: int) -> None:
        scale(claim, colour, replicas)
        if not replicas:
            raise TargetError("The API server went away.")

    world.look_after()
    with monkeypatch.context() as broken:
        broken.setattr(world.target, "scale", half)
        with pytest.raises(TargetError, match="went away"):
            world.look_after(IDLE_SECONDS)
    assert (world.replicas, world.target.record(STAGING).owner) == (2, None)

    world.look_after()
    assert world.look_after(IDLE_SECONDS).startswith("Staging was scaled to nothing")


@pytest.mark.parametrize("environment", Environment)
def test_they_stay_as_long_as_anything_is_delivered_and_the_time_begins_anew(
    world: World, environment: Environment
) -> None:
    world.look_after()
    world.look_after(IDLE_SECONDS - 1)
    claim = world.target.claim(environment, "run-9")
    world.look_after(1e6)
    world.target.release(claim)
    world.look_after()
    world.look_after(IDLE_SECONDS - 1)
    assert world.replicas == 2

    world.look_after(1)
    assert world.replicas == 0


def test_so_short_a_time_that_it_could_end_between_two_steps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANANA_STAGING_IDLE_SECONDS", "10")
    with pytest.raises(BadSettingsError, match="BANANA_STAGING_IDLE_SECONDS"):
        load_settings()
