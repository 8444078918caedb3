"""What became of the requests of a load: written by its thread, read by any other."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field

import httpx

from banana_delivery.traffic.prediction import COLOUR_HEADER, DIGEST_HEADER, is_overload

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
        sent: requests that were sent.
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
