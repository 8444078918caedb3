"""The sensors beside the outcome table: triggering, superseding, finding the dead, watching and cooling down."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable

import dagster as dg
import psutil

from banana_delivery.delivery.attempts import PARENT_RUN_TAG, STAGED_AT_TAG, TRIGGER_TAG
from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.supersede import deliveries_under_way
from banana_delivery.delivery.worker import WORKER_TAG, identity, sign_in
from banana_delivery.partitions import ensure_partition
from banana_delivery.policy.outcomes import Outcome
from banana_delivery.policy.records import Colour, Environment, Phase
from banana_delivery.targets.fake_place import Behaviour
from tests.integration.delivery.serving import FIRST
from tests.world import World
from tests.world_edges import Moment


def tick(world: World, cursor: str | None = None) -> dg.SensorResult:
    result = world.tick("staged_versions", cursor)
    assert isinstance(result, dg.SensorResult)
    return result


def run_under_way(world: World, version: str, **tags: str) -> dg.DagsterRun:
    ensure_partition(world.instance, version)
    return world.instance.create_run_for_job(
        world.defs.resolve_job_def("deliver"),
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": version, **tags},
    )


def test_a_staged_version_is_delivered_once(world: World) -> None:
    version = world.stage()
    first = tick(world)
    assert [request.partition_key for request in first.run_requests or []] == [version]
    assert isinstance(world.tick("staged_versions", first.cursor), dg.SkipReason)


def test_staging_again_delivers_again(world: World) -> None:
    version = world.stage()
    first = tick(world)
    world.registry.stage(version)
    second = tick(world, first.cursor)
    keys = [request.run_key for result in (first, second) for request in result.run_requests or []]
    assert len(set(keys)) == 2


def test_a_registry_that_is_down_skips_and_loses_nothing(world: World) -> None:
    version = world.stage()
    world.registry.go_down()
    assert isinstance(world.tick("staged_versions"), dg.SkipReason)
    world.registry.come_back()
    assert [request.partition_key for request in tick(world).run_requests or []] == [version]


def test_what_the_registry_could_not_be_told_it_is_told_at_the_next_look(world: World) -> None:
    version = world.stage(0.999)
    world.target.at[Moment(Environment.PRODUCTION, Phase.WATCHING)] = world.registry.go_down
    world.run(version)
    world.registry.come_back()
    assert world.registry.describe(version).stage == "Staging"
    world.tick("staged_versions")
    assert world.registry.describe(version).stage == "Production"


def test_of_two_versions_staged_between_two_looks_the_last_is_delivered_and_the_other_logged(world: World) -> None:
    earlier, later = world.stage(), world.stage()
    result = tick(world)
    assert [request.partition_key for request in result.run_requests or []] == [later]
    assert [attempt.outcome for attempt in world.attempts(earlier)] == [Outcome.SUPERSEDED]
    assert world.registry.describe(earlier).stage == "None"


def test_an_owner_that_lives_is_not_robbed(world: World) -> None:
    run = run_under_way(world, world.stage())
    sign_in(world.instance, run.run_id)
    world.target.claim(Environment.PRODUCTION, run.run_id)
    world.tick("reconcile")
    assert world.target.record(Environment.PRODUCTION).owner == run.run_id
    assert world.run_of(run.run_id).status is dg.DagsterRunStatus.STARTED


def test_a_re_execution_is_not_taken_for_the_dead_run_whose_tags_it_copied(world: World) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        dead = identity("the run before", psutil.Process(process.pid))
    run = run_under_way(world, "1", **{WORKER_TAG: dead})
    world.tick("reconcile")
    assert world.run_of(run.run_id).status is dg.DagsterRunStatus.STARTED


def test_a_silent_owner_is_taken_for_dead(world: World) -> None:
    world.clock.now -= 3600
    world.target.claim(Environment.STAGING, "Ada's laptop")
    assert world.target.record(Environment.STAGING).heartbeat == world.clock.now
    world.tick("reconcile")
    assert world.target.record(Environment.STAGING).owner is None


def test_errors_after_the_promotion_ask_for_a_rollback(world: World) -> None:
    second = world.stage(found=0.999)
    world.run(second)
    context = dg.build_sensor_context(instance=world.instance, resources={"services": world.services})
    sensor = world.defs.resolve_sensor_def("production_watch")

    def rollbacks() -> list[dg.RunRequest]:
        answers = sensor(context)
        assert isinstance(answers, Iterable)
        return [answer for answer in answers if isinstance(answer, dg.RunRequest)]

    world.clock.now = time.time()
    assert rollbacks() == []
    live = world.target.record(Environment.PRODUCTION).live
    assert live is not None
    world.target.place.behaviours[live.digest] = Behaviour(error_rate=0.6)
    world.clock.sleep(2.0)
    requests = rollbacks()
    assert len(requests) == 1
    done = world.defs.resolve_job_def("rollback").execute_in_process(
        instance=world.instance, run_config=requests[0].run_config
    )
    assert done.success
    assert world.serving == FIRST
    assert world.attempts(second)[0].revoked


def test_the_replaced_colour_cools_down_when_its_time_is_over(world: World) -> None:
    world.run(world.stage(found=0.999))
    world.tick("cool_down")
    assert world.target.record(Environment.PRODUCTION).deployments[Colour.BLUE].replicas == 2
    with Lease(world.target, Environment.PRODUCTION, "Ada", heartbeat_seconds=1.0) as held:
        held.enter(Phase.IDLE, warm_until=1.0)
    world.tick("cool_down")
    record = world.target.record(Environment.PRODUCTION)
    assert record.deployments[Colour.BLUE].replicas == 0
    assert record.deployments[Colour.GREEN].replicas == 2


def test_only_deliveries_of_the_sensor_before_production_are_superseded(world: World) -> None:
    triggered = {TRIGGER_TAG: "sensor", STAGED_AT_TAG: "100.000"}
    mine = run_under_way(world, "1", **triggered)
    run_under_way(world, "2")
    run_under_way(world, "3", **triggered, **{PARENT_RUN_TAG: mine.run_id})
    assert [(run.run_id, run.staged_at) for run in deliveries_under_way(world.instance)] == [(mine.run_id, 100.0)]
