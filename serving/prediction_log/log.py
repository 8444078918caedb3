"""The prediction log: what was predicted, written in the background, never at the expense of an answer.

Requests only append to a bounded buffer in memory. One thread writes batches; while the database is away it keeps what
fits and counts what does not. The thread is a daemon and every wait is bounded, so a dead database cannot keep the
process from ending either.

Whoever appends writes the detections down, which takes 0.05 ms. Done for a whole batch at once, by the thread that
writes it, that held Python's lock for so long that one answer in a hundred came a third later.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from pydantic_core import to_json

from serving.inference.postprocess import Boxes

logger = logging.getLogger("serving.prediction_log.log")

BATCH_SIZE = 500
FLUSH_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 30.0
PURGE_SECONDS = 3600.0
PURGE_RETRY_SECONDS = 60.0
PURGE_BATCH_SIZE = 1000
"""Few enough that deleting them is far from the database's timeout, and that the next write is soon."""

CLOSE_SECONDS = 5.0
LOGGED_DETECTIONS = 50
"""Only so many detections of an image are logged, the highest scores; it bounds the memory of the buffer."""


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """One row of the log.

    Attributes:
        detections: as `as_json` writes them, in pixels of an image of `width` x `height`.
    """

    request_id: str
    at: datetime
    traffic: str
    width: int
    height: int
    detections: str
    seconds: float


def as_json(boxes: Boxes) -> str:
    """The best of what was found in an image, as a row holds it; numbers that are none become `null`."""
    best = boxes.first(LOGGED_DETECTIONS)
    corners, scores = best.corners.astype(float).round(2), best.scores.astype(float).round(5)
    rows = zip(corners.tolist(), best.class_ids.tolist(), scores.tolist(), strict=True)
    told = [{"box": box, "class_id": class_id, "score": score} for box, class_id, score in rows]
    return to_json(told, inf_nan_mode="null").decode()


class PredictionStore(Protocol):
    """Where records go. Any method may raise, or take long, when the database does."""

    def write(self, records: Sequence[PredictionRecord]) -> None:
        """Stores all records, or none if it raises."""

    def delete_before(self, moment: datetime, limit: int) -> int:
        """Deletes at most `limit` older rows; returns how many."""

    def close(self) -> None:
        """Releases connections."""


class PredictionLog:
    """Buffers records and writes them in batches from a thread of its own."""

    def __init__(
        self,
        store: PredictionStore,
        *,
        capacity: int,
        retention: timedelta,
        on_drop: Callable[[int], None],
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._store = store
        self._capacity = capacity
        self._retention = retention
        self._on_drop = on_drop
        self._flush_seconds = flush_seconds
        self._buffer: deque[PredictionRecord] = deque()
        self._closing = threading.Event()
        self._next_purge = time.monotonic()
        self._purged = 0
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def append(self, record: Callable[[], PredictionRecord]) -> None:
        """Takes a record, or drops and counts it, not yet made, when the buffer is full; returns at once."""
        if len(self._buffer) >= self._capacity:
            self._on_drop(1)
        else:
            self._buffer.append(record())

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Writes what is buffered if that is possible within `seconds`; counts the rest as dropped."""
        self._closing.set()
        self._thread.join(seconds)
        if self._buffer:
            logger.warning("%d predictions were not logged: the database is away.", len(self._buffer))
            self._on_drop(len(self._buffer))

    def _run(self) -> None:
        backoff = self._flush_seconds
        while not self._closing.wait(backoff):
            if self._try_write():
                backoff = self._flush_seconds
                self._try_purge()
            else:
                backoff = min(backoff * 2, MAX_BACKOFF_SECONDS)
        self._try_write()
        self._store.close()

    def _try_write(self) -> bool:
        """Writes everything buffered; returns False if the database failed."""
        try:
            while self._buffer:
                self._write_batch()
        except Exception as error:  # noqa: BLE001 - whatever the driver raises, serving goes on
            logger.warning("The prediction log could not be written, will try again: %s", type(error).__name__)
            return False
        return True

    def _write_batch(self) -> None:
        batch = [self._buffer[index] for index in range(min(BATCH_SIZE, len(self._buffer)))]
        self._store.write(batch)
        for _ in batch:
            self._buffer.popleft()

    def _try_purge(self) -> None:
        """Deletes one batch of old rows when it is time; the next comes after the next write, so none waits for all."""
        if self._closing.is_set() or time.monotonic() < self._next_purge:
            return
        try:
            deleted = self._store.delete_before(datetime.now(UTC) - self._retention, PURGE_BATCH_SIZE)
        except Exception as error:  # noqa: BLE001 - as above
            logger.warning("Old predictions could not be deleted, will try again: %s", type(error).__name__)
            self._next_purge = time.monotonic() + PURGE_RETRY_SECONDS
            return
        self._purged += deleted
        if deleted >= PURGE_BATCH_SIZE:
            return
        if self._purged:
            logger.info("Deleted %d predictions older than %s from the log.", self._purged, self._retention)
        self._purged = 0
        self._next_purge = time.monotonic() + PURGE_SECONDS
