"""Two who act at once: a rollback that another one overtakes, and a registry that is told late what was so before."""

from __future__ import annotations

from functools import partial
from typing import NoReturn

import pytest

from banana_delivery.delivery.publish_outcome import OutcomePublisher
from banana_delivery.delivery.rescue import emergency
from banana_delivery.errors import NothingToRollBackError, TargetError
from banana_delivery.policy.model import Colour, Environment, Phase, RolloutRecord
from banana_delivery.policy.outcomes import RegistryMark
from tests.integration.delivery.serving import FIRST
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

BETTER, BEST = 0.9999, 0.99999


class KilledError(BaseException):
    """A process that is no more."""


def killed(*_: object, **__: object) -> NoReturn:
    raise KilledError


def router_is_away(*_: object, **__: object) -> NoReturn:
    raise TargetError("The router does not answer.")


def production(pipeline: PipelineHarness) -> RolloutRecord:
    return pipeline.target.record(Environment.PRODUCTION)


def revoked(pipeline: PipelineHarness, *versions: str) -> list[str]:
    return [version for version in versions if any(one.revoked for one in pipeline.attempts(version))]


@pytest.fixture
def second(pipeline: PipelineHarness) -> str:
    """A version that was released over the first one."""
    version = pipeline.stage(BETTER)
    assert pipeline.run(version).is_success
    return version


@pytest.fixture
def half_way(pipeline: PipelineHarness, second: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A rollback of the second version whose process died when the record named the colour, and before users moved."""
    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(emergency, "restore_traffic", killed)
        pipeline.roll_back(reason="It looks wrong.")
    assert pipeline.serving == FIRST
    assert pipeline.weights[production(pipeline).active or Colour.BLUE] == 0
    return second


@pytest.mark.parametrize("named", ["", "version", "to", "digest"])
def test_a_rollback_that_is_typed_again_while_the_first_is_half_way_is_the_same_rollback(
    pipeline: PipelineHarness, half_way: str, named: str
) -> None:
    intent = production(pipeline).intent
    assert intent
    said = {"": "", "version": half_way, "to": FIRST, "digest": intent.bad.digest}
    version, to, digest = (said[named] if named == one else "" for one in ("version", "to", "digest"))

    line = pipeline.roll_back(actor="Eve", reason="It still harms users.", version=version, to=to, digest=digest)

    assert (line.version, line.serving_version, line.revokes) == (half_way, FIRST, intent.revokes)
    assert line.colour is production(pipeline).idle
    assert revoked(pipeline, FIRST, half_way) == [half_way]
    assert pipeline.serving == FIRST
    assert pipeline.weights[production(pipeline).active or Colour.BLUE] == 100
    assert production(pipeline).intent is None
    assert pipeline.registry.aliases["production"] == FIRST


def test_a_rollback_whose_line_stands_though_nobody_was_told_is_told_once_when_it_is_typed_again(
    pipeline: PipelineHarness, half_way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(OutcomePublisher, "publish", lambda *_: False)  # The disk is full.
        pipeline.tick("reconcile")
    assert [one.revoked for one in pipeline.attempts(half_way)] == [True, False]
    assert production(pipeline).intent

    pipeline.clock.now += 5
    pipeline.roll_back(actor="Eve", reason="It still harms users.")
    pipeline.tick("reconcile")

    assert [one.revoked for one in pipeline.attempts(half_way)] == [True, False]
    assert len([one for one in pipeline.sent if "ROLLED BACK" in one.title]) == 1
    assert production(pipeline).intent is None


def test_once_the_users_are_back_the_next_one_has_to_name_what_is_to_go(
    pipeline: PipelineHarness, half_way: str
) -> None:
    pipeline.roll_back(reason="It looks wrong.")

    with pytest.raises(NothingToRollBackError, match="was rolled back already"):
        pipeline.roll_back(reason="It looks wrong.")

    assert revoked(pipeline, FIRST, half_way) == [half_way]


def test_a_rollback_of_another_release_that_takes_over_revokes_both(
    pipeline: PipelineHarness, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = pipeline.stage(BEST)

    def two_roll_back() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(emergency, "restore_traffic", killed)
            with pytest.raises(KilledError):
                pipeline.roll_back(actor="Bea", reason="It looks wrong.")
            patched.setattr(emergency, "restore_traffic", router_is_away)
            with pytest.raises(TargetError):
                pipeline.roll_back(actor="Cy", reason="This, too.", version=second)

    pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.SHIFTING)] = two_roll_back
    pipeline.run(candidate)
    for _ in range(3):
        pipeline.tick("reconcile")

    assert revoked(pipeline, FIRST, second, candidate) == [second, candidate]
    assert [pipeline.serving, production(pipeline).intent] == [FIRST, None]


def test_a_run_whose_rollback_another_one_finishes_ends_by_that_and_by_no_other_line(
    pipeline: PipelineHarness, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = pipeline.stage(BEST)

    def two_roll_back() -> None:
        with monkeypatch.context() as patched, pytest.raises(KilledError):
            patched.setattr(emergency, "restore_traffic", killed)
            pipeline.roll_back(actor="Bea", reason="It looks wrong.")
        pipeline.roll_back(actor="Cy", reason="It still harms users.")

    pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.SHIFTING)] = two_roll_back
    run = pipeline.run(candidate)
    pipeline.tick("reconcile")

    assert [(one.run_id, one.revoked) for one in pipeline.attempts(candidate)] == [(run.run_id, True)]
    assert pipeline.serving == second


def test_a_version_that_is_taken_out_before_it_met_anybody_is_told_nothing_of_those_who_met_others(
    pipeline: PipelineHarness, second: str
) -> None:
    candidate = pipeline.stage(BEST)
    pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.DEPLOYING)] = partial(pipeline.roll_back, reason="No.")
    pipeline.run(candidate)

    [line] = pipeline.attempts(candidate)
    assert (line.revoked, line.steps, line.requests) == (True, (), 0)


def test_an_intent_that_is_overtaken_again_and_again_is_kept_once_a_release(
    pipeline: PipelineHarness, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = pipeline.stage(BEST)

    def many_roll_back() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(emergency, "restore_traffic", killed)
            for version in (candidate, second, second, second):
                with pytest.raises(KilledError):
                    pipeline.roll_back(reason="It looks wrong.", version=version)

    pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.SHIFTING)] = many_roll_back
    pipeline.run(candidate)
    intent = production(pipeline).intent

    assert intent
    assert [one.bad.version for one in production(pipeline).pending] == [candidate, second]
    assert RolloutRecord.read_json(production(pipeline).model_dump_json()).intent == intent


def test_a_registry_that_is_told_late_what_served_before_is_told_again_what_serves(
    pipeline: PipelineHarness, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is written slowly, and meanwhile somebody rolls back and has told the registry already."""
    third, mark, left = pipeline.stage(BEST), pipeline.registry.mark, [True]

    def slowly(version: str, outcome: RegistryMark) -> None:
        if version == third and left[0] and outcome.serving == third:
            left[0] = False
            pipeline.roll_back(reason="It looks wrong.")
        mark(version, outcome)

    monkeypatch.setattr(pipeline.registry, "mark", slowly)
    pipeline.run(third)

    assert pipeline.serving == second
    assert pipeline.registry.aliases["production"] == second


def test_a_registry_that_is_outrun_each_time_is_told_later(
    pipeline: PipelineHarness, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, seen = pipeline.target.record, [0]

    def another_each_time(environment: Environment) -> RolloutRecord:
        found = record(environment)
        if environment is Environment.PRODUCTION and found.active:
            seen[0] += 1
            there = found.deployments[found.active]
            image = there.image.replace(digest=f"sha256:{seen[0]:064}")
            return found.replace(deployments={**found.deployments, found.active: there.replace(image=image)})
        return found

    line = pipeline.attempts(second)[0]
    publisher = pipeline.resources.recorder.publisher
    with monkeypatch.context() as patched:
        patched.setattr(pipeline.target, "record", another_each_time)
        publisher.publish(line)
    assert [one.version for one in publisher.pending.attempts()] == [second]

    publisher.catch_up()
    assert publisher.pending.attempts() == []
