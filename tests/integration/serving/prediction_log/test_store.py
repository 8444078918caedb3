import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa

from serving.inference.postprocess import Boxes
from serving.prediction_log.log import PredictionRecord, as_json
from serving.prediction_log.store import MIGRATIONS, SqlPredictionStore, connect, metadata, migrate, predictions
from tests.integration.serving.postgres import Postgres

LABELS = {"model_version": "7", "digest": "sha256:1", "environment": "production", "colour": "green"}


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'log.db'}"
    else:
        server: Postgres = request.getfixturevalue("database_server")
        url = server.url
    engine = connect(url)
    with engine.begin() as connection:
        metadata.drop_all(connection)
    yield engine
    engine.dispose()


def record(name: str = "r", *, days_ago: float = 0) -> PredictionRecord:
    boxes = Boxes(np.array([[1.234, 2, 3, 4]], np.float32), np.array([0.875], np.float32), np.array([1]))
    return PredictionRecord(
        name, datetime.now(UTC) - timedelta(days=days_ago), "user", 640, 480, as_json(boxes), 0.0125
    )


def rows(database: sa.Engine) -> list[sa.RowMapping]:
    with database.begin() as connection:
        return list(connection.execute(predictions.select().order_by(predictions.c.id)).mappings())


def test_a_prediction_is_stored_whole(database: sa.Engine) -> None:
    SqlPredictionStore(database, LABELS).write([record("first"), record("second")])
    first, second = rows(database)
    assert (first["request_id"], second["request_id"]) == ("first", "second")
    assert {name: first[name] for name in LABELS} == LABELS
    assert (first["traffic"], first["width"], first["height"], first["seconds"]) == ("user", 640, 480, 0.0125)
    assert first["detections"] == [{"box": [1.23, 2, 3, 4], "class_id": 1, "score": 0.875}]


@pytest.mark.parametrize("odd", ["back\\slash", "tab\tand\nline", "quote'\"", "\\N", "größer"])
def test_words_of_clients_are_stored_as_they_are(database: sa.Engine, odd: str) -> None:
    SqlPredictionStore(database, LABELS | {"colour": odd}).write([record(odd)])
    [row] = rows(database)
    assert (row["request_id"], row["colour"]) == (odd, odd)


def test_a_batch_is_stored_whole_or_not_at_all(database: sa.Engine) -> None:
    store = SqlPredictionStore(database, LABELS)
    broken = replace(record("broken"), detections=cast(str, None))
    with pytest.raises(sa.exc.SQLAlchemyError if database.dialect.name == "sqlite" else psycopg.Error):
        store.write([record("first"), broken])
    assert rows(database) == []
    store.write([record("next")])
    assert [row["request_id"] for row in rows(database)] == ["next"]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_server_that_was_started_anew_is_written_to_again(database: sa.Engine, database_server: Postgres) -> None:
    store = SqlPredictionStore(database, LABELS)
    store.write([record("before")])
    database_server.restart()
    store.write([record("after")])
    assert [row["request_id"] for row in rows(database)] == ["before", "after"]


def test_a_moment_is_stored_so_that_its_age_is_told_to_the_second(database: sa.Engine) -> None:
    store = SqlPredictionStore(database, LABELS)
    made = record()
    store.write([made])
    assert store.delete_before(made.at, limit=5) == 0
    assert store.delete_before(made.at + timedelta(microseconds=1), limit=5) == 1


def test_only_rows_older_than_the_retention_are_deleted_the_oldest_first_and_a_batch_at_a_time(
    database: sa.Engine,
) -> None:
    store = SqlPredictionStore(database, LABELS)
    days = [20, 36, 38, 40, 37, 39, 10]
    store.write([record(f"{age} days", days_ago=age) for age in days])
    hook = datetime.now(UTC) - timedelta(days=30)
    assert store.delete_before(hook, limit=2) == 2
    assert [row["request_id"] for row in rows(database)] == ["20 days", "36 days", "38 days", "37 days", "10 days"]
    assert [store.delete_before(hook, limit=2) for _ in range(3)] == [2, 1, 0]
    assert [row["request_id"] for row in rows(database)] == ["20 days", "10 days"]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_replicas_that_delete_at_the_same_time_do_not_wait_for_each_other(database: sa.Engine) -> None:
    store = SqlPredictionStore(database, LABELS)
    store.write([record("held by another", days_ago=41), record("free", days_ago=40)])
    another = connect(database.url.render_as_string(hide_password=False))
    with another.begin() as connection:
        connection.execute(predictions.delete().where(predictions.c.request_id == "held by another"))
        # Waiting would end in the timeout of a statement, and raise.
        assert store.delete_before(datetime.now(UTC), limit=10) == 1
    another.dispose()
    assert rows(database) == []


def _add_column(connection: sa.Connection) -> None:
    connection.execute(sa.text("ALTER TABLE banana_predictions ADD COLUMN note VARCHAR(10)"))


def test_the_schema_moves_forward_and_keeps_its_rows(database: sa.Engine) -> None:
    SqlPredictionStore(database, LABELS).write([record("before")])
    migrate(database, (*MIGRATIONS, _add_column))
    migrate(database, (*MIGRATIONS, _add_column))
    with database.begin() as connection:
        assert connection.execute(sa.text("SELECT request_id, note FROM banana_predictions")).all() == [
            ("before", None)
        ]


def test_a_replica_older_than_the_schema_still_writes(database: sa.Engine) -> None:
    migrate(database, (*MIGRATIONS, _add_column))
    SqlPredictionStore(database, LABELS).write([record("from an older replica")])
    assert len(rows(database)) == 1


def test_replicas_that_start_together_migrate_once(database: sa.Engine) -> None:
    errors: list[sa.exc.SQLAlchemyError] = []

    def start(number: int) -> None:
        engine = connect(database.url.render_as_string(hide_password=False))
        try:
            SqlPredictionStore(engine, LABELS).write([record(str(number))])
        except sa.exc.SQLAlchemyError as error:
            errors.append(error)
        engine.dispose()

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(row["request_id"] for row in rows(database)) == ["0", "1", "2", "3"]
