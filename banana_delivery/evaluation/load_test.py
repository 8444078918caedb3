"""How fast a release answers when a few clients ask without pause: one row of evidence before production sees it."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

from banana_delivery.evaluation.client import UNREACHED, is_overload, timed_upload
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.policy.asset_records import TestRow

TOLERATED_SLOW_SHARE = 0.05


@dataclass
class Measured:
    """What the clients saw.

    Attributes:
        latencies: seconds of every answer with status 200.
        failures: one sentence each.
        overloads: how often the service asked to come back later, which is its right under load.
        seconds: how long the clients asked.
        unreached: whether a connection was refused or broke off.
    """

    latencies: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    overloads: int = 0
    seconds: float = 0.0
    unreached: bool = False


def performance(
    url: str, images: Sequence[LabelledImage], *, seconds: float = 3.0, budget: float = 1.0, clients: int = 2
) -> TestRow:
    """Ask without pause and judge: no failure, and at most 5 % of the answers slower than the budget.

    Args:
        url: of the service.
        images: sent in turn.
        seconds: how long.
        budget: for one answer, in seconds, as the client sees it.
        clients: that ask at once.
    """
    measured = measure(url, images, seconds=seconds, timeout=max(10 * budget, 5.0), clients=clients)
    slow = sum(latency > budget for latency in measured.latencies)
    answered = len(measured.latencies)
    passed = answered > 0 and not measured.failures and slow <= TOLERATED_SLOW_SHARE * answered
    return TestRow(
        name=f"answers within {budget:g} s",
        passed=passed,
        detail=", ".join(_facts(measured, slow)),
        seconds=measured.seconds,
        unreached=measured.unreached,
    )


def measure(url: str, images: Sequence[LabelledImage], *, seconds: float, timeout: float, clients: int) -> Measured:
    """Let so many clients ask, each as soon as it has its answer, for so long, and each once at least."""
    measured, lock = Measured(), threading.Lock()
    turns = itertools.cycle(images)

    def ask_until_the_end(client: httpx.Client) -> None:
        while True:  # Once at least, however late a busy machine lets this thread begin.
            with lock:
                image = next(turns)
            result = _ask(client, url, image)
            with lock:
                _note(measured, result)
            if time.perf_counter() - started >= seconds:
                return

    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    own = httpx.create_ssl_context()
    with (
        httpx.Client(timeout=timeout, limits=limits, trust_env=False, verify=own) as client,
        ThreadPoolExecutor(clients) as pool,
    ):
        started = time.perf_counter()
        for future in [pool.submit(ask_until_the_end, client) for _ in range(clients)]:
            future.result()
    measured.seconds = time.perf_counter() - started
    return measured


def percentile(latencies: Sequence[float], share: float) -> float:
    """The smallest latency that ``share`` of all do not exceed."""
    return sorted(latencies)[max(math.ceil(share * len(latencies)) - 1, 0)]


def _ask(client: httpx.Client, url: str, image: LabelledImage) -> tuple[httpx.Response, float] | httpx.HTTPError:
    try:
        return timed_upload(client, url, image)
    except httpx.HTTPError as error:
        return error


def _note(measured: Measured, asked: tuple[httpx.Response, float] | httpx.HTTPError) -> None:
    if isinstance(asked, httpx.HTTPError):
        measured.failures.append(f"{type(asked).__name__} {asked}".strip())
        measured.unreached |= isinstance(asked, UNREACHED)
        return
    result, latency = asked
    if result.status_code == httpx.codes.OK:
        measured.latencies.append(latency)
    elif is_overload(result):
        measured.overloads += 1
    else:
        measured.failures.append(f"status {result.status_code}")


def _facts(measured: Measured, slow: int) -> Iterator[str]:
    """What the row says, in the order of interest."""
    answered = len(measured.latencies)
    if answered:
        yield f"p50 {1000 * percentile(measured.latencies, 0.5):.0f} ms"
        yield f"p95 {1000 * percentile(measured.latencies, 0.95):.0f} ms"
        yield f"{answered / measured.seconds:.0f} answers a second"
    else:
        yield "no answer"
    if slow:
        yield f"{slow} of {answered} too slow"
    if measured.overloads:
        yield f"{measured.overloads} turned away"
    if measured.failures:
        yield f"{len(measured.failures)} failed, first: {measured.failures[0]}"
