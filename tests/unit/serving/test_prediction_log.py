import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from serving.postprocess import Boxes
from serving.prediction_log import PredictionLog, PredictionRecord

NO_BOXES = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def record(number: int) -> PredictionRecord:
    return PredictionRecord(str(number), datetime.now(UTC), "user", 64, 48, NO_BOXES, 0.01)


class MemoryStore:
    """A store in memory that can be told to fail or to hang."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.failing = False
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

    def delete_before(self, moment: datetime) -> int:
        return 0

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
        return PredictionLog(
            store, capacity=capacity, retention=timedelta(days=1), on_drop=dropped.append, flush_seconds=0.01
        )

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
