import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from serving.inference.postprocess import Boxes
from serving.prediction_log import log as log_module
from serving.prediction_log.log import PredictionLog, PredictionRecord

NO_BOXES = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

RETENTION = timedelta(days=30)


def record(number: int) -> PredictionRecord:
    return PredictionRecord(str(number), datetime.now(UTC), "user", 64, 48, NO_BOXES, 0.01)


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
        log.append(record(number))
    log.close()
    assert store.rows == [str(number) for number in range(1300)]
    assert (store.closed, dropped) == (True, [])


def test_while_the_database_is_away_records_wait_and_are_not_lost(
    open_log: Callable[[int], PredictionLog], store: MemoryStore, dropped: list[int]
) -> None:
    store.failing = True
    log = open_log(100)
    log.append(record(1))
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
    log.append(record(0))
    assert store.attempted.acquire(timeout=10)
    for number in range(1, 30):
        log.append(record(number))
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
        log.append(record(number))
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
        log.append(record(len(store.purges)))

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
        log.append(record(number))
        assert store.attempted.acquire(timeout=10)
    log.close()
    assert (store.rows, dropped) == ([str(number) for number in range(13)], [])
    failures = [entry.message for entry in caplog.records]
    assert failures == ["Old predictions could not be deleted, will try again: ConnectionError"] * len(store.purges)
