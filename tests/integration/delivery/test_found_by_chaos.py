"""What the fault simulator found, each as the few steps that it takes."""

from __future__ import annotations

from itertools import count
from typing import NoReturn

import dagster as dg
import pytest

from banana_delivery.delivery.publish_outcome import OutcomePublisher
from banana_delivery.delivery.rollback import UNFINISHED_SECONDS
from banana_delivery.names import PARTITION_TAG
from banana_delivery.notifications.notifier import Notifier
from banana_delivery.policy.model import Environment, Outcome, Phase, RolloutRecord
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.lifecycle import SIGN_IN_SECONDS
from tests.integration.delivery.serving import FIRST
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

BETTER = 0.9999


class KilledError(BaseException):
    """A process that is no more."""


def production(pipeline: PipelineHarness) -> RolloutRecord:
    return pipeline.target.record(Environment.PRODUCTION)


def killed(*_: object, **__: object) -> NoReturn:
    raise KilledError


def disk_is_full(*_: object) -> NoReturn:
    raise OSError("No space left on device")


def told_of(pipeline: PipelineHarness, words: str) -> int:
    return len([one for one in pipeline.sent if words in one.title])


@pytest.fixture
def second(pipeline: PipelineHarness) -> str:
    """A version that was released over the first one."""
    version = pipeline.stage(BETTER)
    assert pipeline.run(version).is_success
    return version


def begin_a_rollback_and_die(pipeline: PipelineHarness) -> None:
    """Its intent stands in the record, and nothing has moved."""
    pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.SCALING)] = killed
    with pytest.raises(KilledError):
        pipeline.roll_back(reason="It looks wrong.")
    assert production(pipeline).intent


def test_a_rollback_whose_owner_died_between_its_line_and_its_notice_is_told_and_marked(
    pipeline: PipelineHarness, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(OutcomePublisher, "publish", killed)
        with pytest.raises(KilledError):
            pipeline.roll_back(reason="It looks wrong.")
    assert told_of(pipeline, "ROLLED BACK") == 0

    for _ in range(2):
        pipeline.tick("reconcile")

    assert told_of(pipeline, "ROLLED BACK") == 1
    assert pipeline.registry.aliases["production"] == FIRST
    assert production(pipeline).intent is None


def test_a_rollback_that_could_not_be_told_is_kept_until_it_is(
    pipeline: PipelineHarness, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Notifier, "send", disk_is_full)
        pipeline.roll_back(reason="It looks wrong.")
        pipeline.tick("reconcile")
    assert production(pipeline).intent

    pipeline.tick("reconcile")

    assert told_of(pipeline, "ROLLED BACK") == 1
    assert production(pipeline).intent is None


def test_a_run_of_which_nobody_could_be_told_is_told_once_the_disk_has_room(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = pipeline.stage(BETTER)
    with monkeypatch.context() as patched:
        patched.setattr(Notifier, "send", disk_is_full)
        assert pipeline.run(version).is_success
    assert told_of(pipeline, f"version {version} is in production") == 0

    for _ in range(2):
        pipeline.tick("reconcile")

    assert told_of(pipeline, f"version {version} is in production") == 1


def test_a_rollback_that_is_put_on_record_after_a_later_release_does_not_count_as_the_latest_change(
    pipeline: PipelineHarness, second: str
) -> None:
    third = pipeline.stage(BETTER)
    assert pipeline.run(third).is_success
    pipeline.roll_back(reason="It looks wrong.", audit_log=False)
    left = production(pipeline)
    # A release that did not wait for it, as earlier versions made them.
    claim = pipeline.target.claim(Environment.PRODUCTION, "a delivery")
    fourth = production(pipeline).deployments[left.idle].image.replace(version="4", digest=f"sha256:{64 * '4'}")
    pipeline.target.deploy(claim, left.idle, fourth, 2)
    pipeline.target.set_weights(claim, {left.idle: 100, left.idle.other: 0})
    pipeline.target.write(claim, left.replace(active=left.idle, rolled_back="", previous=left.live))
    pipeline.target.release(claim)

    pipeline.tick("reconcile")

    assert (production(pipeline).intent, production(pipeline).rolled_back) == (None, "")
    pipeline.roll_back(reason="This one too.")
    assert pipeline.serving == second


def test_a_delivery_waits_until_a_rollback_that_was_begun_is_finished(pipeline: PipelineHarness, second: str) -> None:
    begin_a_rollback_and_die(pipeline)
    version = pipeline.stage(BETTER)
    finishing = count()

    def reconcile() -> None:
        if next(finishing) == 20:
            pipeline.tick("reconcile")

    pipeline.clock.on_sleep.append(reconcile)
    pipeline.run(version)
    assert [one.reason for one in pipeline.attempts(version) if one.outcome is not Outcome.RELEASED] == []

    assert [one.outcome for one in pipeline.attempts(second)] == [Outcome.ROLLED_BACK, Outcome.RELEASED]
    assert pipeline.serving == version
    assert production(pipeline).intent is None


def test_a_delivery_gives_up_if_nobody_finishes_the_rollback(pipeline: PipelineHarness, second: str) -> None:
    begin_a_rollback_and_die(pipeline)
    version, begun = pipeline.stage(BETTER), pipeline.clock.now

    assert not pipeline.run(version).is_success

    assert pipeline.clock.now > begun + UNFINISHED_SECONDS
    (attempt,) = pipeline.attempts(version)
    assert attempt.outcome is Outcome.ERROR
    assert "began to roll production back" in attempt.reason
    assert pipeline.serving == second


def test_what_was_rolled_back_while_its_second_delivery_waited_is_not_brought_back(
    pipeline: PipelineHarness, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate of that delivery had been passed before; what counts is what is on record once production is its own."""
    claim, answered = type(pipeline.target).claim, count()

    def claim_late(target: object, environment: Environment, owner: str, **options: object) -> object:
        if environment is Environment.PRODUCTION and next(answered) == 1:
            monkeypatch.undo()
            pipeline.roll_back(reason="It looks wrong.", version=second)
        return claim(pipeline.target, environment, owner, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(type(pipeline.target), "claim", claim_late)
    assert not pipeline.run(second).is_success

    assert pipeline.serving == FIRST
    assert pipeline.attempts(second)[0].outcome is Outcome.REJECTED


def test_two_who_record_the_same_end_at_the_same_moment_leave_one_line_to_read(
    pipeline: PipelineHarness, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (line,) = pipeline.attempts(second)
    with monkeypatch.context() as patched:
        patched.setattr(AuditLog, "knows", lambda log, attempt: False)
        pipeline.resources.recorder.record(pipeline.audit_log, line)

    assert [one.run_id for one in pipeline.attempts(second)] == [line.run_id]


@pytest.mark.parametrize(("job", "tags"), [("deliver", {PARTITION_TAG: "7"}), ("rollback", {})])
def test_a_run_that_died_before_it_said_which_process_works_on_it_is_ended(
    pipeline: PipelineHarness, job: str, tags: dict[str, str]
) -> None:
    status = dg.DagsterRunStatus.STARTING
    run = pipeline.instance.add_run(dg.DagsterRun(job, tags=tags, status=status))
    pipeline.instance.handle_new_event(
        dg.EventLogEntry(  # type: ignore[no-untyped-call]
            error_info=None,
            level="info",
            user_message="",
            run_id=run.run_id,
            timestamp=pipeline.clock.now,
            dagster_event=dg.DagsterEvent(event_type_value="PIPELINE_START", job_name=job),
        )
    )
    pipeline.tick("reconcile")
    assert pipeline.run_of(run.run_id).status is dg.DagsterRunStatus.STARTED

    pipeline.clock.now += SIGN_IN_SECONDS + 1
    pipeline.tick("reconcile")

    assert pipeline.run_of(run.run_id).status is dg.DagsterRunStatus.FAILURE


def test_a_rollback_while_what_serves_is_delivered_once_more_takes_it_out(
    pipeline: PipelineHarness, second: str
) -> None:
    hook = PhaseHook(Environment.PRODUCTION, Phase.COMPARING)
    pipeline.target.at[hook] = lambda: pipeline.roll_back(reason="It looks wrong.")

    pipeline.run(second)

    assert pipeline.serving == FIRST
    assert [one.outcome for one in pipeline.attempts(second) if one.revoked] == [Outcome.ROLLED_BACK]
