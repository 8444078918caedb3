"""Whatever hands do to production and whoever tidies up: no colour that has users is ever scaled down."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from banana_delivery.delivery.recovery import make_good, take_over
from banana_delivery.delivery.rollback import scale_down_idle
from banana_delivery.delivery.scale_down import scale_down_if_due
from banana_delivery.errors import TargetError
from banana_delivery.policy.model import Colour, Environment, ImageRef
from banana_delivery.settings import Settings
from banana_delivery.targets.base import Claim
from banana_delivery.targets.fake import FakeTarget
from banana_delivery.targets.fake_place import Behaviour
from banana_delivery.targets.sightings import sightings
from tests.support.claims import steal
from tests.support.clock import HandClock

PRODUCTION, BLUE, GREEN = Environment.PRODUCTION, Colour.BLUE, Colour.GREEN
HEARTBEAT_SECONDS = 1000.0


def image(version: str) -> ImageRef:
    return ImageRef(repository="banana", digest="sha256:" + version * 64, version=version, key="key")


class Guarded(FakeTarget):
    """Fails the test when users lose replicas by anything but a hand."""

    @override
    def scale(self, claim: Claim, colour: Colour, replicas: int) -> None:
        super().scale(claim, colour, replicas)
        self._no_user_lost(colour, replicas)

    @override
    def deploy(self, claim: Claim, colour: Colour, image: ImageRef, replicas: int) -> None:
        super().deploy(claim, colour, image, replicas)
        self._no_user_lost(colour, replicas)

    def _no_user_lost(self, colour: Colour, replicas: int) -> None:
        assert replicas or not self.place.weights[PRODUCTION].get(colour), f"{colour} had users"

    @override
    def set_weights(self, claim: Claim, weights: dict[Colour, int]) -> None:
        before = self.observed(PRODUCTION)
        super().set_weights(claim, weights)
        answered = any(before.share(colour) for colour in Colour if before.answers(colour))
        for colour, weight in weights.items():
            assert not weight or before.answers(colour) or not answered, f"users were sent to {colour}, which is dead"


class World:
    """Production with version 2 on green, and version 1 warm on blue."""

    def __init__(self, home: Path) -> None:
        self.clock = HandClock()
        self.target = Guarded(clock=self.clock.time)
        claim = self.target.claim(PRODUCTION, "run-1")
        for colour, version in ((BLUE, "1"), (GREEN, "2")):
            self.target.deploy(claim, colour, image(version), 2)
        FakeTarget.set_weights(self.target, claim, {BLUE: 0, GREEN: 100})
        record = self.target.record(PRODUCTION)
        self.target.write(claim, record.replace(active=GREEN, scale_down_at=self.clock.now + 1000))
        self.target.release(claim)
        self._settings = Settings(home=home, warm_seconds=1000.0, heartbeat_seconds=HEARTBEAT_SECONDS)
        self.cool_down()

    def cool_down(self) -> None:
        """What the sensor does, who remembers when it saw the promotion first."""
        scale_down_if_due(self.target, sightings(self._settings, self.clock), self._settings)

    def tidy(self, how: Callable[[], object]) -> None:
        """Somebody tidies up; what is refused is refused."""
        with suppress(TargetError):
            how()

    def scale_down_under_a_claim(self) -> None:
        claim = steal(self.target, PRODUCTION, "Ada")
        try:
            scale_down_idle(self.target, claim)
        finally:
            self.target.release(claim)

    def act(self, name: str, number: int) -> None:
        place, colour = self.target.place, (BLUE, GREEN)[number % 2]
        match name:
            case "weights":
                place.edit_weights(PRODUCTION, {BLUE: number, GREEN: 100 - number})
            case "nobody":
                place.edit_weights(PRODUCTION, {})
            case "delete":
                place.delete_replicas(PRODUCTION, colour)
            case "replicas" if colour in place.deployments[PRODUCTION]:
                place.edit_replicas(PRODUCTION, colour, number % 4)
            case "silence":
                place.behaviours[image("12"[number % 2]).digest] = Behaviour(starting="It restarts.")
            case "answer":
                place.behaviours.clear()
            case "late":
                self.clock.now += 1001
            case "cool down":
                self.tidy(self.cool_down)
            case "scale down":
                self.tidy(self.scale_down_under_a_claim)
            case "make good":
                self.tidy(lambda: make_good(self.target, self.clock, HEARTBEAT_SECONDS))
            case "take over":
                self.tidy(lambda: take_over(self.target, PRODUCTION, "reconcile", self.clock))


HANDS = ["weights", "nobody", "delete", "replicas", "silence", "answer", "late"]
PIPELINE = ["cool down", "scale down", "make good", "take over"]


@settings(max_examples=60)
@given(acts=st.lists(st.tuples(st.sampled_from(HANDS + PIPELINE), st.integers(0, 100)), max_size=12))
def test_nothing_that_has_users_is_scaled_down_and_nobody_is_sent_to_the_dead(acts: list[tuple[str, int]]) -> None:
    with TemporaryDirectory() as home:
        world = World(Path(home))
        for act in acts:
            world.act(*act)
        world.act("answer", 0)
        world.act("make good", 0)
    observed, record = world.target.observed(PRODUCTION), world.target.record(PRODUCTION)
    assert record.active is GREEN
    assert (observed.weights, observed.answers(GREEN)) == ({BLUE: 0, GREEN: 100}, True)


def test_the_colour_that_got_all_users_by_hand_is_not_cooled_down(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.act("late", 0)
    world.target.place.edit_weights(PRODUCTION, {BLUE: 100, GREEN: 0})

    with pytest.raises(TargetError, match="Blue carries 100 % of production's traffic"):
        world.cool_down()

    assert world.target.observed(PRODUCTION).replicas[BLUE] == 2
