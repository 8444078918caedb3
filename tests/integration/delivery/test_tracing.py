"""A delivery as a collector of traces sees it."""

from __future__ import annotations

import socket
from typing import Any

from banana_delivery.errors import ExportError
from banana_delivery.export.export import Artifact
from banana_delivery.policy.model import Environment, Outcome, Phase
from tests.support.collector import Collector, collecting
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

BETTER, WORSE = 0.999, 0.6


def traced(pipeline: PipelineHarness, url: str) -> None:
    pipeline.change(settings=pipeline.resources.settings.model_copy(update={"traces_url": url}))


def tree(spans: list[Any]) -> dict[str, list[str]]:
    """The names of each span's children, by its name."""
    names = {span.span_id: span.name for span in spans}
    found: dict[str, list[str]] = {}
    for span in spans:
        found.setdefault(names.get(span.parent_span_id, ""), []).append(span.name)
    return found


def said(collector: Collector) -> tuple[list[Any], dict[str, str]]:
    spans = collector.spans()
    return spans, {one.key: one.value.string_value for one in spans[0].attributes}


def test_each_end_is_one_trace_of_what_was_done_for_it(pipeline: PipelineHarness) -> None:
    with collecting() as collector:
        traced(pipeline, collector.url)
        second = pipeline.stage(BETTER)
        pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.SHIFTING)] = lambda: pipeline.break_candidate(
            error_rate=0.5
        )
        pipeline.run(second)
        spans, about = said(collector)
        assert about["banana.delivery.outcome"] == Outcome.ROLLED_BACK
        assert about["banana.delivery.digest"] == pipeline.attempts(second)[0].digest
        found = tree(spans)
        assert found["delivery"] == [
            "model_artifact", "image", "staging_release", "ab_report", "production_release"
        ]  # fmt: skip
        assert found["model_artifact"] == ["export"]
        assert found["image"] == ["build and push"]
        assert found["staging_release"] == ["deploy", "tests and quality"]
        assert found["production_release"][:2] == ["deploy", "shift 20 %"]
        assert found["production_release"][-1] == "rollback"

        pipeline.target.at.clear()
        third = pipeline.stage(WORSE)
        pipeline.run(third)
        spans, about = said(collector)
        assert (about["banana.delivery.version"], about["banana.delivery.outcome"]) == (third, Outcome.REJECTED)
        assert "production_release" not in tree(spans)["delivery"]
        assert collector.requests.empty()


def test_what_an_earlier_run_made_is_in_its_own_trace_alone(pipeline: PipelineHarness) -> None:
    def fails(*_: object, **__: object) -> Artifact:
        raise ExportError("The process export_worker was killed.")

    with collecting() as collector:
        traced(pipeline, collector.url)
        second = pipeline.stage(WORSE)
        pipeline.run(second)
        assert tree(collector.spans())["model_artifact"] == ["export"]
        pipeline.change(exporter=fails)
        pipeline.run(second)
        spans, about = said(collector)
        assert about["banana.delivery.outcome"] == Outcome.ERROR
        assert tree(spans) == {"": ["delivery"], "delivery": ["model_artifact"]}


def test_a_collector_that_is_away_changes_nothing_of_a_delivery(pipeline: PipelineHarness) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        traced(pipeline, f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces")
        second = pipeline.stage(BETTER)
        pipeline.run(second)
    assert pipeline.attempts(second)[0].outcome is Outcome.RELEASED
