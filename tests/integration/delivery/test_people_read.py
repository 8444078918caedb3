"""What people see of a delivery besides its outcome: in Dagster, in the message, in the report."""

from __future__ import annotations

import io

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.evaluation.worst import file_of, keep_worst
from banana_delivery.notifications.messages import report_path
from banana_delivery.policy.model import Environment, ImageRef, Outcome, Phase, TrafficSource
from banana_delivery.policy.quality.comparison import QualityComparison
from banana_delivery.policy.quality.matching import Matches
from tests.integration.delivery.serving import FIRST
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

BETTER = 0.999


def test_a_rollback_is_told_with_its_report_its_evidence_and_all_that_users_saw(pipeline: PipelineHarness) -> None:
    pipeline.change(settings=pipeline.resources.settings.model_copy(update={"dagster_public_url": "https://pages"}))
    second = pipeline.stage(BETTER)
    pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.SHIFTING)] = lambda: pipeline.break_candidate(
        error_rate=0.5
    )
    run = pipeline.run(second)
    attempt, kept = pipeline.attempts(second)[0], pipeline.run_of(run.run_id)
    assert kept.tags["banana/outcome"] == attempt.outcome == Outcome.ROLLED_BACK
    assert attempt.reason.startswith(kept.tags["banana/reason"][:60])
    crossed = attempt.steps[-1].metrics.evidence[0]
    assert crossed.points[-1][1] >= 1.0
    users = attempt.steps[-1].metrics.sources[TrafficSource.USER]
    at_the_decision = int(attempt.reason.split(" of ")[0].split()[-1])
    assert attempt.steps[-1].metrics.failed >= at_the_decision
    told = pipeline.sent[-1]
    assert f"https://pages{report_path(attempt)}" in told.body and f"{users.failed:,} failed" in told.body
    assert told.report.endswith("-rolled_back.html")


def test_the_report_shows_the_images_on_which_the_models_differ(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, picture = pipeline.resources.settings.home, io.BytesIO()
    Image.new("RGB", (64, 48), "green").save(picture, "jpeg")

    def keep(ref: ImageRef, compared: QualityComparison, ours: Matches, theirs: Matches, _: object) -> None:
        nothing = np.zeros((0, 4)), np.zeros(0, np.int64), ours.class_names
        images = {one: LabelledImage(one, 64, 48, *nothing, jpeg=picture.getvalue()) for one in ours.names}
        keep_worst(file_of(home, ref.digest), compared, ours, theirs, images, "")

    monkeypatch.setattr(pipeline.evaluator, "keep_worst", keep)
    second = pipeline.stage(0.6)
    pipeline.run(second)
    [report] = (home / "reports").glob(f"version-{second}-*-rejected.html")
    page = report.read_text()
    assert page.count("<image href=") == 6
    assert "candidate: missed 1" in page


def test_a_version_that_a_person_takes_out_shows_what_its_users_got(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(BETTER)
    pipeline.run(second)
    pipeline.clock.sleep(30)
    attempt = pipeline.roll_back(reason="It misses streaks.")
    [step] = attempt.steps
    assert step.metrics.weight == 100
    assert step.metrics.sources[TrafficSource.USER].requests > 0
    assert f"Users: version {second} was given" in pipeline.sent[-1].body
    [report] = (pipeline.resources.settings.home / "reports").glob(f"version-{second}-*-rolled_back.html")
    assert "How it came into production" in report.read_text()


def test_a_refused_run_says_the_sentence_and_the_checks_carry_numbers(pipeline: PipelineHarness) -> None:
    version = pipeline.stage()
    pipeline.evaluator.broken[version] = "status 500 instead of 200"
    run = pipeline.run(version)
    pipeline.after(run)
    assert pipeline.run_of(run.run_id).tags["banana/outcome"] == Outcome.REJECTED
    said = [entry.message for entry in pipeline.instance.all_logs(run.run_id)]
    assert any(one.startswith(f"Version {version} rejected: ") and "status 500" in one for one in said)
    kinds = {dg.DagsterEventType.ASSET_CHECK_EVALUATION}
    records = pipeline.instance.get_records_for_run(run.run_id, of_type=kinds).records
    events = [one.event_log_entry.dagster_event for one in records]
    checks = {one.asset_check_evaluation_data.check_name: one.asset_check_evaluation_data for one in events if one}
    map50 = checks["quality"].metadata["mAP50"]
    assert isinstance(map50, dg.FloatMetadataValue) and 0 < (map50.value or 0) <= 1
    assert pipeline.serving == FIRST
