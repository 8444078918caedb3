"""The one pool in which all images are worked on, with a bounded queue before it."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from serving.errors import overloaded

Result = TypeVar("Result")


class WorkPool:
    """As many threads as images may be in work at once; more than `queue_size` waiting are refused.

    A bounded queue is what keeps the answer time of accepted requests bounded when ten times too many arrive.
    """

    def __init__(self, workers: int, queue_size: int) -> None:
        self.workers = workers
        self._limit = workers + queue_size
        self._admitted = 0
        self._lock = threading.Lock()
        self._finished_at = time.monotonic()
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="inference")

    @property
    def waiting(self) -> int:
        """Images admitted that no worker has room for yet."""
        return max(0, self._admitted - self.workers)

    @property
    def stuck_seconds(self) -> float:
        """How long every worker has been busy without one of them finishing an image; 0 while one is free."""
        return time.monotonic() - self._finished_at if self._admitted >= self.workers else 0.0

    def check_room(self, jobs: int = 1) -> None:
        """Refuses early, before a body is read, what `submit` would refuse after it.

        Raises:
            RequestError: 503, if `jobs` more would not be admitted now.
        """
        if self._admitted + jobs > self._limit:
            raise overloaded(
                f"This replica works on {self.workers} images at once and {self._limit - self.workers} may wait; "
                "all places are taken, so try again in a moment."
            )

    def submit(self, jobs: list[Callable[[], Result]]) -> list[asyncio.Future[Result]]:
        """Admits all jobs or none.

        Raises:
            RequestError: 503, if the queue has no room for all of them.
        """
        with self._lock:
            self.check_room(len(jobs))
            if self._admitted < self.workers:
                self._finished_at = time.monotonic()
            self._admitted += len(jobs)
        return [asyncio.wrap_future(self._start(job)) for job in jobs]

    def run_on_every_worker(self, job: Callable[[], object]) -> None:
        """Runs `job` once on each worker thread and waits; only for an idle pool."""
        barrier = threading.Barrier(self.workers)

        def together() -> None:
            barrier.wait()
            job()

        for future in [self._executor.submit(together) for _ in range(self.workers)]:
            future.result()

    def close(self) -> None:
        """Waits for what is in work and ends the threads."""
        self._executor.shutdown()

    def _start(self, job: Callable[[], Result]) -> Future[Result]:
        future = self._executor.submit(job)
        future.add_done_callback(self._release)
        return future

    def _release(self, _: Future[Any]) -> None:
        with self._lock:
            self._admitted -= 1
            self._finished_at = time.monotonic()
