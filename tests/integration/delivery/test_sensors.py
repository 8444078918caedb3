"""The sensors beside the outcome table: triggering, superseding, finding the dead, watching and cooling down."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import dagster as dg
import psutil
import pytest

from banana_delivery.evaluation.holdout.read import Holdout, read
from banana_delivery.evaluation.http import HttpEvaluator
from banana_delivery.names import PARENT_RUN_TAG, STAGED_AT_TAG, TRIGGER_TAG, WORKER_TAG
from banana_delivery.policy.model import Colour, Environment, Outcome, Phase
from banana_delivery.policy.outcomes import Urgency
from banana_delivery.runs.lifecycle import Runs, identity
from banana_delivery.runs.partitions import ensure_partition
from banana_delivery.settings import Settings
from banana_delivery.targets.fake_place import Behaviour
from tests.integration.delivery.serving import FIRST
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness
from tests.unit.evaluation.holdout.layouts import coco128


def tick(pipeline: PipelineHarness, cursor: str | None = None) -> dg.SensorResult:
    result = pipeline.tick("staged_versions", cursor)
    assert isinstance(result, dg.SensorResult)
    return result


def run_under_way(pipeline: PipelineHarness, version: str, **tags: str) -> dg.DagsterRun:
    ensure_partition(pipeline.instance, version)
    return pipeline.instance.create_run_for_job(
        pipeline.defs.resolve_job_def("deliver"),
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": version, **pipeline.location.tags, **tags},
    )


def test_a_staged_version_is_delivered_once(pipeline: PipelineHarness) -> None:
    version = pipeline.stage()
    first = tick(pipeline)
    assert [request.partition_key for request in first.run_requests or []] == [version]
    assert isinstance(pipeline.tick("staged_versions", first.cursor), dg.SkipReason)


def test_staging_again_delivers_again(pipeline: PipelineHarness) -> None:
    version = pipeline.stage()
    first = tick(pipeline)
    pipeline.registry.stage(version)
    second = tick(pipeline, first.cursor)
    keys = [request.run_key for result in (first, second) for request in result.run_requests or []]
    assert len(set(keys)) == 2


def test_a_registry_that_is_down_skips_and_loses_nothing(pipeline: PipelineHarness) -> None:
    version = pipeline.stage()
    pipeline.registry.go_down()
    assert isinstance(pipeline.tick("staged_versions"), dg.SkipReason)
    pipeline.registry.come_back()
    assert [request.partition_key for request in tick(pipeline).run_requests or []] == [version]


def test_what_the_registry_could_not_be_told_it_is_told_at_the_next_look(pipeline: PipelineHarness) -> None:
    version = pipeline.stage(0.999)
    pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.WATCHING)] = pipeline.registry.go_down
    pipeline.run(version)
    pipeline.registry.come_back()
    assert pipeline.registry.describe(version).stage == "Staging"
    pipeline.tick("staged_versions")
    assert pipeline.registry.describe(version).stage == "Production"


def test_of_two_versions_staged_between_two_looks_the_last_is_delivered_and_the_other_logged(
    pipeline: PipelineHarness,
) -> None:
    earlier, later = pipeline.stage(), pipeline.stage()
    result = tick(pipeline)
    assert [request.partition_key for request in result.run_requests or []] == [later]
    assert [attempt.outcome for attempt in pipeline.attempts(earlier)] == [Outcome.SUPERSEDED]
    pipeline.tick("staged_versions", result.cursor)
    assert pipeline.registry.describe(earlier).stage == "None", "told when nothing waits for that"


def test_one_that_is_staged_again_before_the_registry_knows_that_it_was_overtaken_is_delivered(
    pipeline: PipelineHarness,
) -> None:
    earlier, _ = pipeline.stage(), pipeline.stage()
    first = tick(pipeline)
    pipeline.registry.stage(earlier)
    found = pipeline.tick("staged_versions", first.cursor)
    assert isinstance(found, dg.SensorResult)
    assert [request.partition_key for request in found.run_requests or []] == [earlier]


def test_an_owner_that_lives_is_not_robbed(pipeline: PipelineHarness) -> None:
    run = run_under_way(pipeline, pipeline.stage())
    Runs(pipeline.instance).sign_in(run.run_id)
    pipeline.target.claim(Environment.PRODUCTION, run.run_id)
    pipeline.tick("reconcile")
    assert pipeline.target.record(Environment.PRODUCTION).owner == run.run_id
    assert pipeline.run_of(run.run_id).status is dg.DagsterRunStatus.STARTED


def test_a_re_execution_is_not_taken_for_the_dead_run_whose_tags_it_copied(pipeline: PipelineHarness) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        dead = identity("the run before", psutil.Process(process.pid))
    run = run_under_way(pipeline, "1", **{WORKER_TAG: dead})
    pipeline.tick("reconcile")
    assert pipeline.run_of(run.run_id).status is dg.DagsterRunStatus.STARTED


def test_a_silent_owner_is_taken_for_dead(pipeline: PipelineHarness) -> None:
    pipeline.target.claim(Environment.STAGING, "Ada's laptop")
    assert pipeline.target.record(Environment.STAGING).heartbeat == pipeline.clock.now
    pipeline.tick("reconcile")
    assert pipeline.target.record(Environment.STAGING).owner == "Ada's laptop"
    pipeline.clock.now += 3600
    pipeline.tick("reconcile")
    assert pipeline.target.record(Environment.STAGING).owner is None


def test_an_owner_that_was_silent_only_while_the_place_was_away_is_left_alone(pipeline: PipelineHarness) -> None:
    claim = pipeline.target.claim(Environment.STAGING, "Ada's laptop")
    pipeline.tick("reconcile")
    pipeline.clock.now += 3600
    pipeline.clock.on_sleep.append(lambda: pipeline.target.heartbeat(claim))
    pipeline.tick("reconcile")
    assert pipeline.target.record(Environment.STAGING).owner == "Ada's laptop"


class Watch:
    """``production_watch``, and a release that went bad after its promotion."""

    def __init__(self, pipeline: PipelineHarness, **resources: object) -> None:
        self.pipeline = pipeline
        self.version = pipeline.stage(found=0.999)
        pipeline.run(self.version)
        self._sensor = pipeline.defs.resolve_sensor_def("production_watch")
        resources = {**pipeline.resources.by_key(), **resources}
        self._context = dg.build_sensor_context(instance=pipeline.instance, resources=resources)
        pipeline.clock.now = time.time()

    def look(self) -> str:
        answer = self._sensor(self._context)
        assert isinstance(answer, dg.SkipReason)
        return str(answer.skip_message)

    def look_at_errors(self) -> str:
        """Two looks, with errors between them."""
        self.look()
        live = self.pipeline.target.record(Environment.PRODUCTION).live
        assert live is not None
        self.pipeline.target.place.behaviours[live.digest] = Behaviour(error_rate=0.6)
        self.pipeline.clock.sleep(2.0)
        return self.look()

    @property
    def told(self) -> list[str]:
        return [notice.title for notice in self.pipeline.sent if "rollback" in notice.title]


def test_errors_after_the_promotion_roll_it_back_at_once_and_without_a_run(pipeline: PipelineHarness) -> None:
    watch = Watch(pipeline)
    runs = len(pipeline.instance.get_runs())
    assert "production_watch rolled production back" in watch.look_at_errors()
    assert len(pipeline.instance.get_runs()) == runs
    assert pipeline.serving == FIRST
    attempt = pipeline.attempts(watch.version)[0]
    assert (attempt.revoked, attempt.actor) == (True, "production_watch")
    assert watch.look().startswith("Nothing to watch")


def test_labelled_images_that_are_read_for_minutes_do_not_hold_a_rollback_up(
    pipeline: PipelineHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk, read_by = threading.Event(), list[str]()

    def slowly(path: Path, split: str) -> Holdout:
        read_by.append(threading.current_thread().name)
        disk.wait(60.0)
        return read(path, split)

    monkeypatch.setattr("banana_delivery.evaluation.http.read", slowly)
    monkeypatch.setattr("banana_delivery.delivery.watch.CONTROL_READING_SECONDS", 0.02)
    evaluator = HttpEvaluator(Settings(home=tmp_path, holdout=coco128(tmp_path / "data")))
    watch = Watch(pipeline, evaluator=evaluator)
    try:
        assert "production_watch rolled production back" in watch.look_at_errors()
        assert pipeline.serving == FIRST
        assert "labelled images are not read yet" in caplog.text
        assert not evaluator.ready(0.0)
    finally:
        disk.set()
    assert evaluator.ready(60.0), "the reading did not go on"
    assert read_by == ["read-holdout"], "a second thread read the same"


def test_a_rollback_that_fails_is_tried_at_the_next_look_and_the_second_failure_is_told_too(
    pipeline: PipelineHarness,
) -> None:
    watch, look = Watch(pipeline), Watch.look_at_errors
    for number in range(1, 5):
        pipeline.target.place.fail_next("claim", "The cluster does not answer.")
        assert f"failed {number} times" in look(watch)
        look = Watch.look  # No new evidence is needed.
        assert len(watch.told) == {1: 1, 2: 2, 3: 2, 4: 3}[number]
    told = pipeline.sent[-1]
    assert (told.title, told.urgency) == ("A rollback of banana_sigatoka_detector FAILED", Urgency.URGENT)
    assert "The cluster does not answer." in told.body
    assert "banana-delivery rollback --reason" in told.body
    watch.look()
    assert pipeline.serving == FIRST


def test_another_digest_than_recorded_is_told_once_and_rolls_nothing_back(pipeline: PipelineHarness) -> None:
    watch = Watch(pipeline)
    watch.look()
    live = pipeline.target.record(Environment.PRODUCTION).live
    assert live is not None
    pipeline.target.place.behaviours[live.digest] = Behaviour(reports=f"sha256:{'9' * 64}")
    for _ in range(3):
        pipeline.clock.sleep(2.0)
        watch.look()
    (told,) = [notice for notice in pipeline.sent if "does NOT run version" in notice.title]
    assert (told.urgency, f"sha256:{'9' * 12}" in told.body) == (Urgency.URGENT, True)
    assert pipeline.serving == watch.version


@pytest.mark.parametrize("digest", ["", f"sha256:{'9' * 64}"])
def test_the_job_says_nothing_of_what_has_gone_already_and_tells_every_failure(
    pipeline: PipelineHarness, digest: str
) -> None:
    config = {"ops": {"roll_back_production": {"config": {"reason": "Errors.", "digest": digest}}}}
    for _ in range(2):
        done = pipeline.defs.resolve_job_def("rollback").execute_in_process(
            instance=pipeline.instance, run_config=config, raise_on_error=False
        )
        assert done.success is bool(digest)
        if not done.success:
            pipeline.after(pipeline.run_of(done.run_id))
    told = [notice for notice in pipeline.sent if "rollback" in notice.title]
    assert len(told) == (0 if digest else 2)
    assert pipeline.serving == FIRST


def test_the_replaced_colour_cools_down_when_its_time_is_over(pipeline: PipelineHarness) -> None:
    pipeline.run(pipeline.stage(found=0.999))
    pipeline.tick("cool_down")
    assert pipeline.target.record(Environment.PRODUCTION).deployments[Colour.BLUE].replicas == 2
    pipeline.clock.now += pipeline.resources.settings.warm_seconds
    pipeline.tick("cool_down")
    record = pipeline.target.record(Environment.PRODUCTION)
    assert record.deployments[Colour.BLUE].replicas == 0
    assert record.deployments[Colour.GREEN].replicas == 2


def test_only_deliveries_of_the_sensor_before_production_are_superseded(pipeline: PipelineHarness) -> None:
    triggered = {TRIGGER_TAG: "sensor", STAGED_AT_TAG: "100.000"}
    mine = run_under_way(pipeline, "1", **triggered)
    run_under_way(pipeline, "2")
    run_under_way(pipeline, "3", **triggered, **{PARENT_RUN_TAG: mine.run_id})
    runs = Runs(pipeline.instance, pipeline.location)
    assert [(run.run_id, run.staged_at) for run in runs.under_way()] == [(mine.run_id, 100.0)]
