"""What deliveries looked at is kept beside their reports, goes with them, and can be judged by another policy."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from banana_delivery.cli.entry import app
from banana_delivery.delivery.evidence.backtest import NOT_KEPT, Judged, backtest
from banana_delivery.delivery.evidence.kept import kept_steps, looks_beside, looks_folder
from banana_delivery.delivery.record_attempt import report_file
from banana_delivery.policies.reading import NAMED, read_policy
from banana_delivery.policy.hindsight.replay import Ended
from banana_delivery.policy.model import Environment, Outcome, Phase
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness, open_pipeline

STRICT = """
plan: {ab_seconds: 15, ab_minimum_seconds: 5, step_seconds: 10, step_minimum_seconds: 2, watch_seconds: 15,
  watch_minimum_seconds: 8, probe_limit: 70, error_threshold: 0.001}
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[PipelineHarness]:
    with open_pipeline(tmp_path / "home") as opened:
        opened.run(opened.stage())
        yield opened


def judged(pipeline: PipelineHarness, text: str = "") -> list[Judged]:
    policy = read_policy(text, "strict.yaml", "strict") if text else NAMED["demo"]
    return backtest(policy, pipeline.audit_log, pipeline.resources.settings, 20)


def ends(found: list[Judged]) -> list[tuple[Ended, Ended]]:
    return [(one.replay.recorded.ended, one.replay.replayed.ended) for one in found if one.replay]


def test_a_stricter_policy_would_have_turned_back_what_was_released(pipeline: PipelineHarness) -> None:
    some = pipeline.stage(0.95)
    pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.COMPARING)] = lambda: pipeline.break_candidate(
        error_rate=0.015
    )
    pipeline.run(some)
    bad = pipeline.stage(0.96)
    pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.SHIFTING)] = lambda: pipeline.break_candidate(
        error_rate=0.5
    )
    pipeline.run(bad)
    assert [pipeline.attempts(one)[0].outcome for one in (some, bad)] == [Outcome.RELEASED, Outcome.ROLLED_BACK]

    same = judged(pipeline)
    assert ends(same) == [
        (Ended.TURNED_BACK, Ended.TURNED_BACK),
        (Ended.WENT_ON, Ended.WENT_ON),
        (Ended.WENT_ON, Ended.WENT_ON),
    ]
    assert not any(one.replay.differs or one.replay.notes for one in same if one.replay)

    [_, changed, first] = judged(pipeline, STRICT)
    assert changed.replay is not None
    assert first.replay is not None
    assert changed.attempt.version == some
    assert (changed.replay.replayed.ended, changed.replay.differs) == (Ended.TURNED_BACK, True)
    assert 3 <= changed.replay.replayed.bad <= changed.replay.recorded.bad
    assert not first.replay.differs
    assert not list(looks_folder(pipeline.resources.settings.home).iterdir())


def test_a_delivery_that_a_person_took_out_in_the_midst_of_a_step_did_not_go_on(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(0.95)
    pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.SHIFTING)] = lambda: pipeline.roll_back(reason="No.")
    pipeline.run(second)
    assert [one.outcome for one in pipeline.attempts(second)] == [Outcome.ROLLED_BACK]
    assert ends(judged(pipeline))[0] == (Ended.UNKNOWN, Ended.UNKNOWN)


def test_looks_are_small_and_go_with_their_report(pipeline: PipelineHarness) -> None:
    settings = pipeline.resources.settings
    [attempt] = pipeline.attempts("1")
    report = report_file(settings, attempt)
    steps = kept_steps(report)
    assert [step.header.step.weight for step in steps] == [10, 100, 100]
    looks = sum(len(step.looks) for step in steps)
    assert looks_beside(report).stat().st_size < 1000 + 100 * looks
    looks_beside(report).unlink()
    [lost] = judged(pipeline)
    assert (lost.replay, lost.why) == (None, NOT_KEPT)
    looks_beside(report).write_bytes(b"no gzip")
    [damaged] = judged(pipeline)
    assert damaged.why.startswith("what was looked at cannot be read")


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "bits": lambda kept: kept[:60] + bytes(one ^ 255 for one in kept[60:80]) + kept[80:],
    "no end": lambda kept: kept[:-40],
    "another histogram": lambda kept: gzip.compress(gzip.decompress(kept).replace(b'"1.0"', b'"1.5"')),
    "no time": lambda kept: gzip.compress(re.sub(rb'"at":[0-9.]+', b'"at":1e400', gzip.decompress(kept))),
}


def test_an_attempt_of_which_nothing_usable_was_kept_hides_no_other_one(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(0.95)
    pipeline.run(second)
    looks = looks_beside(report_file(pipeline.resources.settings, pipeline.attempts(second)[0]))
    kept = looks.read_bytes()
    for damage, damaged in DAMAGED.items():
        looks.write_bytes(damaged(kept))
        latest, first = judged(pipeline)
        assert (latest.attempt.version, latest.replay) == (second, None), damage
        assert latest.why and not latest.why.endswith("."), damage
        assert first.replay is not None


def test_the_command_shows_what_would_have_ended_otherwise(
    pipeline: PipelineHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strict.yaml").write_text(STRICT)
    monkeypatch.setenv("BANANA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    del pipeline
    shown = CliRunner().invoke(app, ["backtest", "--policy", str(tmp_path / "strict.yaml")])
    assert shown.exit_code == 0, shown.output
    assert "By strict, 0 of 1 attempts would have ended otherwise." in shown.output
    told = CliRunner().invoke(app, ["backtest", "--policy", "demo", "--json"])
    [one] = json.loads(told.stdout)["attempts"]
    assert (one["version"], one["replayable"], one["differs"]) == ("1", True, False)
