"""The Dagster instance of k8s/base/dagster, in a real PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import pytest

from banana_delivery.runs.instance import POOL_LIMIT
from banana_delivery.runs.partitions import MODEL_VERSIONS, ensure_partition
from tests.integration.serving.conftest import database_server  # noqa: F401 - a fixture
from tests.integration.serving.postgres import Postgres
from tests.unit.k8s.dagster_manifests import BASE


@pytest.fixture
def home(database_server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """A DAGSTER_HOME like the one of the pods, with what the Secret holds in the environment."""
    url = urlsplit(database_server.url)
    secret = {"HOST": url.hostname, "PORT": url.port, "USER": url.username, "PASSWORD": "any", "DB": url.path[1:]}
    for name, value in secret.items():
        monkeypatch.setenv(f"DAGSTER_POSTGRES_{name}", str(value))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text((BASE / "dagster.yaml").read_text())
    return tmp_path


def test_the_pool_has_its_limit_before_the_daemon_starts_and_events_are_taken(home: Path) -> None:
    subprocess.run([sys.executable, "-m", "banana_delivery.runs.instance"], check=True, timeout=100)

    with dg.DagsterInstance.get() as instance:
        limits = {limit.name: limit.limit for limit in instance.event_log_storage.get_pool_limits()}
        ensure_partition(instance, "7")
        run = instance.create_run_for_job(dg.GraphDefinition("delivery").to_job(), status=dg.DagsterRunStatus.STARTED)
        instance.report_run_failed(run, "Its pod died.")

        assert limits == {"delivery": POOL_LIMIT}
        assert instance.get_dynamic_partitions(MODEL_VERSIONS.name or "") == ["7"]
        failed = instance.get_run_by_id(run.run_id)
        assert failed is not None and failed.status is dg.DagsterRunStatus.FAILURE
