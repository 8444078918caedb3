"""Where releases run on a game day: replicas need time to start, routers follow when they do, and users are counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from typing_extensions import override

from banana_delivery.policy.model import Colour, Environment, ImageRef, RolloutRecord
from banana_delivery.targets.base import Claim
from banana_delivery.targets.fake_place import FakePlace
from tests.support.phases import SimulatedClock, WatchedTarget

START_SECONDS = 8.0
"""A replica needs so long until it answers, as the larger models do."""
PRODUCTION = Environment.PRODUCTION


@dataclass
class GameDayPlace(FakePlace):
    """Replicas that answer only some time after they were started.

    Attributes:
        now: the clock's seconds.
        images_away: whether nothing can be started, as no node gets the image.
        ready_at: when what was started answers, by colour of production.
    """

    now: Callable[[], float] = lambda: 0.0
    images_away: bool = False
    ready_at: dict[Colour, float] = field(default_factory=dict)

    @override
    def ready(self, environment: Environment, colour: Colour) -> int:
        if environment is PRODUCTION and self.ready_at.get(colour, 0.0) > self.now():
            return 0
        return super().ready(environment, colour)

    def started(self, colour: Colour) -> None:
        """The first replica of a colour begins to start."""
        self.ready_at[colour] = float("inf") if self.images_away else self.now() + START_SECONDS

    def images_are_back(self) -> None:
        """What waits for its image starts now."""
        self.images_away = False
        for colour, at in self.ready_at.items():
            if at == float("inf"):
                self.started(colour)

    def users_of(self, version: str) -> int:
        """Percent of production's users that the router sends to a version."""
        running = self.deployments[PRODUCTION]
        return sum(
            weight
            for colour, weight in self.weights[PRODUCTION].items()
            if colour in running and running[colour].image.version == version
        )

    def unanswered(self) -> int:
        """Percent of production's users that the router sends where nothing answers."""
        running = self.deployments[PRODUCTION]
        return sum(
            weight
            for colour, weight in self.weights[PRODUCTION].items()
            if weight and (colour not in running or not self.ready(PRODUCTION, colour))
        )


class GameDayTarget(WatchedTarget):
    """A target on such a place.

    Attributes:
        game_place: the same as ``place``.
        follows_after: seconds until the router takes a change of the weights up.
        meanwhile: what others do between the next look at production's record and whatever is decided by it.
        moved: called after each change of the weights.
    """

    def __init__(self, clock: SimulatedClock) -> None:
        super().__init__(clock)
        self._time = clock
        self.place = self.game_place = GameDayPlace(now=clock.monotonic)
        self.follows_after = 0.0
        self.meanwhile: list[Callable[[], object]] = []
        self.moved: list[Callable[[], object]] = []

    @override
    def record(self, environment: Environment) -> RolloutRecord:
        seen = super().record(environment)
        if environment is PRODUCTION:
            others, self.meanwhile = self.meanwhile, []
            for act in others:
                act()
        return seen

    @override
    def deploy(self, claim: Claim, colour: Colour, image: ImageRef, replicas: int) -> None:
        before = self.place.deployments[claim.environment].get(colour)
        super().deploy(claim, colour, image, replicas)
        runs = before is not None and before.replicas and before.image.digest == image.digest
        if claim.environment is PRODUCTION and not runs:
            self.game_place.started(colour)

    @override
    def set_weights(self, claim: Claim, weights: dict[Colour, int]) -> None:
        if claim.environment is PRODUCTION:
            self._time.sleep(self.follows_after)
        super().set_weights(claim, weights)
        if claim.environment is PRODUCTION:
            for look in list(self.moved):
                look()
