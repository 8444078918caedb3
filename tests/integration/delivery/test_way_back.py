"""Where a rollback leads: to the release that was named, and to replicas that answer."""

from __future__ import annotations

import threading
from typing import NoReturn

import pytest

from banana_delivery.errors import GoneAlreadyError, NothingToRollBackError, NotReadyError, TargetError
from banana_delivery.policy.asset_records import DecisionKind, ManualDecision
from banana_delivery.policy.model import Colour, Environment, ImageRef, Phase, RolloutRecord
from banana_delivery.targets.base import Readiness
from tests.integration.delivery.serving import FIRST
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

BETTER = 0.9999
PRODUCTION = Environment.PRODUCTION


class KilledError(BaseException):
    """A process that is no more."""


def record(pipeline: PipelineHarness) -> RolloutRecord:
    return pipeline.target.record(PRODUCTION)


def live(pipeline: PipelineHarness) -> ImageRef:
    image = record(pipeline).live
    assert image is not None
    return image


def release(pipeline: PipelineHarness) -> str:
    version = pipeline.stage(BETTER)
    assert pipeline.run(version).is_success
    return version


def delete_deployment(pipeline: PipelineHarness, colour: Colour) -> None:
    """As `kubectl delete deployment` does; the record does not know."""
    del pipeline.target.place.deployments[PRODUCTION][colour]


def since(pipeline: PipelineHarness, calls: int) -> list[str]:
    """The changes of production after the first so many, without digests."""
    return [call.replace(" production", "") for call in pipeline.target.calls[calls:]]


def test_a_version_that_was_named_comes_back_though_two_others_served_since(pipeline: PipelineHarness) -> None:
    second, third = release(pipeline), release(pipeline)
    calls = len(pipeline.target.calls)
    done = pipeline.roll_back(reason="Both are bad.", to=FIRST)

    assert (done.version, done.serving_version, pipeline.serving) == (third, FIRST, FIRST)
    assert since(pipeline, calls)[:2] == [f"deploy green {FIRST} x2", "set_weights blue=0 green=100"]
    assert pipeline.attempts(third)[0].revoked
    assert not pipeline.attempts(second)[0].revoked

    with pytest.raises(NothingToRollBackError, match=f"Version {FIRST} serves production already"):
        pipeline.roll_back(reason="Once more.", to=FIRST)
    with pytest.raises(NothingToRollBackError, match="Version 99 was never in production"):
        pipeline.roll_back(reason="A typo.", to="99")
    with pytest.raises(NothingToRollBackError, match=rf"override {third} --reason '...', then: .* --to {third}"):
        pipeline.roll_back(reason="It was good after all.", to=third)
    pipeline.audit_log.record_decision(
        ManualDecision(kind=DecisionKind.OVERRIDE, version=third, by="Ada", reason="I looked.", at=1.0)
    )
    pipeline.roll_back(reason="It was good after all.", to=third)
    assert pipeline.serving == third


def test_the_warm_release_before_needs_no_audit_trail_and_any_other_does(pipeline: PipelineHarness) -> None:
    second, third = release(pipeline), release(pipeline)
    before = record(pipeline)
    with pytest.raises(NothingToRollBackError, match=rf"knows version {second} to go back to"):
        pipeline.roll_back(reason="It looks wrong.", to=FIRST, audit_log=False)
    assert record(pipeline) == before
    calls = len(pipeline.target.calls)
    pipeline.roll_back(reason="It looks wrong.", to=second, version=third, audit_log=False)
    assert pipeline.serving == second
    assert since(pipeline, calls)[0] == "set_weights blue=0 green=100"


def test_one_that_was_named_is_still_the_one_when_somebody_else_finishes(pipeline: PipelineHarness) -> None:
    release(pipeline), release(pipeline)

    def die() -> NoReturn:
        raise KilledError

    pipeline.target.at[PhaseHook(PRODUCTION, Phase.SCALING)] = die
    with pytest.raises(KilledError):
        pipeline.roll_back(reason="Both are bad.", to=FIRST)
    for _ in range(2):
        pipeline.tick("reconcile")
    assert (pipeline.serving, record(pipeline).intent) == (FIRST, None)


def test_a_deleted_deployment_is_brought_up_before_users_are_sent_there(pipeline: PipelineHarness) -> None:
    release(pipeline)
    delete_deployment(pipeline, Colour.BLUE)
    calls = len(pipeline.target.calls)
    pipeline.roll_back(reason="It looks wrong.")

    assert since(pipeline, calls)[:2] == [f"deploy blue {FIRST} x2", "set_weights blue=100 green=0"]
    assert (pipeline.serving, pipeline.weights) == (FIRST, {Colour.BLUE: 100, Colour.GREEN: 0})


def test_so_it_is_while_a_delivery_is_under_way(pipeline: PipelineHarness) -> None:
    version = pipeline.stage(BETTER)
    calls: list[int] = []

    def strike() -> None:
        delete_deployment(pipeline, Colour.BLUE)
        calls.append(len(pipeline.target.calls))
        pipeline.roll_back(reason="I saw errors.")

    pipeline.target.at[PhaseHook(PRODUCTION, Phase.SHIFTING)] = strike
    assert not pipeline.run(version).is_success
    assert since(pipeline, calls[0])[:2] == [f"deploy blue {FIRST} x2", "set_weights blue=100 green=0"]
    assert pipeline.serving == FIRST


def test_so_it_is_when_the_run_itself_goes_back(pipeline: PipelineHarness) -> None:
    version = pipeline.stage(BETTER)
    calls: list[int] = []

    def strike() -> None:
        calls.append(len(pipeline.target.calls))
        delete_deployment(pipeline, Colour.BLUE)
        pipeline.target.at[PhaseHook(PRODUCTION, Phase.ROLLING_BACK)] = lambda: None
        raise RuntimeError("Something else broke.")

    pipeline.target.at[PhaseHook(PRODUCTION, Phase.SHIFTING)] = strike
    assert not pipeline.run(version).is_success
    assert since(pipeline, calls[0])[:2] == [f"deploy blue {FIRST} x2", "set_weights blue=100 green=0"]


def test_one_warm_replica_of_two_is_enough_to_go_and_the_other_comes_after(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(pipeline)
    no_room = Readiness(ready=1, wanted=2, failure="no node takes it.", place_at_fault=True)
    monkeypatch.setattr(pipeline.target, "readiness", lambda *_: no_room)
    calls = len(pipeline.target.calls)
    pipeline.roll_back(reason="It looks wrong.")

    assert since(pipeline, calls)[:2] == ["set_weights blue=100 green=0", f"deploy blue {FIRST} x2"]
    assert pipeline.serving == FIRST


def test_where_nothing_can_be_brought_up_users_stay_and_a_sentence_says_why(pipeline: PipelineHarness) -> None:
    second = release(pipeline)
    delete_deployment(pipeline, Colour.BLUE)
    first = pipeline.audit_log.attempts(FIRST)[0].digest
    pipeline.break_image(first, unready="the image cannot be pulled.", place_at_fault=True)
    with pytest.raises(NotReadyError, match="users stay where they are, since blue does not answer: the image cannot"):
        pipeline.roll_back(reason="It looks wrong.")
    assert (pipeline.serving, pipeline.weights[Colour.GREEN]) == (second, 100)


def test_a_look_that_fails_does_not_close_the_way_back(pipeline: PipelineHarness) -> None:
    release(pipeline)
    for method in ("readiness", "observed"):
        pipeline.target.place.fail_next(method, "The API does not answer.", times=2)
    pipeline.roll_back(reason="It looks wrong.")
    assert pipeline.serving == FIRST


def test_a_router_that_does_not_answer_keeps_neither_users_nor_the_line_waiting(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = release(pipeline)
    asked, answers = threading.Event(), threading.Event()

    def hangs(environment: Environment) -> NoReturn:
        asked.set()
        answers.wait()
        raise TargetError(f"The router of {environment} did not answer.")

    monkeypatch.setattr(pipeline.target, "traffic", hangs)
    pipeline.roll_back(reason="It looks wrong.")

    assert asked.is_set()
    assert pipeline.serving == FIRST
    assert pipeline.attempts(version)[0].revoked
    answers.set()


def test_an_image_that_has_gone_already_is_an_answer_of_its_own(pipeline: PipelineHarness) -> None:
    with pytest.raises(GoneAlreadyError, match="not in production any more"):
        pipeline.roll_back(reason="Errors.", digest=f"sha256:{'9' * 64}")


def test_one_that_nobody_can_finish_is_told_once(pipeline: PipelineHarness) -> None:
    version = release(pipeline)
    delete_deployment(pipeline, Colour.BLUE)
    first = pipeline.audit_log.attempts(FIRST)[0].digest
    pipeline.break_image(first, unready="the image cannot be pulled.", place_at_fault=True)
    with pytest.raises(NotReadyError):
        pipeline.roll_back(reason="It looks wrong.")
    for _ in range(2):
        pipeline.tick("reconcile")
    (told,) = [notice for notice in pipeline.sent if notice.title.endswith("FAILED")]
    assert "the image cannot be pulled" in told.body
    pipeline.break_image(first)
    pipeline.tick("reconcile")
    assert pipeline.serving == FIRST
    assert pipeline.attempts(version)[0].revoked
