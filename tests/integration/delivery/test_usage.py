"""What retention may not take: an image that production can still be asked to go back to."""

from __future__ import annotations

from dataclasses import replace

from banana_delivery.delivery.image_build import in_use
from tests.integration.delivery.serving import FIRST
from tests.support.pipeline import World


def test_an_image_that_served_within_the_rollback_window_is_in_use_though_nothing_runs_it(world: World) -> None:
    digest = world.attempts(FIRST)[0].digest
    for found in (0.95, 0.999):
        world.run(world.stage(found))
    assert digest in in_use(world.instance, world.services)
    at_once = world.services.settings.model_copy(update={"rollback_window_days": 0.0})
    assert digest not in in_use(world.instance, replace(world.services, settings=at_once))
