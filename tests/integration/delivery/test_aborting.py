"""A delivery that somebody ends hears of it by itself where Dagster cannot tell it, and says whose doing it was."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import dagster as dg
import psutil
import pytest

from banana_delivery.delivery.deciding.aborting import Aborted, say_abort
from banana_delivery.names import PARTITION_TAG, SUPERSEDED_TAG, TRIGGER_TAG, WORKER_TAG
from banana_delivery.policy.holds import AbortRecord
from banana_delivery.policy.model import Environment, Outcome, Phase
from banana_delivery.runs.lifecycle import identity
from tests.integration.delivery.moments import PROMOTED, cancel_at, is_at_rest
from tests.integration.delivery.serving import FIRST
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

SHIFTING = PhaseHook(Environment.PRODUCTION, Phase.SHIFTING)


def another_code_server(pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster notes the cancel and asks a code server that did not start this run, as after an upgrade."""

    def cancel(run_id: str) -> bool:
        pipeline.instance.report_run_canceling(pipeline.run_of(run_id))
        return False

    monkeypatch.setattr(pipeline.instance.run_coordinator, "cancel_run", cancel)


def no_code_server(pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it arrives anywhere, not even in Dagster's database."""

    def cancel(_: str) -> bool:
        raise ConnectionError("The code server is gone.")

    monkeypatch.setattr(pipeline.instance.run_coordinator, "cancel_run", cancel)


@pytest.mark.parametrize("unheard", [another_code_server, no_code_server])
def test_an_abort_that_nobody_could_tell_brings_the_users_back_at_the_next_look(
    pipeline: PipelineHarness,
    monkeypatch: pytest.MonkeyPatch,
    unheard: Callable[[PipelineHarness, pytest.MonkeyPatch], None],
) -> None:
    unheard(pipeline, monkeypatch)
    version = pipeline.stage(0.95)
    done: list[Aborted] = []
    looks: list[int] = []

    def abort() -> None:
        done.append(say_abort(pipeline.target, pipeline.audit_log, pipeline.clock, "Ada", "The wrong one."))
        pipeline.clock.on_sleep.append(lambda: looks.append(max(pipeline.weights.values())))

    pipeline.target.at[SHIFTING] = abort
    run = pipeline.run(version)

    assert run.status is dg.DagsterRunStatus.CANCELED
    assert done[0].told is False
    assert "could not tell its process" in done[0].sentence
    assert len(looks) <= 2
    is_at_rest(pipeline, FIRST)
    attempt = pipeline.attempts(version)[0]
    assert (attempt.outcome, attempt.actor, attempt.reason) == (
        Outcome.CANCELLED,
        "Ada",
        "Ada aborted it: The wrong one.",
    )
    assert pipeline.registry.describe(version).stage == "Staging"


@pytest.mark.parametrize("hook", [PhaseHook(Environment.STAGING, Phase.TESTING), SHIFTING, PROMOTED], ids=str)
def test_whatever_cancels_a_run_is_heard_without_a_signal(pipeline: PipelineHarness, hook: PhaseHook) -> None:
    version = pipeline.stage(0.95)
    cancel_at(hook, pipeline, version, told=False)
    pipeline.run(version)
    is_at_rest(pipeline, version if hook == PROMOTED else FIRST)
    attempt = pipeline.attempts(version)[0]
    assert attempt.outcome is (Outcome.RELEASED if hook == PROMOTED else Outcome.CANCELLED)


def dead(pipeline: PipelineHarness, version: str, **tags: str) -> dg.DagsterRun:
    """A delivery whose process is gone."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        run = pipeline.instance.create_run_for_job(
            pipeline.defs.resolve_job_def("deliver"),
            status=dg.DagsterRunStatus.STARTED,
            tags={PARTITION_TAG: version, **pipeline.location.tags, **tags},
        )
        worker = {WORKER_TAG: identity(run.run_id, psutil.Process(process.pid))}
        pipeline.instance.add_run_tags(run.run_id, worker)
    return pipeline.run_of(run.run_id)


@pytest.mark.parametrize("unheard", [another_code_server, no_code_server])
def test_what_was_aborted_and_died_before_it_could_say_so_is_cancelled_by_who_aborted_it(
    pipeline: PipelineHarness,
    monkeypatch: pytest.MonkeyPatch,
    unheard: Callable[[PipelineHarness, pytest.MonkeyPatch], None],
) -> None:
    unheard(pipeline, monkeypatch)
    version = pipeline.stage(0.95)
    run = dead(pipeline, version)
    say_abort(pipeline.target, pipeline.audit_log, pipeline.clock, "Ada", "The wrong one.")
    pipeline.tick("reconcile")
    pipeline.after(pipeline.run_of(run.run_id))
    (attempt,) = pipeline.attempts(version)
    assert (attempt.outcome, attempt.actor, attempt.reason) == (
        Outcome.CANCELLED,
        "Ada",
        "Ada aborted it: The wrong one.",
    )
    assert pipeline.run_of(run.run_id).status is dg.DagsterRunStatus.CANCELED


def test_what_dagster_fails_after_an_abort_is_cancelled_by_who_aborted_it(pipeline: PipelineHarness) -> None:
    version = pipeline.stage(0.95)
    run = dead(pipeline, version)
    pipeline.audit_log.record_abort(AbortRecord(run_id=run.run_id, by="Ada", reason="The wrong one.", at=1.0))
    pipeline.instance.report_run_failed(run, "Its pod is gone.")
    pipeline.after(pipeline.run_of(run.run_id))
    (attempt,) = pipeline.attempts(version)
    assert (attempt.outcome, attempt.actor) == (Outcome.CANCELLED, "Ada")


def test_what_a_button_of_dagster_cancelled_and_then_died_is_cancelled(pipeline: PipelineHarness) -> None:
    version = pipeline.stage(0.95)
    run = dead(pipeline, version)
    pipeline.instance.report_run_canceling(run)
    pipeline.instance.report_run_failed(pipeline.run_of(run.run_id), "Its pod is gone.")
    pipeline.after(pipeline.run_of(run.run_id))
    assert [one.outcome for one in pipeline.attempts(version)] == [Outcome.CANCELLED]


def test_one_dead_run_that_cannot_be_ended_keeps_no_other_and_is_told(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [dead(pipeline, pipeline.stage(0.95)) for _ in range(2)]
    stuck, fail = runs[1], pipeline.instance.report_run_failed

    def report(run: dg.DagsterRun, said: str) -> object:
        if run.run_id == stuck.run_id:
            raise ValueError("This row cannot be written.")
        return fail(run, said)

    monkeypatch.setattr(pipeline.instance, "report_run_failed", report)
    found = pipeline.tick("reconcile")
    assert isinstance(found, dg.SkipReason)
    assert "This row cannot be written" in str(found.skip_message)
    assert pipeline.run_of(runs[0].run_id).status is dg.DagsterRunStatus.FAILURE


def test_what_was_superseded_and_then_died_is_superseded(pipeline: PipelineHarness) -> None:
    version = pipeline.stage(0.95)
    run = dead(pipeline, version, **{TRIGGER_TAG: "sensor", SUPERSEDED_TAG: "9"})
    pipeline.tick("reconcile")
    pipeline.after(pipeline.run_of(run.run_id))
    (attempt,) = pipeline.attempts(version)
    assert (attempt.outcome, attempt.reason) == (Outcome.SUPERSEDED, "Version 9 was staged later.")


def test_what_was_promoted_before_the_abort_was_heard_is_not_the_doing_of_who_aborted(
    pipeline: PipelineHarness,
) -> None:
    version = pipeline.stage(0.95)
    cancel_at(PROMOTED, pipeline, version)
    cancel = pipeline.target.at[PROMOTED]

    def abort_and_cancel() -> None:
        (run,) = pipeline.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        pipeline.audit_log.record_abort(AbortRecord(run_id=run.run_id, by="Ada", reason="Too late.", at=1.0))
        cancel()

    pipeline.target.at[PROMOTED] = abort_and_cancel
    assert pipeline.run(version).status is dg.DagsterRunStatus.CANCELED
    attempt = pipeline.attempts(version)[0]
    assert (attempt.outcome, attempt.actor, pipeline.serving) == (Outcome.RELEASED, "", version)
