"""A delivery goes by a policy file and says so in its attempt; a freeze counts without a restart."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from banana_delivery.policies.calendar import outlasts
from banana_delivery.policies.document import Rules
from banana_delivery.policies.reading import NAMED, load_policy
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.holds import FreezeRecord
from banana_delivery.policy.model import Environment, Outcome, RolloutRecord
from tests.support.pipeline import PipelineHarness, open_pipeline

STRICT = (
    "name: strict\nplan: {ab_seconds: 14, ab_minimum_seconds: 5, step_seconds: 9, step_minimum_seconds: 2, "
    "watch_seconds: 13, watch_minimum_seconds: 8, restart_seconds: 5, probe_limit: 70, steps: [50, 100]}\n"
)


def say(pipeline: PipelineHarness, *, frozen: bool, until: float | None = None) -> None:
    at = pipeline.clock.time()
    pipeline.audit_log.record_freeze(FreezeRecord(frozen=frozen, by="Ada", reason="A shop opens.", at=at, until=until))


def last(pipeline: PipelineHarness, version: str) -> AttemptRecord:
    return pipeline.attempts(version)[0]


def watching(pipeline: PipelineHarness) -> str:
    """What the watch of production remembers after a tick, its rules among it; no old release stays warm for long."""
    pipeline.change(settings=pipeline.resources.settings.model_copy(update={"warm_seconds": 1.0}))
    resources = pipeline.resources.by_key()
    context = dg.build_sensor_context(instance=pipeline.instance, resources=resources, sensor_name="production_watch")
    pipeline.defs.resolve_sensor_def("production_watch")(context)
    return context.cursor or ""


def test_a_delivery_goes_by_its_file_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "strict.yaml"
    file.write_text(STRICT)
    policy = load_policy(str(file))
    with open_pipeline(tmp_path / "home", policy=str(file)) as pipeline:
        first, second = pipeline.stage(), pipeline.stage(0.95)
        pipeline.run(first)
        pipeline.run(second)

        attempt = last(pipeline, second)
        assert attempt.outcome is Outcome.RELEASED
        assert [step.metrics.weight for step in attempt.steps] == [50, 100, 100]
        assert attempt.policy == policy.stamp
        rules = Rules.kept(pipeline.target.record(Environment.PRODUCTION).rules)
        assert rules == Rules(run_id=attempt.run_id, digest=policy.digest, plan=policy.plan)

        # The file changes after the promotion: what was released under it is watched by it.
        file.write_text("name: other")
        pipeline.change()
        assert '"ceiling_seconds":13' in watching(pipeline)
        pipeline.roll_back(reason="It looks wrong.")
        done = last(pipeline, second)
        assert done.policy is not None
        assert (done.policy.name, done.policy.text) == ("strict", policy.text)


def test_what_may_be_lost_on_the_labelled_images_is_for_the_file_to_say(tmp_path: Path) -> None:
    (tmp_path / "strict.yaml").write_text(f"{STRICT}quality: {{missable: 1}}")
    with open_pipeline(tmp_path / "home", policy=str(tmp_path / "strict.yaml")) as pipeline:
        first, second = pipeline.stage(), pipeline.stage(found=0.885)
        pipeline.run(first)
        pipeline.run(second)

        attempt = last(pipeline, second)
        assert attempt.outcome is Outcome.PARKED
        assert "a loss of more than 0.02 can be neither shown nor excluded" in attempt.reason


def test_a_file_that_cannot_be_used_stops_deliveries_and_not_the_way_back(tmp_path: Path) -> None:
    file = tmp_path / "strict.yaml"
    file.write_text(STRICT)
    with open_pipeline(tmp_path / "home", policy=str(file)) as pipeline:
        first, second = pipeline.stage(), pipeline.stage(0.95)
        pipeline.run(first)
        pipeline.run(second)
        file.write_text("plan: {alfa: 1}")
        pipeline.change()

        assert '"ceiling_seconds":13' in watching(pipeline)
        third = pipeline.stage(0.96)
        pipeline.run(third)
        assert last(pipeline, third).outcome is Outcome.ERROR
        assert "strict.yaml, line 1: plan.alfa is no key of a policy" in last(pipeline, third).reason
        assert pipeline.serving == second
        assert pipeline.roll_back(reason="It looks wrong.").outcome is Outcome.ROLLED_BACK
        assert pipeline.serving == first


def test_freezing_counts_at_the_next_gate_and_stops_nothing(tmp_path: Path) -> None:
    with open_pipeline(tmp_path / "home") as pipeline:
        version = pipeline.stage()
        say(pipeline, frozen=True)
        pipeline.run(version)
        parked = last(pipeline, version)
        assert (parked.outcome, pipeline.serving) == (Outcome.PARKED, None)
        assert "A freeze window is open (Ada: A shop opens);" in parked.reason
        assert parked.policy == NAMED["demo"].stamp

        say(pipeline, frozen=False)
        pipeline.run(version)
        assert last(pipeline, version).outcome is Outcome.RELEASED

        say(pipeline, frozen=True, until=pipeline.clock.time() + 60)
        pipeline.clock.now += 61
        later = pipeline.stage(0.95)
        pipeline.run(later)
        assert last(pipeline, later).outcome is Outcome.RELEASED


def test_what_nobody_signed_lifts_no_freeze(tmp_path: Path) -> None:
    with open_pipeline(tmp_path / "home") as pipeline:
        strangers = pipeline.location.of(
            pipeline.resources.settings.model_copy(update={"home": tmp_path / "elsewhere"})
        )
        log = type(pipeline.audit_log)(pipeline.instance, strangers)
        log.record_freeze(FreezeRecord(frozen=False, by="Eve", reason="Let me in.", at=0.0))
        assert pipeline.audit_log.freeze() is None
        say(pipeline, frozen=True)
        log.record_freeze(FreezeRecord(frozen=False, by="Eve", reason="Let me in.", at=0.0))
        said = pipeline.audit_log.freeze()
        assert said is not None
        assert said.by == "Ada"
        assert pipeline.audit_log.decisions() == []


def test_a_freeze_counts_whoever_wrote_it_until_somebody_who_may_lifts_it(tmp_path: Path) -> None:
    with open_pipeline(tmp_path / "home") as pipeline:
        elsewhere = pipeline.resources.settings.model_copy(update={"home": tmp_path / "elsewhere"})
        log = type(pipeline.audit_log)(pipeline.instance, pipeline.location.of(elsewhere))
        log.record_freeze(FreezeRecord(frozen=True, by="Bo", reason="Typed on another machine.", at=0.0))
        said = pipeline.audit_log.freeze()
        assert said is not None
        assert (said.frozen, said.by) == (True, "Bo")
        say(pipeline, frozen=False)
        said = pipeline.audit_log.freeze()
        assert said is not None
        assert not said.frozen


@pytest.mark.parametrize(
    ("before", "said", "outlasting"),
    [
        (None, 60.0, True),
        (100.0, 60.0, True),
        (60.0, 100.0, False),
        (60.0, None, False),
        (None, None, False),
        (-5.0, 60.0, False),
    ],
)
def test_a_short_freeze_does_not_end_a_longer_one(before: float | None, said: float | None, outlasting: bool) -> None:
    first = FreezeRecord(frozen=True, by="Ada", reason="So.", at=-10.0, until=before)
    second = FreezeRecord(frozen=True, by="Bo", reason="So.", at=0.0, until=said)
    assert outlasts(first, second) is outlasting
    assert not outlasts(first.replace(frozen=False), second)
    assert not outlasts(first, second.replace(frozen=False))


def test_records_of_earlier_versions_have_no_rules_and_no_policy() -> None:
    record = RolloutRecord.read({"environment": "production", "plan": "standard"})
    attempt = AttemptRecord.read({"version": "1", "outcome": "released", "reason": "Good.", "at": 1.0})

    assert (record.plan, Rules.kept(record.rules), attempt.policy) == ("standard", None, None)
    assert Rules.kept('{"run_id": "x"') is None
    assert Rules.kept('{"run_id": "x", "digest": "y", "plan": {"no": 1}}') is None
