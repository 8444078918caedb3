"""The way back works when everything else does not, and takes out only what was meant."""

from __future__ import annotations

from typing import NoReturn

import pytest

from banana_delivery.delivery.rescue.emergency import EmergencyRollback
from banana_delivery.errors import NothingToRollBackError
from banana_delivery.policy.model import Colour, Environment, Outcome, Phase, RolloutRecord
from banana_delivery.runs.audit_log import AuditLog
from tests.integration.delivery.serving import FIRST
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

BETTER = 0.9999
BACK = {Colour.BLUE: 100, Colour.GREEN: 0}


class KilledError(BaseException):
    """A process that is no more."""


def production(pipeline: PipelineHarness) -> RolloutRecord:
    return pipeline.target.record(Environment.PRODUCTION)


@pytest.fixture
def second(pipeline: PipelineHarness) -> str:
    """A version that was released over the first one."""
    version = pipeline.stage(BETTER)
    assert pipeline.run(version).is_success
    return version


def is_rolled_back(pipeline: PipelineHarness, version: str) -> None:
    assert (pipeline.weights, pipeline.serving) == (BACK, FIRST)
    assert [one.outcome for one in pipeline.attempts(version)] == [Outcome.ROLLED_BACK, Outcome.RELEASED]
    assert pipeline.attempts(version)[0].revoked
    assert production(pipeline).intent is None
    told = [notice for notice in pipeline.sent if "ROLLED BACK" in notice.title]
    assert len(told) == 1


def test_it_needs_no_audit_trail_and_is_put_on_record_later(pipeline: PipelineHarness, second: str) -> None:
    pipeline.roll_back(reason="It looks wrong.", audit_log=False)

    assert (pipeline.weights, pipeline.serving) == (BACK, FIRST)
    assert "ROLLED BACK" in pipeline.sent[-1].title
    assert [one.outcome for one in pipeline.attempts(second)] == [Outcome.RELEASED]
    for _ in range(2):
        pipeline.tick("reconcile")
    is_rolled_back(pipeline, second)


def test_what_would_go_and_come_is_what_does_and_asking_changes_nothing(pipeline: PipelineHarness, second: str) -> None:
    parts, before = pipeline.resources, production(pipeline)
    rescue = EmergencyRollback(parts.release_target, parts.recorder, pipeline.audit_log, print, parts.image_store)

    bad, good = rescue.sides()

    assert good is not None
    assert (bad.version, good.digest) == (second, before.previous.digest if before.previous else "")
    assert (production(pipeline), pipeline.serving) == (before, second)
    with pytest.raises(NothingToRollBackError):
        rescue.sides(version="99")
    pipeline.roll_back(reason="It looks wrong.")
    assert production(pipeline).live == good


def test_a_history_that_cannot_be_read_or_written_stops_nothing(
    pipeline: PipelineHarness, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> NoReturn:
        raise RuntimeError("The database is gone.")

    with monkeypatch.context() as patched:
        patched.setattr(AuditLog, "attempts", broken)
        pipeline.roll_back(reason="It looks wrong.")
        assert (pipeline.weights, pipeline.serving) == (BACK, FIRST)
    pipeline.tick("reconcile")
    is_rolled_back(pipeline, second)


@pytest.mark.parametrize("phase", [Phase.ROLLING_BACK, Phase.SCALING])
def test_one_that_was_killed_on_its_way_is_finished(pipeline: PipelineHarness, second: str, phase: Phase) -> None:
    def die() -> NoReturn:
        raise KilledError

    pipeline.target.at[PhaseHook(Environment.PRODUCTION, phase)] = die
    with pytest.raises(KilledError):
        pipeline.roll_back(reason="It looks wrong.")
    assert pipeline.serving == second
    for _ in range(2):
        pipeline.tick("reconcile")
    is_rolled_back(pipeline, second)


def test_typed_twice_it_takes_out_one_release_and_says_how_to_take_out_another(
    pipeline: PipelineHarness, second: str
) -> None:
    third = pipeline.stage(BETTER)
    assert pipeline.run(third).is_success
    pipeline.roll_back(reason="It looks wrong.")
    assert pipeline.serving == second

    with pytest.raises(NothingToRollBackError, match=rf"banana-delivery rollback {second} --reason"):
        pipeline.roll_back(reason="It looks wrong.")
    assert (pipeline.serving, pipeline.attempts(second)[0].outcome) == (second, Outcome.RELEASED)
    pipeline.roll_back(reason="This one too.", version=second)
    assert pipeline.serving == FIRST


def test_what_was_named_and_is_not_in_production_changes_nothing(pipeline: PipelineHarness, second: str) -> None:
    before = production(pipeline)
    with pytest.raises(NothingToRollBackError, match=f"Version {FIRST} is not in production, version {second} is"):
        pipeline.roll_back(reason="It looks wrong.", version=FIRST)
    assert production(pipeline) == before


def test_without_record_and_audit_trail_it_says_what_is_missing(pipeline: PipelineHarness, second: str) -> None:
    records = pipeline.target.place.records
    records[Environment.PRODUCTION] = production(pipeline).replace(previous=None)
    with pytest.raises(NothingToRollBackError, match="the audit trail does not answer"):
        pipeline.roll_back(reason="It looks wrong.", audit_log=False)
    assert pipeline.serving == second


def test_the_notice_of_a_release_names_what_a_rollback_takes_out(pipeline: PipelineHarness, second: str) -> None:
    released = next(notice for notice in pipeline.sent if f"version {second} is in production" in notice.title)
    assert f"banana-delivery rollback {second} --reason" in released.body


def test_a_rollback_typed_right_after_the_promotion_is_not_written_over(pipeline: PipelineHarness) -> None:
    version = pipeline.stage(BETTER)
    hook = PhaseHook(Environment.PRODUCTION, Phase.PROMOTING)
    pipeline.target.at[hook] = lambda: pipeline.roll_back(reason="I saw errors.")
    run = pipeline.run(version)

    assert not run.is_success
    assert (pipeline.weights, pipeline.serving) == (BACK, FIRST)
    assert Outcome.RELEASED not in {one.outcome for one in pipeline.attempts(version)}
    assert not any(notice.title.endswith(f"version {version} is in production") for notice in pipeline.sent)
    assert not pipeline.run(version).is_success
    assert "was rolled back before" in pipeline.attempts(version)[0].reason


def test_two_rollbacks_in_a_row_are_both_on_record_although_the_first_could_not_be_written(
    pipeline: PipelineHarness, second: str
) -> None:
    third = pipeline.stage(BETTER)
    assert pipeline.run(third).is_success
    pipeline.roll_back(reason="It looks wrong.", audit_log=False)
    pipeline.roll_back(reason="This one too.", version=second)

    assert (pipeline.serving, production(pipeline).intent) == (FIRST, None)
    assert [pipeline.attempts(one)[0].outcome for one in (second, third)] == [Outcome.ROLLED_BACK] * 2
