"""Runs whose process is on another host, as the pods of a cluster are: only Dagster and the heartbeat speak of them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import psutil
import pytest

from banana_delivery.names import WORKER_TAG
from banana_delivery.policy.model import Colour, Environment, Outcome, Phase
from banana_delivery.policy.outcomes import STOPPED
from banana_delivery.runs.lifecycle import Runs, identity
from banana_delivery.runs.partitions import ensure_partition
from tests.integration.delivery.serving import FIRST
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness
from tests.unit.k8s.dagster_manifests import launcher

PRODUCTION = Environment.PRODUCTION
# As Dagster's run monitoring says it, with what it knows of the pod.
POD_DIED = (
    "Detected run worker status FAILED. Marking the run as failed.\nDebug information for pod p:\n\nPod status: Failed"
)


@pytest.fixture
def shifting(pipeline: PipelineHarness) -> dg.DagsterRun:
    """A run in a pod, in the middle of a shift."""
    version = pipeline.stage()
    ensure_partition(pipeline.instance, version)
    run = pipeline.instance.create_run_for_job(
        pipeline.defs.resolve_job_def("deliver"),
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": version, **pipeline.location.tags},
    )
    pipeline.instance.add_run_tags(run.run_id, {WORKER_TAG: f"{run.run_id}:dagster-run-0-abcde:1:1700000000"})
    split_production(pipeline, run.run_id)
    return pipeline.run_of(run.run_id)


def split_production(pipeline: PipelineHarness, owner: str) -> None:
    claim = pipeline.target.claim(PRODUCTION, owner)
    record = pipeline.target.record(PRODUCTION)
    assert record.live is not None and record.active is Colour.BLUE
    pipeline.target.deploy(claim, Colour.GREEN, record.live.replace(digest="sha256:" + "c" * 64), 1)
    pipeline.target.write(claim, pipeline.target.record(PRODUCTION).replace(phase=Phase.SHIFTING))
    pipeline.target.set_weights(claim, {Colour.BLUE: 60, Colour.GREEN: 40})


def test_a_run_in_another_pod_is_not_taken_for_dead(pipeline: PipelineHarness, shifting: dg.DagsterRun) -> None:
    pipeline.tick("reconcile")

    assert pipeline.run_of(shifting.run_id).status is dg.DagsterRunStatus.STARTED
    assert (pipeline.target.record(PRODUCTION).owner, pipeline.weights[Colour.GREEN]) == (shifting.run_id, 40)


@pytest.mark.parametrize("watched", [False, True], ids=["by nobody", "by the launcher of pods"])
def test_a_process_that_is_gone_is_looked_for_only_where_the_launcher_does_not_watch_it(
    pipeline: PipelineHarness, shifting: dg.DagsterRun, watched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pods that use their node's network have its name, and process ids of their own."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        gone = identity(shifting.run_id, psutil.Process(process.pid))
    pipeline.instance.add_run_tags(shifting.run_id, {WORKER_TAG: gone})
    if watched:
        monkeypatch.setattr(dg.DagsterInstance, "run_launcher", launcher(tmp_path))

    assert Runs(pipeline.instance).is_dead(pipeline.run_of(shifting.run_id)) is not watched


def test_a_pod_that_falls_silent_loses_production_before_anybody_knows_how_its_run_ended(
    pipeline: PipelineHarness, shifting: dg.DagsterRun
) -> None:
    pipeline.target.heartbeat(pipeline.target.claim(PRODUCTION, shifting.run_id))
    pipeline.tick("reconcile")
    pipeline.clock.now += 3600

    pipeline.tick("reconcile")

    assert pipeline.weights[Colour.BLUE] == 100 and pipeline.serving == FIRST
    assert pipeline.run_of(shifting.run_id).status is dg.DagsterRunStatus.STARTED


def test_a_run_that_monitoring_failed_gives_production_back_at_once_and_is_told_in_one_line(
    pipeline: PipelineHarness, shifting: dg.DagsterRun
) -> None:
    pipeline.instance.report_run_failed(shifting, POD_DIED)

    pipeline.tick("reconcile")
    pipeline.after(pipeline.run_of(shifting.run_id))

    assert pipeline.weights[Colour.BLUE] == 100 and pipeline.target.record(PRODUCTION).owner is None
    attempt = pipeline.attempts(shifting.tags["dagster/partition"])[0]
    assert (attempt.outcome, attempt.reason) == (Outcome.ERROR, POD_DIED.splitlines()[0])


def test_a_run_whose_pod_is_deleted_brings_the_traffic_back_itself_and_says_what_happened(
    pipeline: PipelineHarness,
) -> None:
    """Dagster's runs take SIGTERM, which such a pod gets, for SIGINT."""
    version = pipeline.stage(found=0.999)
    pipeline.target.at[PhaseHook(PRODUCTION, Phase.SHIFTING)] = lambda: signal.raise_signal(signal.SIGINT)

    run = pipeline.run(version)

    assert run.status is dg.DagsterRunStatus.FAILURE
    assert pipeline.weights[Colour.BLUE] == 100 and pipeline.serving == FIRST
    assert (pipeline.attempts(version)[0].outcome, pipeline.attempts(version)[0].reason) == (Outcome.ERROR, STOPPED)
