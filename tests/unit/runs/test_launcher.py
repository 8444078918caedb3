"""The Job of a run that never began ends with it; any other is left to be looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.unit.k8s.dagster_manifests import NAMESPACE, launcher


class Jobs:
    """The launcher's own client, as far as monitoring needs it."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []
        self.refuses = False

    def get_pod_names_in_job(self, job_name: str, namespace: str) -> list[str]:
        return [f"{job_name}-pod"]

    def get_pod_debug_info(self, pod_name: str, namespace: str, include_container_logs: bool) -> str:
        return f"{pod_name} waits for its image."

    def delete_job(self, job_name: str, namespace: str) -> bool:
        self.ended.append((job_name, namespace))
        if self.refuses:
            raise ConnectionError("The API server is away.")
        return True


def given_up(scratch: Path, status: dg.DagsterRunStatus, jobs: Jobs) -> tuple[dg.DagsterRun, Any]:
    """What monitoring is told of a run that it is about to give up."""
    run = dg.DagsterRun(job_name="deliver", status=status)
    made = launcher(scratch)
    made._api_client = jobs
    with dg.instance_for_test() as instance:
        made.register_instance(instance)
        return run, made.get_run_worker_debug_info(run)


@pytest.mark.parametrize("refuses", [False, True])
def test_the_job_of_a_run_that_did_not_begin_in_time_ends_and_what_kept_it_is_said(
    refuses: bool, tmp_path: Path
) -> None:
    jobs = Jobs()
    jobs.refuses = refuses

    run, said = given_up(tmp_path, dg.DagsterRunStatus.STARTING, jobs)

    assert "waits for its image" in said
    assert jobs.ended == [(f"dagster-run-{run.run_id}", NAMESPACE)]


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])
def test_the_job_of_a_run_that_began_is_left_to_be_looked_at(status: dg.DagsterRunStatus, tmp_path: Path) -> None:
    jobs = Jobs()

    given_up(tmp_path, status, jobs)

    assert jobs.ended == []
