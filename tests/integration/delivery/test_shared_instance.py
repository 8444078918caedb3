"""A Dagster instance, and a target, that others use too: another code location, and a second pipeline of this kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin

from banana_delivery.names import STAGED_AT_TAG, TRIGGER_TAG
from banana_delivery.policy.model import Environment, Outcome
from banana_delivery.runs.code_location import PIPELINE, REPOSITORY
from banana_delivery.runs.lifecycle import Runs
from banana_delivery.runs.partitions import ensure_partition
from tests.integration.delivery.serving import FIRST
from tests.support import other_teams
from tests.support.other_teams import counted_queries, origin, their_failures, their_run, they_run
from tests.support.pipeline import PipelineHarness, open_pipeline

BETTER = 0.999
STARTED = dg.DagsterRunStatus.STARTED
ROLLBACK_CONFIG = {"ops": {"roll_back_production": {"config": {"reason": "Errors."}}}}


def our_failure(pipeline: PipelineHarness, version: str, job: str = "deliver", **more: object) -> dg.DagsterRun:
    """A run that our code location launched, and that failed before it could say anything."""
    ensure_partition(pipeline.instance, version, pipeline.location)
    run = pipeline.instance.create_run_for_job(
        pipeline.defs.resolve_job_def("deliver"),
        status=STARTED,
        tags={"dagster/partition": version},
        remote_job_origin=origin(job, pipeline.location.name),
        **more,  # type: ignore[arg-type]
    )
    pipeline.instance.report_run_failed(run, "It died.")
    return pipeline.run_of(run.run_id)


def partitions(pipeline: PipelineHarness) -> list[str]:
    return list(pipeline.instance.get_dynamic_partitions(pipeline.location.partitions.name or ""))


def look_later(pipeline: PipelineHarness) -> None:
    """What ``reconcile`` makes of what it has seen ended for a while."""
    pipeline.tick("reconcile")
    pipeline.clock.now += 120
    pipeline.tick("reconcile")


def test_thirty_failures_of_others_are_no_deliveries_and_hide_none_of_ours(empty_pipeline: PipelineHarness) -> None:
    pipeline = empty_pipeline
    version = pipeline.stage()
    our_failure(pipeline, version)
    theirs = their_failures(pipeline.instance, 30)

    for run in theirs[:3]:
        pipeline.after(run)
    look_later(pipeline)

    assert [attempt.outcome for attempt in pipeline.attempts(version)] == [Outcome.ERROR]
    assert [one.version for one in pipeline.audit_log.attempts()] == [version]
    assert [f"version {version} " in notice.title for notice in pipeline.sent] == [True]


def test_a_backfill_of_our_assets_that_failed_is_ours_though_its_job_is_dagsters(
    empty_pipeline: PipelineHarness,
) -> None:
    version = empty_pipeline.stage()
    our_failure(empty_pipeline, version, "__ASSET_JOB", asset_selection={empty_pipeline.location.key("image")})
    their_failures(empty_pipeline.instance, 3)

    look_later(empty_pipeline)

    assert [one.version for one in empty_pipeline.audit_log.attempts()] == [version]


def test_more_of_ours_than_one_look_takes_are_all_put_on_record(
    empty_pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("banana_delivery.delivery.record_attempt.MOST_RUNS", 2)
    versions = [empty_pipeline.stage() for _ in range(3)]
    for version in versions:
        our_failure(empty_pipeline, version)

    for _ in range(2):
        look_later(empty_pipeline)

    assert {one.version for one in empty_pipeline.audit_log.attempts()} == set(versions)


def test_a_tick_asks_no_more_where_others_have_more_runs(empty_pipeline: PipelineHarness) -> None:
    asked = []
    empty_pipeline.tick("reconcile")
    for more in 2, 40:
        their_failures(empty_pipeline.instance, more, first=1000 + more)
        with counted_queries() as queries:
            empty_pipeline.tick("reconcile")
            empty_pipeline.tick("staged_versions")
        asked.append(len(queries))

    assert asked[0] == asked[1] > 0


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"dagster/partition": "9"},
        {"dagster/partition": "9", STAGED_AT_TAG: "yesterday"},
    ],
    ids=["no partition", "no staging", "no time"],
)
def test_a_run_with_half_the_sensors_tags_does_not_stop_the_sensor(
    empty_pipeline: PipelineHarness, tags: dict[str, str]
) -> None:
    pipeline = empty_pipeline
    pipeline.instance.create_run_for_job(
        pipeline.defs.resolve_job_def("rollback"),
        status=STARTED,
        run_config=ROLLBACK_CONFIG,
        tags={TRIGGER_TAG: "sensor", **pipeline.location.tags, **tags},
        remote_job_origin=origin("rollback", pipeline.location.name),
    )
    their_run(pipeline.instance, "9", status=STARTED, tags={TRIGGER_TAG: "sensor"})
    version = pipeline.stage()

    result = pipeline.tick("staged_versions")

    assert isinstance(result, dg.SensorResult)
    assert [request.partition_key for request in result.run_requests or []] == [version]


def test_a_job_of_others_named_rollback_does_not_keep_ours_away(empty_pipeline: PipelineHarness) -> None:
    their_run(empty_pipeline.instance, "9", job="rollback", status=STARTED)
    runs = Runs(empty_pipeline.instance, empty_pipeline.location)
    assert not runs.latest_unfinished("rollback")
    empty_pipeline.instance.create_run_for_job(
        empty_pipeline.defs.resolve_job_def("rollback"),
        status=STARTED,
        run_config=ROLLBACK_CONFIG,
        remote_job_origin=origin("rollback", empty_pipeline.location.name),
    )
    assert runs.latest_unfinished("rollback")


def test_dagster_itself_shows_the_status_sensor_only_what_its_own_location_launched(
    empty_pipeline: PipelineHarness,
) -> None:
    pipeline = empty_pipeline
    sensor = pipeline.defs.resolve_sensor_def("after_failure")

    def evaluate(cursor: str | None) -> tuple[str | None, list[str]]:
        with dg.SensorEvaluationContext(
            instance_ref=None,
            instance=pipeline.instance,
            cursor=cursor,
            repository_name=REPOSITORY,
            resources=pipeline.defs.get_repository_def().get_top_level_resources(),
            code_location_origin=RegisteredCodeLocationOrigin(pipeline.location.name),
            sensor_name="after_failure",
        ) as context:
            ticked = sensor.evaluate_tick(context)
        return ticked.cursor, [one.dagster_run.run_id for one in ticked.dagster_run_reactions or [] if one.dagster_run]

    cursor, _ = evaluate(None)
    theirs = their_failures(pipeline.instance, 3)
    ours = our_failure(pipeline, pipeline.stage())
    _, seen = evaluate(cursor)

    assert seen == [ours.run_id]
    assert not {run.run_id for run in theirs} & {one.run_id for one in pipeline.audit_log.attempts()}


def test_with_a_prefix_a_delivery_passes_beside_assets_of_the_same_names(tmp_path: Path) -> None:
    with open_pipeline(tmp_path, dagster_prefix="team/bananas", dagster_pool="bananas") as pipeline:
        they_run(pipeline.instance, "1", fails=False)
        version = pipeline.stage(BETTER)

        assert pipeline.run(version).status is dg.DagsterRunStatus.SUCCESS

        assert pipeline.serving == version
        assert [attempt.outcome for attempt in pipeline.attempts(version)] == [Outcome.RELEASED]
        keys = {key.to_user_string() for key in pipeline.defs.resolve_all_asset_keys()}
        assert keys == {f"team/bananas/{asset}" for asset in (*PIPELINE, "rollout_log", "scorecard")}
        assert partitions(pipeline) == [version]
        assert pipeline.location.partitions.name == "team/bananas/model_version"


def test_a_delivery_whose_assets_another_location_makes_too_is_refused(empty_pipeline: PipelineHarness) -> None:
    they_run(empty_pipeline.instance, "1", fails=False)
    version = empty_pipeline.stage(BETTER)

    run = empty_pipeline.run(version)

    assert run.status is dg.DagsterRunStatus.FAILURE
    (attempt,) = empty_pipeline.attempts(version)
    assert attempt.outcome is Outcome.ERROR
    assert f"The asset image is made by the code location {other_teams.THEIRS}, too" in attempt.reason
    assert "BANANA_DAGSTER_PREFIX" in attempt.reason
    assert empty_pipeline.target.calls == []


def test_what_others_wrote_under_our_key_neither_hides_nor_stops_what_we_wrote(pipeline: PipelineHarness) -> None:
    live = pipeline.target.record(Environment.PRODUCTION).live
    assert live is not None
    they_run(pipeline.instance, FIRST, fails=False)

    assert pipeline.audit_log.image(FIRST, live.digest) == live
    assert pipeline.audit_log.made(live)


def test_without_the_pools_limit_a_delivery_does_not_begin_and_says_what_to_type(
    empty_pipeline: PipelineHarness,
) -> None:
    empty_pipeline.instance.event_log_storage.delete_concurrency_limit("delivery")
    version = empty_pipeline.stage(BETTER)

    empty_pipeline.run(version)

    (attempt,) = empty_pipeline.attempts(version)
    assert attempt.outcome is Outcome.ERROR
    assert "type: dagster instance concurrency set delivery 1" in attempt.reason
    assert empty_pipeline.target.calls == []
    assert "dagster instance concurrency set" in empty_pipeline.sent[-1].body


def test_a_limit_that_lets_two_deliveries_run_is_none(empty_pipeline: PipelineHarness) -> None:
    empty_pipeline.instance.event_log_storage.set_concurrency_slots("delivery", 2)
    version = empty_pipeline.stage(BETTER)

    empty_pipeline.run(version)

    assert "The limit of the pool delivery is 2" in empty_pipeline.attempts(version)[0].reason


@contextmanager
def second_pipeline(first: PipelineHarness, home: Path) -> Iterator[PipelineHarness]:
    """Another pipeline, with an instance and a registry of its own, that releases to the same place."""
    with open_pipeline(home, rival_wait_seconds=600.0, model_name="plantains") as second:
        second.target.place = first.target.place
        second.clock.target = second.target
        yield second


def test_a_version_of_the_same_number_that_another_pipeline_released_is_not_taken_for_ours(
    pipeline: PipelineHarness, tmp_path: Path
) -> None:
    with second_pipeline(pipeline, tmp_path / "second") as second:
        theirs = pipeline.target.record(Environment.PRODUCTION).live
        assert theirs is not None and theirs.version == FIRST
        ours = second.stage(found=0.1, checkpoint=b"plantains")
        assert ours == FIRST
        second.run(ours)

        (attempt,) = second.attempts(ours)
        assert attempt.outcome is Outcome.REJECTED
        assert attempt.serving_version == f"{FIRST} of another pipeline"
        assert second.registry.describe(ours).stage != "Production"
        (told,) = second.sent
        assert f"version {FIRST} of another pipeline ({theirs.digest[:19]})" in told.body
        assert "USERS" not in told.title


def test_another_pipelines_delivery_is_waited_for(pipeline: PipelineHarness, tmp_path: Path) -> None:
    with second_pipeline(pipeline, tmp_path / "second") as second:
        claim = pipeline.target.claim(Environment.PRODUCTION, "a run of the other pipeline")
        slept: list[float] = []

        def they_live_on() -> None:
            slept.append(second.clock.now)
            if len(slept) < 8:
                pipeline.target.place.records[Environment.PRODUCTION] = pipeline.target.record(
                    Environment.PRODUCTION
                ).replace(heartbeat=second.clock.now)
            elif len(slept) == 8:
                pipeline.target.release(claim)
            elif not second.target.calls:
                quiet.append(second.clock.now)

        quiet: list[float] = []
        second.clock.on_sleep.append(they_live_on)
        version = second.stage(BETTER, b"plantains")
        second.target.calls.clear()

        run = second.run(version)

        assert run.status is dg.DagsterRunStatus.SUCCESS, second.attempts(version)
        assert second.attempts(version)[0].outcome is Outcome.RELEASED
        assert len(quiet) >= 4  # Between two of its steps the other delivery has nothing for a moment.


def test_whoever_shows_no_life_is_not_waited_for_longer_than_that_takes(
    pipeline: PipelineHarness, tmp_path: Path
) -> None:
    with second_pipeline(pipeline, tmp_path / "second") as second:
        pipeline.target.claim(Environment.STAGING, "a run whose machine is gone")
        version = second.stage(BETTER, b"plantains")

        assert second.run(version).status is dg.DagsterRunStatus.SUCCESS, second.attempts(version)


def test_a_rival_that_never_ends_is_named_once_the_patience_is_over(pipeline: PipelineHarness, tmp_path: Path) -> None:
    with second_pipeline(pipeline, tmp_path / "second") as second:
        pipeline.target.claim(Environment.STAGING, "a run that goes on")

        def they_live_on() -> None:
            staging = pipeline.target.record(Environment.STAGING)
            pipeline.target.place.records[Environment.STAGING] = staging.replace(beat=staging.beat + 1)

        second.clock.on_sleep.append(they_live_on)
        second.run(second.stage(BETTER, b"plantains"))

        (attempt,) = second.attempts(FIRST)
        assert attempt.outcome is Outcome.ERROR
        assert "belongs to a run that goes on" in attempt.reason
