"""What every response carries and every request is measured by; the outermost layer of the application."""

import hmac
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.lifecycle import Lifecycle, State
from serving.metrics import Metrics

ROUTES = frozenset({"/predict", "/predict/batch", "/predict/annotated", "/health", "/ready", "/version", "/metrics"})
CLIENT_CLOSED_REQUEST = 499
UNFINISHED = frozenset({408, CLIENT_CLOSED_REQUEST})
"""Answers to a body that did not arrive as a whole, by the client's doing."""
GAVE_UP_SECONDS = 1.0
"""A router's judge counts clients that hang up from here on, so the ones that never sent all are told apart by it."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def traffic_of(headers: Headers, token: str) -> str:
    """Returns the label of who asked: the pipeline's own probe, or anybody else.

    A release is judged by both apart, so whoever could pose as the probe could speak for it. What says that it is the
    probe without the token is a user like any other, and answered.
    """
    if headers.get("x-banana-traffic") != "probe":
        return "user"
    proof = headers.get("x-banana-probe", "")
    return "probe" if not token or hmac.compare_digest(proof.encode(), token.encode()) else "user"


def route_of(path: str) -> str:
    """Returns the route's label; unknown paths share one, so that nobody can fill the metrics with labels."""
    return path if path in ROUTES else "other"


class Envelope:
    """Wraps the application: request id, identity headers, counters and duration of each request."""

    def __init__(
        self, app: ASGIApp, identity: dict[str, str], lifecycle: Lifecycle, metrics: Metrics, probe_token: str
    ) -> None:
        self._app = app
        self._probe_token = probe_token
        self._identity = identity
        self._lifecycle = lifecycle
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one ASGI connection; anything but HTTP goes straight through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            # The server leaves the body out; what answers GET knows the headers.
            scope = {**scope, "method": "GET"}
        traffic = traffic_of(Headers(scope=scope), self._probe_token)
        closing = self._lifecycle.state is State.DRAINING
        exchange = _Exchange(scope, receive, send, traffic, self._identity, closing)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            self._measure(exchange)

    def _measure(self, exchange: "_Exchange") -> None:
        if exchange.answered_at is None:
            return
        route, traffic = exchange.route, exchange.traffic
        self._metrics.requests.labels(route, str(exchange.status), traffic).inc()
        if exchange.is_unfinished:
            # No answer was owed yet, so none was slow.
            if exchange.status == CLIENT_CLOSED_REQUEST:
                late = exchange.answered_at - exchange.received_at >= GAVE_UP_SECONDS
                self._metrics.unfinished.labels(traffic, str(late).lower()).inc()
            return
        self._metrics.duration.labels(route, traffic).observe(exchange.answered_at - exchange.received_at)


class _Exchange:
    """One request and its response."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, traffic: str, identity: dict[str, str], closing: bool
    ) -> None:
        headers = Headers(scope=scope)
        wanted = headers.get("x-request-id", "")
        self.request_id = wanted if REQUEST_ID.fullmatch(wanted) else uuid.uuid4().hex
        self.traffic = traffic
        self.route = route_of(scope["path"])
        self.received_at = time.perf_counter()
        self.is_whole = False
        self.answered_at: float | None = None
        self.status = 0
        self._receive, self._send = receive, send
        self._identity = identity
        self._closing = closing
        scope["state"] = {**scope.get("state", {}), "request_id": self.request_id, "traffic": self.traffic}

    async def receive(self) -> Message:
        """Passes a message in; the clock of the request's duration starts when its body is complete."""
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self.received_at = time.perf_counter()
            self.is_whole = True
        return message

    @property
    def is_unfinished(self) -> bool:
        """Whether its client went away, or took too long, before the whole body was here."""
        return not self.is_whole and self.status in UNFINISHED

    async def send(self, message: Message) -> None:
        """Passes a message out, with the headers every response carries."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.request_id
            headers.update(self._identity)
            if self._closing:
                headers["Connection"] = "close"
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.answered_at = time.perf_counter()
