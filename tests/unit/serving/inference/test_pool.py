import asyncio
import threading

import pytest

from serving.errors import RequestError
from serving.inference.pool import WorkPool


async def fill_and_empty(pool: WorkPool, gate: threading.Event) -> None:
    running = pool.submit([gate.wait])
    queued = pool.submit([gate.wait, gate.wait])
    assert pool.waiting == 2
    with pytest.raises(RequestError) as refused:
        pool.submit([gate.wait])
    assert (refused.value.status, refused.value.retry_after) == (503, 1)
    gate.set()
    await asyncio.gather(*running, *queued)
    assert pool.waiting == 0
    assert await pool.submit([lambda: 5])[0] == 5


def test_a_full_queue_refuses_at_once_and_recovers() -> None:
    pool, gate = WorkPool(workers=1, queue_size=2), threading.Event()
    try:
        asyncio.run(fill_and_empty(pool, gate))
    finally:
        gate.set()
        pool.close()


def test_a_batch_is_admitted_whole_or_not_at_all() -> None:
    async def scenario(pool: WorkPool) -> None:
        with pytest.raises(RequestError):
            pool.submit([int, int, int])
        assert await asyncio.gather(*pool.submit([int, int])) == [0, 0]

    pool = WorkPool(workers=1, queue_size=1)
    try:
        asyncio.run(scenario(pool))
    finally:
        pool.close()


def test_a_job_that_raises_gives_its_place_back() -> None:
    async def scenario(pool: WorkPool) -> None:
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                await pool.submit([lambda: 1 // 0])[0]

    pool = WorkPool(workers=1, queue_size=0)
    try:
        asyncio.run(scenario(pool))
    finally:
        pool.close()


def test_warming_reaches_every_worker() -> None:
    pool, seen = WorkPool(workers=3, queue_size=0), set()
    pool.run_on_every_worker(lambda: seen.add(threading.get_ident()))
    pool.close()
    assert len(seen) == 3


def test_a_pool_whose_workers_all_hang_says_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("serving.inference.pool.time.monotonic", lambda: now)
    pool, gate = WorkPool(workers=2, queue_size=2), threading.Event()

    async def scenario() -> list[float]:
        nonlocal now
        seen = []
        first = pool.submit([gate.wait])
        now = 150.0
        seen.append(pool.stuck_seconds)
        second = pool.submit([gate.wait])
        now = 180.0
        seen.append(pool.stuck_seconds)
        gate.set()
        await asyncio.gather(*first, *second)
        return [*seen, pool.stuck_seconds]

    try:
        assert asyncio.run(scenario()) == [0.0, 30.0, 0.0]
    finally:
        gate.set()
        pool.close()
