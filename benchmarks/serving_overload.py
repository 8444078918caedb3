"""Ten times what a server can do: how long what it accepts takes then, beside as many users as it has places.

    python -m benchmarks.serving_overload URL PLACES SECONDS

The image is a large PNG, slow to decode and small to send, so that the load is the server's and not that of the client
on the same cores. Requests of the flood come when they come, whether or not earlier ones were answered.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
import time
from dataclasses import dataclass

import httpx
import numpy as np
from PIL import Image

SECONDS = 4.0
TIMES = 10
IMAGE_SIZE = (4000, 3000)


@dataclass
class Answer:
    """What a request got, and after how many seconds."""

    status: int
    retry_after: str | None
    seconds: float


async def _ask(client: httpx.AsyncClient, image: bytes) -> Answer:
    started = time.perf_counter()
    answer = await client.post("/predict", files={"image": image})
    return Answer(answer.status_code, answer.headers.get("Retry-After"), time.perf_counter() - started)


async def as_many_as_fit(url: str, image: bytes, places: int, seconds: float = SECONDS) -> list[Answer]:
    """So many users as there are places, each asking again once it is answered."""
    end = time.perf_counter() + seconds
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:

        async def user() -> list[Answer]:
            answers = []
            while time.perf_counter() < end:
                answers.append(await _ask(client, image))
            return answers

        return [answer for each in await asyncio.gather(*(user() for _ in range(places))) for answer in each]


async def at_a_rate(url: str, image: bytes, per_second: float, seconds: float = SECONDS) -> list[Answer]:
    """Requests that come when they come."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        asked = []
        for _ in range(round(per_second * seconds)):
            asked.append(asyncio.create_task(_ask(client, image)))
            await asyncio.sleep(1 / per_second)
        return await asyncio.gather(*asked)


def slowest(answers: list[Answer], status: int) -> float:
    """99th percentile in seconds of what got this status."""
    return float(np.quantile([answer.seconds for answer in answers if answer.status == status], 0.99))


def flood(url: str, places: int, seconds: float) -> dict[str, float]:
    """Loads a server as far as it has places, and then ten times as much; returns the 99th percentiles of both."""
    buffer = io.BytesIO()
    Image.new("RGB", IMAGE_SIZE).save(buffer, "PNG")
    image = buffer.getvalue()
    full = asyncio.run(as_many_as_fit(url, image, places, seconds))
    flooded = asyncio.run(at_a_rate(url, image, TIMES * len(full) / seconds, seconds))
    at_capacity, at_ten_times = slowest(full, 200), slowest(flooded, 200)
    return {
        "p99_ms_at_capacity": round(at_capacity * 1000, 1),
        "p99_ms_at_ten_times": round(at_ten_times * 1000, 1),
        "accepted": sum(answer.status == 200 for answer in flooded),
        "refused": sum(answer.status == 503 for answer in flooded),
        "over": round(at_ten_times / at_capacity, 3),
    }


def main() -> None:
    """Reads the command line and prints the result."""
    print(json.dumps(flood(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))


if __name__ == "__main__":
    main()
