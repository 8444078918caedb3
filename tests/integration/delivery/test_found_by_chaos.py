"""What the fault simulator found, each as the few steps that it takes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import NoReturn

import dagster as dg
import pytest

from banana_delivery.defs.assets import production_release
from banana_delivery.defs.assets._run import DeliveryRun
from banana_delivery.delivery.publish_outcome import OutcomePublisher
from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.delivery.rescue import emergency
from banana_delivery.delivery.rollback import UNFINISHED_SECONDS
from banana_delivery.errors import FencedError, TargetError
from banana_delivery.names import PARTITION_TAG
from banana_delivery.notifications.notifier import Notifier
from banana_delivery.policy.asset_records import AttemptRecord, DecisionKind, ManualDecision
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
        if environment is Environment.PRODUCTION and next(answered) == 0:
            monkeypatch.undo()
            pipeline.roll_back(reason="It looks wrong.", version=second)
        return claim(pipeline.target, environment, owner, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(type(pipeline.target), "claim", claim_late)
    assert not pipeline.run(second, assets=["production_release"]).is_success

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
    run = pipeline.instance.add_run(dg.DagsterRun(job, tags={**pipeline.location.tags, **tags}, status=status))
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
    pipeline: PipelineHarness, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As earlier versions did: what serves was compared with itself.
    monkeypatch.setattr(DeliveryRun, "already_live", lambda *_: None)
    hook = PhaseHook(Environment.PRODUCTION, Phase.COMPARING)
    pipeline.target.at[hook] = lambda: pipeline.roll_back(reason="It looks wrong.")

    pipeline.run(second)

    assert pipeline.serving == FIRST
    assert [one.outcome for one in pipeline.attempts(second) if one.revoked] == [Outcome.ROLLED_BACK]


@pytest.fixture
def taken_out_before_its_line(pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch) -> str:
    """A version whose run proved its claim after the promotion, slept, and wrote its line after it was taken out."""
    version, log = pipeline.stage(BETTER), AuditLog.log

    def log_late(audit_log: AuditLog, attempt: AttemptRecord, report: Path) -> None:
        monkeypatch.undo()
        pipeline.roll_back(reason="It looks wrong.", version=version)
        log(audit_log, attempt, report)

    monkeypatch.setattr(AuditLog, "log", log_late)
    pipeline.run(version)
    assert [one.outcome for one in pipeline.attempts(version)] == [Outcome.ROLLED_BACK], (
        "the run's end is known already"
    )
    return version


def test_a_line_that_comes_after_its_version_was_taken_out_lets_it_in_no_more(
    pipeline: PipelineHarness, taken_out_before_its_line: str
) -> None:
    assert not pipeline.run(taken_out_before_its_line).is_success

    assert pipeline.attempts(taken_out_before_its_line)[0].outcome is Outcome.REJECTED
    assert pipeline.serving == FIRST


def test_a_line_that_comes_after_its_version_was_taken_out_is_no_release_to_go_back_to(
    pipeline: PipelineHarness, taken_out_before_its_line: str
) -> None:
    third = pipeline.stage(BETTER)
    assert pipeline.run(third).is_success
    claim = pipeline.target.claim(Environment.PRODUCTION, "an earlier version")
    pipeline.target.write(claim, production(pipeline).replace(previous=None))
    pipeline.target.release(claim)

    pipeline.roll_back(reason="This one too.")

    assert pipeline.serving == FIRST


def test_a_line_that_comes_late_does_not_spend_a_word_that_was_given_after_the_rollback(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, log = pipeline.stage(BETTER), AuditLog.log

    def log_late(audit_log: AuditLog, attempt: AttemptRecord, report: Path) -> None:
        monkeypatch.undo()
        pipeline.roll_back(reason="It looks wrong.", version=version)
        word = ManualDecision(kind=DecisionKind.OVERRIDE, version=version, by="Hal", reason="It must.", at=0.0)
        audit_log.record_decision(word)
        log(audit_log, attempt, report)

    monkeypatch.setattr(AuditLog, "log", log_late)
    pipeline.run(version)
    assert pipeline.serving == FIRST

    assert pipeline.run(version).is_success

    assert pipeline.serving == version


@pytest.mark.parametrize("fails", [AttemptRecorder.record, AuditLog.knows, AuditLog.log])
def test_a_release_that_could_not_be_put_on_record_is_no_error_afterwards(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., object]
) -> None:
    owner: type = AttemptRecorder if fails is AttemptRecorder.record else AuditLog
    version = pipeline.stage(BETTER)

    def fail_once(*_: object, **__: object) -> NoReturn:
        monkeypatch.undo()
        raise OSError("The database went away")

    monkeypatch.setattr(owner, fails.__name__, fail_once)
    pipeline.run(version)

    assert [one.outcome for one in pipeline.attempts(version)] == [Outcome.RELEASED]
    assert told_of(pipeline, f"version {version} is in production") == 1
    assert pipeline.serving == version


def lose_production_at_once(pipeline: PipelineHarness, version: str, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """A delivery begins its last step and does nothing there; what is on record of it then."""

    def lose(*_: object) -> NoReturn:
        raise FencedError("Somebody else has taken it over.")

    monkeypatch.setattr(production_release, "let_rollback_finish", lose)
    run = pipeline.run(version, assets=["production_release"])
    assert not run.is_success
    attempt = pipeline.attempts(version)[0]
    assert attempt.run_id == run.run_id
    return attempt.outcome


def test_a_delivery_of_what_serves_that_ends_at_once_released_nothing(
    pipeline: PipelineHarness, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lose_production_at_once(pipeline, second, monkeypatch) is Outcome.ERROR


def test_a_delivery_of_what_came_back_by_a_rollback_that_ends_at_once_released_nothing(
    pipeline: PipelineHarness, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.roll_back(reason="It looks wrong.")

    assert lose_production_at_once(pipeline, FIRST, monkeypatch) is Outcome.ERROR


def test_who_promoted_is_not_known_from_a_record_of_before_and_what_serves_is_believed(
    pipeline: PipelineHarness, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = pipeline.target.claim(Environment.PRODUCTION, "an earlier version")
    pipeline.target.write(claim, production(pipeline).replace(promoted_by=None))
    pipeline.target.release(claim)

    assert lose_production_at_once(pipeline, second, monkeypatch) is Outcome.RELEASED


def test_whoever_finishes_the_rollback_of_what_was_under_way_leaves_no_candidate(
    pipeline: PipelineHarness, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_the_answer(_: object) -> NoReturn:
        raise TargetError("Production does not answer any more.")

    def roll_back() -> None:
        with monkeypatch.context() as patched, pytest.raises(TargetError):
            patched.setattr(emergency, "attempt_of", lose_the_answer)
            pipeline.roll_back(reason="It looks wrong.")

    version = pipeline.stage(BETTER)
    pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.SCALING)] = roll_back
    pipeline.run(version)
    assert production(pipeline).candidate

    pipeline.tick("reconcile")

    assert (production(pipeline).candidate, production(pipeline).intent) == (None, None)
    assert [one.outcome for one in pipeline.attempts(version) if one.revoked] == [Outcome.ROLLED_BACK]
    assert pipeline.serving == second
