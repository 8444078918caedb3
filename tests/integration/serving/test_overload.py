"""A replica that is asked for ten times what it can do."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import numpy as np
import pytest

from tests.integration.serving.processes import RunningReplica, replica
from tests.unit.serving.images import encode, picture

pytestmark = pytest.mark.long
PLACES = 4
"""One worker and three that wait."""

SECONDS = 4.0
TIMES = 10


@dataclass
class Answer:
    """What a request got, and after how many seconds."""

    status: int
    retry_after: str | None
    seconds: float


@pytest.fixture(scope="module")
def small_replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningReplica]:
    with replica(tmp_path_factory.mktemp("model"), QUEUE_SIZE=str(PLACES - 1)) as running:
        yield running


async def ask(client: httpx.AsyncClient, image: bytes) -> Answer:
    started = time.perf_counter()
    answer = await client.post("/predict", files={"image": image})
    return Answer(answer.status_code, answer.headers.get("Retry-After"), time.perf_counter() - started)


async def as_many_as_fit(url: str, image: bytes) -> list[Answer]:
    """So many users as there are places, each asking again once it is answered."""
    end = time.perf_counter() + SECONDS
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:

        async def user() -> list[Answer]:
            answers = []
            while time.perf_counter() < end:
                answers.append(await ask(client, image))
            return answers

        return [answer for each in await asyncio.gather(*(user() for _ in range(PLACES))) for answer in each]


async def at_a_rate(url: str, image: bytes, per_second: float) -> list[Answer]:
    """Requests that come when they come, whether or not earlier ones were answered."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        asked = []
        for _ in range(round(per_second * SECONDS)):
            asked.append(asyncio.create_task(ask(client, image)))
            await asyncio.sleep(1 / per_second)
        return await asyncio.gather(*asked)


def slowest(answers: list[Answer], status: int) -> float:
    """99th percentile in seconds of what got this status."""
    return float(np.quantile([answer.seconds for answer in answers if answer.status == status], 0.99))


def test_at_ten_times_capacity_what_is_accepted_takes_no_longer_and_the_rest_is_told_when_to_come_back(
    small_replica: RunningReplica,
) -> None:
    image = encode(picture(4000, 3000), "PNG")
    full = asyncio.run(as_many_as_fit(small_replica.url, image))
    assert {answer.status for answer in full} == {200}

    flood = asyncio.run(at_a_rate(small_replica.url, image, TIMES * len(full) / SECONDS))

    refused = [answer for answer in flood if answer.status == 503]
    assert {answer.status for answer in flood} == {200, 503}
    assert all(answer.retry_after is not None and int(answer.retry_after) >= 1 for answer in refused)
    assert len(flood) - len(refused) >= len(full) / 2
    assert slowest(flood, 200) <= 2 * slowest(full, 200)
    assert slowest(flood, 503) <= slowest(full, 200)
