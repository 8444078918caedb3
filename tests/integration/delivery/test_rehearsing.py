"""What a decision would do is told with what stands in its way, and nothing is changed by asking."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest

from banana_delivery import cli
from banana_delivery.policy.model import Environment, Outcome, Phase
from banana_delivery.runs.code_location import LOGS
from tests.integration.delivery.serving import FIRST
from tests.integration.delivery.test_by_page import parked, under_way
from tests.support.pipeline import PipelineHarness

Typed = Callable[..., Any]


def typed_here(pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands be about this pipeline."""

    @contextmanager
    def opened(_: object) -> Iterator[dg.DagsterInstance]:
        yield pipeline.instance

    for module in ("deciding", "freezing", "rescuing", "delivering"):
        monkeypatch.setattr(f"banana_delivery.cli.{module}.load_settings", lambda: pipeline.resources.settings)
    monkeypatch.setattr("banana_delivery.defs.build.build_resources", lambda _: pipeline.resources)
    monkeypatch.setattr("banana_delivery.runs.instance.open_instance", opened)
    monkeypatch.setattr("banana_delivery.delivery.deciding.decisions.open_instance", opened)


@pytest.fixture
def typed(pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Typed:
    """Type a rehearsal in this pipeline, and return its document; what it is refused for, if it is."""

    typed_here(pipeline, monkeypatch)
    cancelled: list[str] = []
    monkeypatch.setattr(pipeline.instance.run_coordinator, "cancel_run", cancelled.append)

    def run(*words: str) -> Any:
        before = everything(pipeline)
        monkeypatch.setattr(sys, "argv", ["banana-delivery", *words, "--dry-run", "--json"])
        with pytest.raises(SystemExit) as left:
            cli.main()
        told = json.loads(capfd.readouterr().out)
        assert (everything(pipeline), cancelled) == (before, [])
        assert left.value.code == (2 if "error" in told else 0)
        return told.get("error") or told["would"]

    return run


def everything(pipeline: PipelineHarness) -> object:
    """What a decision could change."""
    instance, location = pipeline.instance, pipeline.location
    records = [pipeline.target.record(environment).model_dump_json() for environment in Environment]
    said = [len(instance.fetch_observations(location.key(one), 100).records) for one in LOGS]
    runs = [(run.run_id, run.status) for run in instance.get_runs()]
    keys = [*pipeline.resources.settings.home.glob("*.keys")]
    return records, said, runs, keys, instance.get_dynamic_partitions(location.partitions.name or "")


def test_an_approval_tells_whether_the_gate_would_let_the_version_in(pipeline: PipelineHarness, typed: Typed) -> None:
    version = parked(pipeline)
    would = typed("approve", version, "--reason", "I looked.")
    assert (would["version"], would["kind"], would["gate"]["basis"]) == (version, "approval", "approval")
    assert [one["version"] for one in would["deliveries"]] == [version]
    settings = pipeline.resources.settings
    pipeline.change(settings=settings.model_copy(update={"freeze": True}))
    would = typed("approve", version, "--reason", "I looked.")
    assert would["gate"]["status"] == "parked"
    assert "freeze" in would["gate"]["reason"]
    assert typed("override", version, "--reason", "It cannot wait.")["gate"]["basis"] == "override"
    assert "no image" in typed("approve", version, "--digest", "abc", "--reason", "I looked.")
    assert "no version" in typed("override", "77", "--reason", "It cannot wait.")


def test_a_freeze_and_its_end_tell_until_when_and_what_lasts_longer(pipeline: PipelineHarness, typed: Typed) -> None:
    would = typed("freeze", "--reason", "The harvest.", "--until", "4h")
    assert (would["frozen"], would["reason"]) == (True, "The harvest.")
    assert would["until"] > would["at"]
    assert typed("unfreeze", "--reason", "Over.")["frozen"] is False
    assert "soon" in typed("freeze", "--reason", "x", "--until", "soon")


def test_a_delivery_under_way_is_neither_kept_nor_ended(pipeline: PipelineHarness, typed: Typed) -> None:
    for command in ("pause", "resume", "abort"):
        assert "under way" in typed(command, "--reason", "Lunch.")
    version = pipeline.stage()
    run = under_way(pipeline, version)
    pipeline.target.claim(Environment.PRODUCTION, run.run_id)
    for command in ("pause", "abort"):
        assert typed(command, "--reason", "Lunch.")["run_id"] == run.run_id
    assert "not paused" in typed("resume", "--reason", "Lunch.")
    assert "reason" in typed("pause", "--reason", " ")


def test_the_end_of_a_hold_tells_who_would_have_the_users(pipeline: PipelineHarness, typed: Typed) -> None:
    assert "not held" in typed("resume", "staging")
    claim = pipeline.target.claim(Environment.PRODUCTION, "somebody")
    record = pipeline.target.record(Environment.PRODUCTION)
    pipeline.target.write(claim, record.replace(phase=Phase.DRIFTED, note="Somebody moved 10 %."))
    pipeline.target.release(claim)
    would = typed("resume", "production")
    assert would == {"environment": "production", "active": record.active, "note": "Somebody moved 10 %."}
    assert pipeline.attempts(FIRST)[0].outcome is Outcome.RELEASED


def test_without_a_key_nothing_could_be_put_on_record_and_none_is_made(pipeline: PipelineHarness, typed: Typed) -> None:
    settings = pipeline.resources.settings
    named = {"evidence_key_file": settings.home / "elsewhere"}
    pipeline.change(settings=settings.model_copy(update=named))
    assert "BANANA_EVIDENCE_KEY_FILE" in typed("freeze", "--reason", "The harvest.")
