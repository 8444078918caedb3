"""Dagster's own steps on a real PostgreSQL: once for each version, whoever else tries, and whole or not at all."""

from __future__ import annotations

import logging
import secrets
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

from banana_delivery.errors import DagsterError
from banana_delivery.runs.schema.migration import (
    JOB,
    Form,
    Storage,
    bring_forward,
    own_storage,
    told_to_libpq,
)
from banana_delivery.runs.schema.waiting import wait_until_forward
from tests.integration.serving.postgres import Postgres, postgres
from tests.support.clock import HandClock
from tests.support.dagster_database import STEP_BEFORE, connected, has_newest_step, in_use, step_back

IN_USE = "is of an older form .*lock timeout.*What runs is as it was"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    # Not in pytest's folder, which other users may not enter: as root the server runs as another one.
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder) / "server") as running:
        yield running


@pytest.fixture
def storage(server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """An instance with a database of its own, which is empty."""
    name = f"dagster_{secrets.token_hex(4)}"
    with connected(server.url) as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    url = server.url.removesuffix("postgres") + name
    instance = {
        "storage": {"postgres": {"postgres_url": url.replace("postgresql:", "postgresql+psycopg2:")}},
        "telemetry": {"enabled": False},
    }
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(instance))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    for variable, said in told_to_libpq({}, changes=True).items():
        monkeypatch.setenv(variable, said)
    return own_storage()


def test_several_that_begin_at_once_make_the_tables_once_and_the_next_one_changes_nothing(storage: Storage) -> None:
    assert storage.form() is Form.EMPTY
    with ThreadPoolExecutor(3) as several:
        for done in [several.submit(bring_forward, own_storage()) for _ in range(3)]:
            done.result(timeout=60)
    assert storage.form() is Form.OURS
    bring_forward(storage)


def test_pods_wait_for_what_brings_an_older_form_forward_and_say_so(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    bring_forward(storage)
    step_back(storage.postgres.postgres_url)
    assert (storage.form(), has_newest_step(storage.postgres.postgres_url)) == (Form.OLDER, False)

    class Clock(HandClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if len(self.slept) == 2:
                bring_forward(storage)

    clock = Clock()
    with caplog.at_level(logging.INFO):
        wait_until_forward(storage, clock)

    assert len(clock.slept) == 2
    assert (storage.form(), has_newest_step(storage.postgres.postgres_url)) == (Form.OURS, True)
    assert sum(f"Job {JOB}" in said for said in caplog.messages) == 1


def test_a_step_that_was_cut_short_is_done_again(storage: Storage) -> None:
    bring_forward(storage)
    with storage.connected() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :to"), {"to": STEP_BEFORE})
    assert (storage.form(), has_newest_step(storage.postgres.postgres_url)) == (Form.OLDER, True)

    bring_forward(storage)
    assert storage.form() is Form.OURS


def test_what_is_in_use_is_changed_within_its_time_or_not_at_all(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_forward(storage)
    step_back(storage.postgres.postgres_url)
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=200ms")
    with in_use(storage.postgres.postgres_url), pytest.raises(DagsterError, match=IN_USE):
        bring_forward(own_storage())
    assert storage.form() is Form.OLDER

    bring_forward(own_storage())
    assert storage.form() is Form.OURS


def test_where_a_lock_has_no_time_an_older_form_is_left_alone_and_an_empty_database_is_not(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pool of connections that ignores what it is told."""
    monkeypatch.delenv("PGOPTIONS")
    bring_forward(storage)
    step_back(storage.postgres.postgres_url)
    with pytest.raises(DagsterError, match=r"is of an older form and is left as it is\. .*dagster-postgres-migrate"):
        bring_forward(own_storage())
    assert (storage.form(), has_newest_step(storage.postgres.postgres_url)) == (Form.OLDER, False)


def test_a_newer_form_is_left_alone_and_waited_for_by_nobody(storage: Storage) -> None:
    bring_forward(storage)
    with storage.connected() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'of another time'"))

    bring_forward(storage)
    wait_until_forward(storage)
    assert storage.form() is Form.NEWER


def test_a_server_that_is_away_or_refuses_is_named_without_the_password(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql+psycopg2://nobody:secret-of-ours@127.0.0.1:{server.port}/missing"
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"storage": {"postgres": {"postgres_url": url}}}))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setattr("time.sleep", lambda _: None)

    with pytest.raises(DagsterError, match=f"missing on 127.0.0.1:{server.port} cannot be asked") as refused:
        bring_forward(own_storage())
    assert "secret-of-ours" not in str(refused.value)


def test_an_instance_of_another_kind_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(DagsterError, match="names no PostgreSQL"):
        own_storage()
