"""Steady load in the background: labelled images replayed at a rate that may change while it runs.

It fills the sample of a candidate by its internal route, and plays the clients where there are none. The load is open:
requests are sent when they are due, however slow the answers are, up to a bound on those under way.

What became of the requests of a load: written by its thread, read by any other.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx

from banana_delivery.errors import LabelledImagesError
from banana_delivery.evaluation.client import PREDICT, is_overload
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.names import COLOUR_HEADER, DIGEST_HEADER, PROBE_HEADER, TRAFFIC_HEADER

LOG = logging.getLogger(__name__)
READING_SECONDS = 10.0
"""For the bytes of one image; a share that hangs would keep requests waiting for ever, and say nothing."""


def as_probe(token: str) -> dict[str, str]:
    """How a request says that it is the probe's, and proves it.

    Args:
        token: of the release that is asked; empty for one from before there were tokens, which takes our word.
    """
    return {TRAFFIC_HEADER: "probe", **({PROBE_HEADER: token} if token else {})}


LONGEST_BACKLOG_SECONDS = 1.0
"""A load that fell behind, because its machine stood still, makes up for no more than this."""


class Probe:
    """Load in a thread of its own: runs within its ``with`` block and is over, to the last answer, when that ends.

    Nothing that the service does can raise into the caller; it is counted.
    """

    def __init__(
        self,
        url: str,
        images: Sequence[LabelledImage],
        *,
        rate: float = 0.0,
        in_flight: int = 16,
        timeout: float = 10.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare the load; nothing is sent yet.

        Args:
            url: of the service, without ``/predict``.
            images: to be sent in turn, for ever; at least one.
            rate: requests a second to begin with; 0 waits for `set_rate`.
            in_flight: requests under way at once, at most.
            timeout: for a whole answer, in seconds; later it counts as failed.
            headers: of every request.
        """
        if not images:
            raise ValueError("A probe needs at least one labelled image to send.")
        self._address = f"{url.rstrip('/')}{PREDICT}"
        self._images = itertools.cycle(images)
        self._rate = rate
        self._in_flight = in_flight
        self._timeout = timeout
        self._headers = dict(headers or {})
        self._under_way = 0
        # Not the loop's own threads: its end would wait for a disk that hangs.
        self._readers = ThreadPoolExecutor(in_flight, thread_name_prefix="probe-read")
        self._reading: set[asyncio.Task[None]] = set()
        self._said_unreadable = False
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tally = Tally()
        self._changed = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._drive()), name="probe", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._wake()
        self._thread.join()

    def set_rate(self, requests_per_second: float) -> None:
        """Send so many requests a second from now on; 0 pauses."""
        self._rate = max(requests_per_second, 0.0)
        self._wake()

    def counts(self) -> LoadCounts:
        """What became of the requests so far."""
        return self._tally.counts()

    def failed_requests(self) -> list[FailedRequest]:
        """The latest failures, oldest first; the counts are exact however many."""
        return self._tally.failed_requests()

    def _wake(self) -> None:
        # Before the load has begun and after it has ended there is nobody to wake.
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._changed.set)

    async def _drive(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._ready.set()
        limits = httpx.Limits(max_connections=self._in_flight, max_keepalive_connections=self._in_flight)
        async with (
            httpx.AsyncClient(
                timeout=self._timeout,
                limits=limits,
                headers=self._headers,
                trust_env=False,
                verify=httpx.create_ssl_context(),
            ) as client,
            asyncio.TaskGroup() as requests,
        ):
            due = loop.time()
            while not self._stopping:
                now = loop.time()
                if self._rate <= 0:
                    await self._pause(None)
                    due = loop.time()
                elif due > now:
                    await self._pause(due - now)
                else:
                    self._send(client, requests)
                    due = max(due, now - LONGEST_BACKLOG_SECONDS) + 1 / self._rate
            for task in self._reading:  # What was not sent yet is not sent any more.
                task.cancel()
        self._readers.shutdown(wait=False, cancel_futures=True)

    async def _pause(self, seconds: float | None) -> None:
        """Wait so long, or until the rate changes or the load is to stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)
        self._changed.clear()

    def _send(self, client: httpx.AsyncClient, requests: asyncio.TaskGroup) -> None:
        if self._under_way >= self._in_flight:
            self._tally.skip()
            return
        self._under_way += 1
        self._reading.add(requests.create_task(self._request(client, next(self._images))))

    async def _request(self, client: httpx.AsyncClient, image: LabelledImage) -> None:
        data = await self._read(image)
        if task := asyncio.current_task():
            self._reading.discard(task)
        self._tally.send()
        at, started = time.time(), time.perf_counter()
        result = await self._post(client, image.name, data) if isinstance(data, bytes) else data
        self._under_way -= 1
        self._tally.finish(result, at, time.perf_counter() - started)

    async def _post(self, client: httpx.AsyncClient, name: str, data: bytes) -> httpx.Response | Exception:
        try:
            async with asyncio.timeout(self._timeout):
                return await client.post(self._address, files={"image": (name, data, "image/jpeg")})
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is a count, and ends no load
            return error

    async def _read(self, image: LabelledImage) -> bytes | Exception:
        """The bytes of an image, read where the loop need not wait, and before the service's time begins to count."""
        found: bytes | Exception
        try:
            async with asyncio.timeout(READING_SECONDS):
                reading = asyncio.get_running_loop().run_in_executor(self._readers, getattr, image, "encoded")
                found = await reading
        except TimeoutError:
            found = LabelledImagesError(
                f"{image.name} was not read within {READING_SECONDS:g} s; look at where the labelled images lie."
            )
        except Exception as error:  # noqa: BLE001 - the same
            found = error
        if isinstance(found, Exception) and not self._said_unreadable:
            self._said_unreadable = True
            LOG.warning("A labelled image cannot be sent, and no further one is told of: %s", found)
        return found


KEPT_FAILURES = 1000
"""Failures whose details are kept, the latest ones; counts have no such bound."""


@dataclass(frozen=True)
class FailedRequest:
    """A request that did not get what it asked for.

    Attributes:
        at: when it was sent, seconds since the epoch.
        kind: ``5xx``, ``4xx``, ``connection``, ``timeout``, or ``client`` if it could not even be sent.
        seconds: how long it took to fail.
        status: HTTP status, if there was an answer.
        colour: that answered, if the answer says so.
        digest: that answered, if the answer says so.
        detail: the error, or the beginning of the answer.
    """

    at: float
    kind: str
    seconds: float
    status: int | None
    colour: str
    digest: str
    detail: str


@dataclass(frozen=True)
class LoadCounts:
    """What became of the requests so far; once the load has stopped, sent = answered + overloads + failed.

    Attributes:
        sent: requests that were sent, or would have been if their image could have been read.
        answered: of these, with status 200.
        overloads: of these, turned away with 503 and Retry-After.
        failures: of these, failed, by `FailedRequest.kind`.
        skipped: requests that were due, but not sent because too many were under way.
        digests: how many answers with status 200 each image digest gave.
    """

    sent: int = 0
    answered: int = 0
    overloads: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    digests: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """All failures, whatever their kind."""
        return sum(self.failures.values())


class Tally:
    """Exact counts and the details of failures; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent = self._answered = self._overloads = self._skipped = 0
        self._failures: Counter[str] = Counter()
        self._digests: Counter[str] = Counter()
        self._details: deque[FailedRequest] = deque(maxlen=KEPT_FAILURES)

    def send(self) -> None:
        """A request was sent."""
        with self._lock:
            self._sent += 1

    def skip(self) -> None:
        """A request was due, but not sent."""
        with self._lock:
            self._skipped += 1

    def finish(self, result: httpx.Response | Exception, at: float, seconds: float) -> None:
        """A request ended, ``seconds`` after it was sent at ``at``."""
        with self._lock:
            if isinstance(result, httpx.Response) and result.status_code == httpx.codes.OK:
                self._answered += 1
                self._digests[result.headers.get(DIGEST_HEADER, "")] += 1
            elif isinstance(result, httpx.Response) and is_overload(result):
                self._overloads += 1
            else:
                failure = _failure(result, at, seconds)
                self._failures[failure.kind] += 1
                self._details.append(failure)

    def counts(self) -> LoadCounts:
        """The counts so far."""
        with self._lock:
            return LoadCounts(
                self._sent, self._answered, self._overloads, dict(self._failures), self._skipped, dict(self._digests)
            )

    def failed_requests(self) -> list[FailedRequest]:
        """The latest failures, oldest first."""
        with self._lock:
            return list(self._details)


def _failure(result: httpx.Response | Exception, at: float, seconds: float) -> FailedRequest:
    if isinstance(result, httpx.Response):
        return FailedRequest(
            at=at,
            kind=f"{result.status_code // 100}xx",
            seconds=seconds,
            status=result.status_code,
            colour=result.headers.get(COLOUR_HEADER, ""),
            digest=result.headers.get(DIGEST_HEADER, ""),
            detail=result.text[:200],
        )
    detail = f"{type(result).__name__} {result}".strip()
    return FailedRequest(at, _kind(result), seconds, None, "", "", detail)


def _kind(error: Exception) -> str:
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return "timeout"
    return "connection" if isinstance(error, httpx.TransportError) else "client"
