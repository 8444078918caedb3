"""A canary in every secret, a delivery that fails wherever it can, and then everything that was written or shown."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from banana_delivery import errors
from banana_delivery.errors import EvaluationError, ImageError, PassingError, RegistryError, hide
from banana_delivery.policy.model import Environment, Outcome, Phase
from banana_delivery.settings import Settings, load_settings
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

FOREIGN = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "PIP_INDEX_PASSWORD")
ADDRESS = "postgresql://banana:canary-in-an-address@db:5432/log"
SIGNED = "https://bucket/best.pt?X-Amz-Signature=canary-in-a-signature"


AS_JSON = {"notify_urls": '["json://u:%s@host"]', "metric_tokens": '{"https://prometheus.test": "%s"}'}


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """One in every secret setting and in other programs' variables, as the process was started with."""
    monkeypatch.setattr(errors, "_secrets", set())
    make = logging.getLogRecordFactory()
    secret = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
    for name in secret:
        value = f"canary-of-{name}"
        monkeypatch.setenv(f"BANANA_{name.upper()}", AS_JSON.get(name, "%s") % value)
    for name in FOREIGN:
        monkeypatch.setenv(name, f"canary-of-{name}")
    load_settings()
    yield [f"canary-of-{name}" for name in (*secret, *FOREIGN)]
    logging.setLogRecordFactory(make)


def everything(home: Path) -> Iterator[tuple[str, bytes]]:
    """Every file that the pipeline wrote, databases included."""
    for file in home.rglob("*"):
        if file.is_file():
            yield str(file.relative_to(home)), file.read_bytes()


def search(
    pipeline: PipelineHarness, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, versions: list[str]
) -> list[str]:
    """Where a canary sits."""
    shown = capfd.readouterr()
    told = {
        "stdout": shown.out,
        "stderr": shown.err,
        "log": caplog.text,
        "notices": repr(pipeline.sent),
        "attempts": repr([pipeline.attempts(version) for version in versions]),
        "registry": repr([pipeline.registry.describe(version) for version in versions]),
        "events": repr([
            record.event_log_entry
            for run in pipeline.instance.get_runs()
            for record in pipeline.instance.get_records_for_run(run.run_id).records
        ]),
    }  # fmt: skip
    home = pipeline.resources.settings.home
    return [name for name, text in told.items() if "canary-" in text] + [
        name for name, content in everything(home) if b"canary-" in content
    ]


@pytest.mark.parametrize("kind", [RegistryError, ImageError, PassingError, EvaluationError, RuntimeError, OSError])
@pytest.mark.parametrize("part", ["exporter", "evaluator", "image_store", "model_registry"])
def test_no_secret_is_written_or_shown_however_a_delivery_fails(
    empty_pipeline: PipelineHarness,
    canaries: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    kind: type[Exception],
    part: str,
) -> None:
    version = empty_pipeline.stage()
    said = f"refused {' and '.join(canaries)} at {ADDRESS}, {SIGNED}, Authorization: Bearer canary-in-a-header"

    def fails(*_: object, **__: object) -> object:
        raise kind(said) from ValueError(f"because of {said}")

    match part:
        case "exporter":
            empty_pipeline.change(exporter=fails)
        case "evaluator":
            monkeypatch.setattr(empty_pipeline.evaluator, "tests", fails)
        case "image_store":
            monkeypatch.setattr(empty_pipeline.resources.image_store, "build", fails)
        case "model_registry":
            monkeypatch.setattr(empty_pipeline.registry, "download", fails)
    with caplog.at_level(logging.DEBUG):
        empty_pipeline.run(version)
    assert empty_pipeline.attempts(version)[0].outcome is not Outcome.RELEASED
    assert "***" in empty_pipeline.attempts(version)[0].reason, "it failed by what was to be hidden"
    assert search(empty_pipeline, capfd, caplog, [version]) == []


def test_no_secret_is_written_or_shown_by_a_release_and_its_rollback(
    pipeline: PipelineHarness,
    canaries: list[str],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    second, third = pipeline.stage(0.999), pipeline.stage(0.999)
    with caplog.at_level(logging.DEBUG):
        pipeline.run(second)
        pipeline.roll_back(actor=f"Ada {canaries[1]}", reason=f"because of {canaries[0]} at {ADDRESS}")
        pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.SHIFTING)] = lambda: pipeline.break_candidate(
            error_rate=0.5
        )
        pipeline.run(third)
    assert pipeline.attempts(second)[0].outcome is Outcome.ROLLED_BACK
    assert pipeline.attempts(third)[0].outcome is Outcome.ROLLED_BACK
    assert search(pipeline, capfd, caplog, [second, third]) == []


def test_the_search_finds_a_canary_where_nothing_hides_it(
    empty_pipeline: PipelineHarness, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Else the tests above would prove nothing."""
    hide([])
    print("canary-of-the-search")  # noqa: T201
    (empty_pipeline.resources.settings.home / "file").write_text("canary-of-the-search")
    assert search(empty_pipeline, capfd, caplog, []) == ["stdout", "file"]
