"""One question to a server of figures, within bounds: it may be slow, huge, broken, or lie about its age.

It is asked at the address that the policy names: no redirect is followed, no proxy of the environment is asked, and a
credential is sent to the address that it was set for and to no other.
"""

from __future__ import annotations

import base64
import math
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

import httpx
from pydantic import SecretStr
from pydantic_core import from_json

from banana_delivery.errors import redacted
from banana_delivery.policy.own_metrics.metric import Measurement, MetricProvider, OwnMetric, named
from banana_delivery.quoting import one_line, promql_warnings

CONNECT_SECONDS, ANSWER_SECONDS = 3.0, 5.0
"""The second is for a whole answer, however its bytes arrive."""
MOST_BYTES = 256 * 1024
MOST_WORDS = 160
"""Characters of what a server says of its trouble that are passed on."""
AHEAD_SECONDS = 5.0
"""A figure may be so much newer than the answer that brings it; what is more from the future is no figure."""


class _NoFigureError(Exception):
    """There is no figure; the message says why, as a clause."""


@dataclass(frozen=True)
class Answer:
    """What a server answered.

    Attributes:
        said: its JSON.
        at: when, by its own clock, seconds since the epoch; None if it does not say.
    """

    said: Any
    at: float | None


class HttpMetrics:
    """Asks over HTTP.

    Args:
        tokens: what shows us, by address: a bearer token, or a login as ``user:password``.
    """

    def __init__(self, tokens: Mapping[str, SecretStr] | None = None) -> None:
        self._tokens = {address.rstrip("/"): token for address, token in (tokens or {}).items()}

    def measure(self, metric: OwnMetric, names: Mapping[str, str]) -> Measurement:
        """As ``MetricSource`` says."""
        try:
            if metric.provider is MetricProvider.PROMETHEUS:
                return self._by_promql(metric, names)
            return self._by_page(metric, names)
        except _NoFigureError as none:
            return Measurement(trouble=redacted(str(none)))

    def _by_promql(self, metric: OwnMetric, names: Mapping[str, str]) -> Measurement:
        value, at = self._evaluated(metric, named(metric.query, names), None)
        taken = None
        if metric.time:
            taken, _ = self._evaluated(metric, named(metric.time, names), at)
            _refuse_old(metric, at, taken)
        if not metric.counts:
            return Measurement(value=value, taken=taken)
        # Of the same moment: a scrape between the two would count more on the wrong side than there is.
        total, _ = self._evaluated(metric, named(metric.total, names), at)
        return Measurement(value=value, total=total, taken=taken)

    def _evaluated(self, metric: OwnMetric, query: str, at: float | None) -> tuple[float, float]:
        """The value of an expression, and the moment of it by the server's clock."""
        asked = {"query": query, "timeout": f"{ANSWER_SECONDS:g}s"}
        if at is not None:
            asked["time"] = f"{at:.3f}"
        answer = self._asked(metric, f"{metric.address.rstrip('/')}/api/v1/query", asked)
        said = answer.said
        if not isinstance(said, dict) or said.get("status") != "success":
            raise _NoFigureError(f"Prometheus says: {_words(said.get('error') if isinstance(said, dict) else said)}")
        if warnings := promql_warnings(said.get("warnings")):
            raise _NoFigureError(f"Prometheus warns, so it may be a part: {_words(warnings)}")
        moment, value = _sample(said.get("data"))
        _refuse_old(metric, answer.at, moment)
        return value, moment

    def _by_page(self, metric: OwnMetric, names: Mapping[str, str]) -> Measurement:
        answer = self._asked(metric, metric.address.rstrip("/") + named(metric.query, names), None)
        taken = _number(answer.said, metric.time)
        _refuse_old(metric, answer.at, taken)
        value = _number(answer.said, metric.value)
        return Measurement(
            value=value, total=_number(answer.said, metric.total) if metric.counts else None, taken=taken
        )

    def _asked(self, metric: OwnMetric, url: str, query: Mapping[str, str] | None) -> Answer:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", **self._login(metric)}
        try:
            with (
                httpx.Client(timeout=CONNECT_SECONDS, trust_env=False, verify=self._trusted) as client,
                client.stream("GET", url, params=query, headers=headers) as response,
            ):
                body = _body(response, time.monotonic() + ANSWER_SECONDS)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _NoFigureError(f"it does not answer: {_words(str(error) or type(error).__name__)}") from None
        if response.is_redirect:
            raise _NoFigureError(f"it answers {response.status_code} and leads elsewhere, where nobody asks")
        if response.status_code in {401, 403}:
            raise _NoFigureError(f"it answers {response.status_code}; see BANANA_METRIC_TOKENS")
        try:
            said = from_json(body)
        except ValueError:
            raise _NoFigureError(f"it answers {response.status_code} and no JSON") from None
        # Prometheus answers 400 and 422 with the reason as JSON.
        if not response.is_success and metric.provider is not MetricProvider.PROMETHEUS:
            raise _NoFigureError(f"it answers {response.status_code}")
        return Answer(said, _date(response.headers.get("Date", "")))

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        """Read once, which takes longer than an answer; it knows ``SSL_CERT_FILE``."""
        return httpx.create_ssl_context()

    def _login(self, metric: OwnMetric) -> dict[str, str]:
        token = self._tokens.get(metric.address.rstrip("/"))
        if token is None:
            return {}
        secret = token.get_secret_value()
        if ":" in secret:
            return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}
        return {"Authorization": f"Bearer {secret}"}


def _refuse_old(metric: OwnMetric, now: float | None, moment: float) -> None:
    """Both times are the server's own, so that no two clocks are compared."""
    if now is None:
        raise _NoFigureError("its answer has no Date, so nobody knows how old it is")
    age = now - moment
    if not math.isfinite(age):
        raise _NoFigureError("its figure says no time")
    if age > metric.stale_seconds:
        raise _NoFigureError(f"its figure is {age:.0f} s old, and {metric.stale_seconds:g} s are allowed")
    if age < -AHEAD_SECONDS:
        raise _NoFigureError(f"its figure is {-age:.0f} s ahead of its own clock")


def _body(response: httpx.Response, until: float) -> bytes:
    """All of an answer, in its time and its bounds."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise _NoFigureError("its answer is compressed, which nobody asked for")
    body = bytearray()
    for part in response.iter_raw():
        body += part
        if len(body) > MOST_BYTES:
            raise _NoFigureError(f"its answer is larger than {MOST_BYTES // 1024} KiB")
        if time.monotonic() > until:
            raise _NoFigureError(f"its answer takes longer than {ANSWER_SECONDS:g} s")
    return bytes(body)


def _date(said: str) -> float | None:
    try:
        return parsedate_to_datetime(said).timestamp()
    except (ValueError, OverflowError):
        return None


def _sample(data: object) -> tuple[float, float]:
    """Moment and value of a result that holds one."""
    kind, result = (data.get("resultType"), data.get("result")) if isinstance(data, dict) else (None, None)
    if kind == "vector" and isinstance(result, list):
        if not result:
            raise _NoFigureError("there are no such figures (where none means 0, say so: `or vector(0)`)")
        if len(result) > 1:
            raise _NoFigureError(f"there are {len(result)} series of it; put them together, for example by sum()")
        result = result[0].get("value") if isinstance(result[0], dict) else None
    elif kind != "scalar":
        raise _NoFigureError(f"it gives {_words(kind)}, and one value is asked for")
    try:
        moment, value = result  # type: ignore[misc]
        return float(moment), float(value)
    except (TypeError, ValueError):
        raise _NoFigureError("it gives no sample of a time and a value") from None


def _number(said: Any, place: str) -> float:
    """The number at a place of a page; NaN and infinity are for whoever judges."""
    for name in place.split("."):
        if isinstance(said, dict) and name in said:
            said = said[name]
        elif isinstance(said, list) and name.isdecimal() and int(name) < len(said):
            said = said[int(name)]
        else:
            raise _NoFigureError(f"its page has no {place}")
    if isinstance(said, bool) or not isinstance(said, int | float):
        raise _NoFigureError(f"{place} of its page is no number")
    try:
        return float(said)
    except OverflowError:
        raise _NoFigureError(f"{place} of its page is no number that fits") from None


def _words(said: object) -> str:
    return one_line(redacted(str(said)), MOST_WORDS)
