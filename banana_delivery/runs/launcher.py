"""Dagster's launcher of Kubernetes Jobs, which also ends the Job of a run that is given up before it began.

Run monitoring fails a run whose pod does not start in time, and forgets the Job: it would keep asking for room and pull
its image for a run that is over. Monitoring asks what is known of the pod right before it gives a run up, and nobody
else asks that, so this is where the Job can be ended.
"""

from __future__ import annotations

import logging

from dagster import DagsterRun, DagsterRunStatus
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import get_job_name_from_run_id
from typing_extensions import override

_NOT_BEGUN = (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING)
_log = logging.getLogger(__name__)


class KubernetesRunLauncher(K8sRunLauncher):
    """Launches runs as Jobs; ``run_launcher`` in ``k8s/base/dagster/dagster.yaml`` names it."""

    @override
    def get_run_worker_debug_info(self, run: DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """What is known of a run's pod; the Job of a run that never began ends."""
        said = super().get_run_worker_debug_info(run, include_container_logs)
        if run.status in _NOT_BEGUN:
            self._end_job(run)
        return said

    def _end_job(self, run: DagsterRun) -> None:
        name = get_job_name_from_run_id(run.run_id)  # type: ignore[no-untyped-call]
        try:
            self._api_client.delete_job(job_name=name, namespace=self.job_namespace)
        except Exception:  # noqa: BLE001 - whatever it is, the run is given up; the Job has a deadline of its own
            _log.exception("Job %s could not be ended; it ends by its deadline.", name)
