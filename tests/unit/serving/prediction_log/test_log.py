import json
import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pytest

from serving.inference.postprocess import Boxes
from serving.prediction_log import log as log_module
from serving.prediction_log.log import LOGGED_DETECTIONS, PredictionLog, PredictionRecord, as_json

RETENTION = timedelta(days=30)


def record(number: int) -> PredictionRecord:
    return PredictionRecord(str(number), datetime.now(UTC), "user", 64, 48, "[]", 0.01)


class MemoryStore:
    """A store in memory that can be told to fail or to hang."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.failing = False
        self.old = 0
        self.purges: list[datetime] = []
        self.during_purge: Callable[[], None] = lambda: None
        self.failing_purge = False
        self.purged = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()
        self.attempted = threading.Semaphore(0)
        self.closed = False

    def write(self, records: Sequence[PredictionRecord]) -> None:
        self.attempted.release()
        self.open.wait(20)
        if self.failing:
            raise ConnectionError("the database is away")
        self.rows += [record.request_id for record in records]

    def delete_before(self, hook: datetime, limit: int) -> int:
        self.open.wait(20)
        self.purges.append(hook)
        self.during_purge()
        self.purged.release()
        if self.failing_purge:
            raise ConnectionError("deleting takes too long")
        deleted = min(self.old, limit)
        self.old -= deleted
        return deleted

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def dropped() -> list[int]:
    return []


@pytest.fixture
def open_log(store: MemoryStore, dropped: list[int]) -> Callable[[int], PredictionLog]:
    def build(capacity: int) -> PredictionLog:
        return PredictionLog(store, capacity=capacity, retention=RETENTION, on_drop=dropped.append, flush_seconds=0.01)

    return build


def test_what_is_buffered_is_written_in_order_at_the_end(
    open_log: Callable[[int], PredictionLog], store: MemoryStore, dropped: list[int]
) -> None:
    log = open_log(5000)
    for number in range(1300):
        log.append(partial(record, number))
    log.close()
    assert store.rows == [str(number) for number in range(1300)]
    assert (store.closed, dropped) == (True, [])


def test_while_the_database_is_away_records_wait_and_are_not_lost(
    open_log: Callable[[int], PredictionLog], store: MemoryStore, dropped: list[int]
) -> None:
    store.failing = True
    log = open_log(100)
    log.append(partial(record, 1))
    assert store.attempted.acquire(timeout=10)
    assert store.attempted.acquire(timeout=10)
    store.failing = False
    log.close()
    assert (store.rows, dropped) == (["1"], [])


def test_a_hanging_database_costs_only_what_does_not_fit_and_that_is_counted(
    open_log: Callable[[int], PredictionLog], store: MemoryStore, dropped: list[int]
) -> None:
    store.open.clear()
    log = open_log(10)
    log.append(partial(record, 0))
    assert store.attempted.acquire(timeout=10)
    for number in range(1, 30):
        log.append(partial(record, number))
    assert sum(dropped) == 20
    log.close(seconds=0.05)
    assert sum(dropped) == 30
    store.open.set()


def test_rows_older_than_the_retention_are_deleted_but_not_after_every_write(
    open_log: Callable[[int], PredictionLog], store: MemoryStore
) -> None:
    before = datetime.now(UTC)
    log = open_log(10)
    assert store.purged.acquire(timeout=10)
    for number in range(5):
        log.append(partial(record, number))
        assert store.attempted.acquire(timeout=10)
    log.close()
    [hook] = store.purges
    assert before - RETENTION <= hook <= datetime.now(UTC) - RETENTION


def test_many_old_rows_are_deleted_in_batches_and_what_is_predicted_meanwhile_is_written_between_them(
    open_log: Callable[[int], PredictionLog], store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "serving.prediction_log.log")
    store.old = 2 * log_module.PURGE_BATCH_SIZE + 5
    written: list[int] = []

    def meanwhile() -> None:
        written.append(len(store.rows))
        log.append(partial(record, len(store.purges)))

    store.during_purge = meanwhile
    store.open.clear()
    log = open_log(10)
    store.open.set()
    for _ in range(3):
        assert store.purged.acquire(timeout=10)
    log.close()
    assert (store.old, written) == (0, [0, 1, 2])
    assert [entry.message for entry in caplog.records] == [
        "Deleted 2005 predictions older than 30 days, 0:00:00 from the log."
    ]


def test_a_failing_deletion_delays_no_write_drops_nothing_and_is_tried_again(
    open_log: Callable[[int], PredictionLog],
    store: MemoryStore,
    dropped: list[int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(log_module, "PURGE_RETRY_SECONDS", 0.0)
    store.failing_purge = True
    log = open_log(1)
    # As many as it would take to wait half a minute, if each failure doubled the wait for the next write.
    for number in range(13):
        assert store.purged.acquire(timeout=10)
        log.append(partial(record, number))
        assert store.attempted.acquire(timeout=10)
    log.close()
    assert (store.rows, dropped) == ([str(number) for number in range(13)], [])
    failures = [entry.message for entry in caplog.records]
    assert failures == ["Old predictions could not be deleted, will try again: ConnectionError"] * len(store.purges)


def test_of_many_boxes_the_best_are_written_down_in_the_digits_that_count() -> None:
    many = LOGGED_DETECTIONS + 5
    corners = np.tile(np.array([1.234, 2, 3, 4.006], np.float32), (many, 1))
    written = json.loads(as_json(Boxes(corners, np.linspace(0.9, 0.1, many, dtype=np.float32), np.arange(many))))
    assert written[0] == {"box": [1.23, 2.0, 3.0, 4.01], "class_id": 0, "score": 0.9}
    assert [one["class_id"] for one in written] == list(range(LOGGED_DETECTIONS))


def test_a_number_that_is_none_does_not_keep_a_batch_out_of_the_database() -> None:
    boxes = Boxes(np.array([[np.nan, 0, np.inf, 1]], np.float32), np.array([0.5], np.float32), np.array([0]))
    assert json.loads(as_json(boxes))[0]["box"] == [None, 0, None, 1]
