"""The pages ask a database that was started again as if nothing had happened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from banana_delivery.runs.pages import database
from banana_delivery.runs.pages.__main__ import MOST_CONNECTIONS, RECYCLE_SECONDS, STATEMENT_MILLISECONDS
from tests.integration.serving.postgres import Postgres, postgres
from tests.unit.k8s.dagster_manifests import BASE


@pytest.fixture
def server(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Postgres]:
    with postgres(tmp_path_factory.mktemp("postgres")) as running:
        url = urlsplit(running.url)
        secret = {"HOST": url.hostname, "PORT": url.port, "USER": url.username, "PASSWORD": "any", "DB": url.path[1:]}
        for name, value in secret.items():
            monkeypatch.setenv(f"DAGSTER_POSTGRES_{name}", str(value))
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
        (tmp_path / "dagster.yaml").write_text((BASE / "dagster.yaml").read_text())
        yield running


@pytest.fixture
def looking() -> Iterator[None]:
    database.look_before_use()
    yield
    event.remove(Pool, "checkout", database._look)


def test_whoever_asks_after_a_restart_of_the_database_is_answered(server: Postgres, looking: None) -> None:
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(STATEMENT_MILLISECONDS, RECYCLE_SECONDS, MOST_CONNECTIONS)
        asked = (
            instance.get_runs,
            instance.event_log_storage.get_pool_limits,
            instance.all_instigator_state,
        )
        before = [ask() for ask in asked]
        server.restart()

        assert [ask() for ask in asked] == before
