"""People are told once and the registry ends right, whoever settles first and whatever is away at that moment."""

from __future__ import annotations

from banana_delivery.policy.model import Environment, Outcome, Phase
from tests.integration.delivery.outcome_rows import ends
from tests.integration.delivery.serving import FIRST
from tests.support.phases import Moment
from tests.support.pipeline import World

PROMOTING = Moment(Environment.PRODUCTION, Phase.PROMOTING)


def test_an_outcome_that_the_registry_could_not_be_told_is_made_good_by_the_sensor(world: World) -> None:
    version = world.stage(0.999)
    world.target.at[PROMOTING] = world.registry.go_down
    run = world.run_alone(version)
    world.registry.come_back()
    assert (world.serving, world.registry.describe(FIRST).stage) == (version, "Production")
    told = world.told
    assert told[-1].title.endswith(f"version {version} is in production")
    world.after(run)
    ends(world, version, run, Outcome.RELEASED)
    assert (world.registry.describe(version).stage, world.registry.describe(FIRST).stage) == ("Production", "Archived")
    assert world.told == told


def test_a_registry_that_is_away_for_op_and_sensor_is_told_once_it_is_back(world: World) -> None:
    version = world.stage(0.999)
    world.target.at[PROMOTING] = world.registry.go_down
    world.run(version)
    world.services.aftermath.catch_up()
    told = world.told
    world.registry.come_back()
    assert world.registry.describe(version).stage == "Staging"
    world.services.aftermath.catch_up()
    assert (world.registry.describe(version).stage, world.registry.describe(FIRST).stage) == ("Production", "Archived")
    assert world.registry.describe(version).tags["banana.outcome"] == Outcome.RELEASED
    assert world.services.aftermath.untold.attempts() == []
    assert world.told == told


def test_an_attempt_that_the_registry_never_heard_of_is_not_told_after_a_later_one(world: World) -> None:
    version = world.stage(0.5)
    world.target.at[Moment(Environment.STAGING, Phase.TESTING)] = world.registry.go_down
    world.run(version)
    assert world.attempts(version)[0].outcome is Outcome.REJECTED
    world.registry.come_back()
    world.evidence.found[version] = 0.999
    world.run(version)
    world.services.aftermath.catch_up()
    assert world.registry.describe(version).stage == "Production"
    assert world.registry.describe(version).tags["banana.outcome"] == Outcome.RELEASED


def test_a_version_that_was_deleted_is_not_looked_for_again_and_again(world: World) -> None:
    deleted = world.attempts(FIRST)[0].but(version="99", run_id="")
    world.services.aftermath.settle(deleted)
    assert world.told[-1].title.endswith("version 99 is in production")
    assert world.services.aftermath.untold.attempts() == []


def test_a_disk_that_cannot_be_written_does_not_fail_what_was_done(world: World) -> None:
    (world.services.settings.home / "untold").write_text("in the way")
    version = world.stage(0.999)
    world.target.at[PROMOTING] = world.registry.go_down
    run = world.run_alone(version)
    assert run.is_success
    assert world.serving == version


def test_a_sensor_that_comes_late_says_what_serves_now_and_not_what_served_then(world: World) -> None:
    second, third = world.stage(0.999), world.stage(0.999)
    late = world.run_alone(second)
    world.run(third)
    world.after(late)
    assert [world.registry.describe(version).stage for version in (FIRST, second, third)] == [
        "Archived",
        "Archived",
        "Production",
    ]
    assert world.registry.describe(second).tags["banana.outcome"] == Outcome.RELEASED


def test_a_rejected_run_is_told_once_although_op_and_sensor_both_settle(world: World) -> None:
    without_checkpoint = world.stage(checkpoint=None)
    by_the_op = world.run(without_checkpoint)
    world.after(by_the_op)
    regressed = world.stage(found=0.5)
    by_the_sensor = world.run(regressed)
    world.after(by_the_sensor)
    ends(world, without_checkpoint, by_the_op, Outcome.REJECTED)
    ends(world, regressed, by_the_sensor, Outcome.REJECTED)
