"""Runs whose process is on another host, as the pods of a cluster are: only Dagster and the heartbeat speak of them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import psutil
import pytest

from banana_delivery.delivery.record_attempt import STOPPED
from banana_delivery.names import WORKER_TAG
from banana_delivery.policy.model import Colour, Environment, Outcome, Phase
from banana_delivery.runs.lifecycle import identity, is_dead
from banana_delivery.runs.partitions import ensure_partition
from tests.integration.delivery.serving import FIRST
from tests.support.phases import Moment
from tests.support.pipeline import World
from tests.unit.k8s.dagster_manifests import launcher

PRODUCTION = Environment.PRODUCTION
# As Dagster's run monitoring says it, with what it knows of the pod.
POD_DIED = (
    "Detected run worker status FAILED. Marking the run as failed.\nDebug information for pod p:\n\nPod status: Failed"
)


@pytest.fixture
def shifting(world: World) -> dg.DagsterRun:
    """A run in a pod, in the middle of a shift."""
    version = world.stage()
    ensure_partition(world.instance, version)
    run = world.instance.create_run_for_job(
        world.defs.resolve_job_def("deliver"),
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": version},
    )
    world.instance.add_run_tags(run.run_id, {WORKER_TAG: f"{run.run_id}:dagster-run-0-abcde:1:1700000000"})
    split_production(world, run.run_id)
    return world.run_of(run.run_id)


def split_production(world: World, owner: str) -> None:
    claim = world.target.claim(PRODUCTION, owner)
    record = world.target.record(PRODUCTION)
    assert record.live is not None and record.active is Colour.BLUE
    world.target.deploy(claim, Colour.GREEN, record.live.but(digest="sha256:" + "c" * 64), 1)
    world.target.write(claim, world.target.record(PRODUCTION).but(phase=Phase.SHIFTING))
    world.target.set_weights(claim, {Colour.BLUE: 60, Colour.GREEN: 40})


def test_a_run_in_another_pod_is_not_taken_for_dead(world: World, shifting: dg.DagsterRun) -> None:
    world.tick("reconcile")

    assert world.run_of(shifting.run_id).status is dg.DagsterRunStatus.STARTED
    assert (world.target.record(PRODUCTION).owner, world.weights[Colour.GREEN]) == (shifting.run_id, 40)


@pytest.mark.parametrize("watched", [False, True], ids=["by nobody", "by the launcher of pods"])
def test_a_process_that_is_gone_is_looked_for_only_where_the_launcher_does_not_watch_it(
    world: World, shifting: dg.DagsterRun, watched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pods that use their node's network have its name, and process ids of their own."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        gone = identity(shifting.run_id, psutil.Process(process.pid))
    world.instance.add_run_tags(shifting.run_id, {WORKER_TAG: gone})
    if watched:
        monkeypatch.setattr(dg.DagsterInstance, "run_launcher", launcher(tmp_path))

    assert is_dead(world.instance, world.run_of(shifting.run_id)) is not watched


def test_a_pod_that_falls_silent_loses_production_before_anybody_knows_how_its_run_ended(
    world: World, shifting: dg.DagsterRun
) -> None:
    world.clock.now -= 3600
    world.target.beat(world.target.claim(PRODUCTION, shifting.run_id))

    world.tick("reconcile")

    assert world.weights[Colour.BLUE] == 100 and world.serving == FIRST
    assert world.run_of(shifting.run_id).status is dg.DagsterRunStatus.STARTED


def test_a_run_that_monitoring_failed_gives_production_back_at_once_and_is_told_in_one_line(
    world: World, shifting: dg.DagsterRun
) -> None:
    world.instance.report_run_failed(shifting, POD_DIED)

    world.tick("reconcile")
    world.after(world.run_of(shifting.run_id))

    assert world.weights[Colour.BLUE] == 100 and world.target.record(PRODUCTION).owner is None
    attempt = world.attempts(shifting.tags["dagster/partition"])[0]
    assert (attempt.outcome, attempt.reason) == (Outcome.ERROR, POD_DIED.splitlines()[0])


def test_a_run_whose_pod_is_deleted_brings_the_traffic_back_itself_and_says_what_happened(world: World) -> None:
    """Dagster's runs take SIGTERM, which such a pod gets, for SIGINT."""
    version = world.stage(found=0.999)
    world.target.at[Moment(PRODUCTION, Phase.SHIFTING)] = lambda: signal.raise_signal(signal.SIGINT)

    run = world.run(version)

    assert run.status is dg.DagsterRunStatus.FAILURE
    assert world.weights[Colour.BLUE] == 100 and world.serving == FIRST
    assert (world.attempts(version)[0].outcome, world.attempts(version)[0].reason) == (Outcome.ERROR, STOPPED)
