from pathlib import Path

import httpx
import sqlalchemy as sa

from serving.prediction_log.store import connect, metadata, predictions
from tests.integration.serving.postgres import Postgres
from tests.integration.serving.processes import replica
from tests.unit.serving.images import encode, picture


def logged(database: sa.Engine) -> set[str]:
    with database.begin() as connection:
        return set(connection.execute(sa.select(predictions.c.request_id)).scalars())


def test_a_frozen_database_delays_no_answer_and_loses_only_what_is_counted(
    tmp_path: Path, database_server: Postgres
) -> None:
    database = connect(database_server.url)
    with database.begin() as connection:
        metadata.drop_all(connection)
    environment = {"DATABASE_URL": database_server.url, "PREDICTION_LOG_CAPACITY": "20"}
    with replica(tmp_path, **environment) as running:
        image = {"image": encode(picture())}
        database_server.freeze()
        # While the server is frozen nothing can be written, so an answer is one that did not wait for it.
        for number in range(50):
            answer = httpx.post(f"{running.url}/predict", files=image, headers={"X-Request-Id": f"frozen-{number}"})
            assert answer.status_code == 200
        dropped = running.metric("banana_prediction_log_dropped_total")
        assert dropped == 30
        database_server.thaw()
        assert running.stop() == 0
    assert len(logged(database)) == 50 - dropped
    database.dispose()


def test_what_was_predicted_just_before_the_end_is_in_the_log(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with replica(tmp_path, DATABASE_URL=url, COLOUR="green") as running:
        answers = [httpx.post(f"{running.url}/predict", files={"image": encode(picture())}) for _ in range(3)]
        assert running.stop() == 0
    database = connect(url)
    assert logged(database) == {answer.headers["X-Request-Id"] for answer in answers}
    database.dispose()


def test_a_database_that_does_not_exist_stops_nothing(tmp_path: Path) -> None:
    with replica(tmp_path, DATABASE_URL="postgresql://nobody@127.0.0.1:9/none") as running:
        assert httpx.post(f"{running.url}/predict", files={"image": encode(picture())}).status_code == 200
        assert running.stop() == 0
