"""Traces to a collector by OTLP over HTTP, in threads that nobody waits for.

The messages are OpenTelemetry's own; its SDK is not used. That knows one provider and one set of variables a process,
both of them MLflow's here, and its exporter tries again for a minute, through whatever proxy the environment names.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import threading
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import httpx

from banana_delivery.errors import redacted
from banana_delivery.names import SPAN_PREFIX
from banana_delivery.policy.tracing.spans import Attributes, Span, Trace
from banana_delivery.quoting import visible

LOG = logging.getLogger(__name__)
TIMEOUT_SECONDS = 3.0
"""Of each part of a request: a collector stands beside us, and a trace is worth no longer wait."""
MOST_UNDER_WAY = 4
"""Traces at once; more come only where a collector hangs, and those are let go."""
LAST_SECONDS = 2.0
"""A process that ends waits so long for the traces that are under way, all together."""
MOST_CHARACTERS = 500
"""Of an attribute; collectors cut at some length of their own."""
SERVICE = "banana-delivery"


class Sender:
    """Sends traces in the background; none of its methods raises or waits.

    Args:
        most: traces that are under way at once.
    """

    def __init__(self, most: int = MOST_UNDER_WAY) -> None:
        self._free = threading.Semaphore(most)
        self._threads: set[threading.Thread] = set()

    def send(self, url: str, trace: Trace) -> None:
        """Begin to send a trace, or let it go where too many are under way."""
        if not self._free.acquire(blocking=False):
            LOG.warning("The trace of a delivery is not sent: %s has not taken the ones before.", url)
            return
        thread = threading.Thread(target=self._post, args=(url, trace), name="send-trace", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError as error:  # No thread is left. Whoever ends waits for none that never began.
            self._threads.discard(thread)
            self._free.release()
            LOG.warning("The trace of a delivery is not sent to %s: %s", url, error)

    def wait(self, seconds: float = LAST_SECONDS) -> None:
        """Give what is under way so long, all together."""
        deadline = time.monotonic() + seconds
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _post(self, url: str, trace: Trace) -> None:
        try:
            post(url, encoded(trace))
        except Exception as error:  # noqa: BLE001 - nobody waits for this thread, so it says what went wrong
            LOG.warning("The trace of a delivery was not taken by %s: %s", url, error)
        finally:
            self._threads.discard(threading.current_thread())
            self._free.release()


SENDER = Sender()
"""Of this process."""
atexit.register(SENDER.wait)


def post(url: str, body: bytes) -> None:
    """Send one message. The answer's body is not read: whoever answers may be anybody.

    Raises:
        httpx.HTTPError: if it is not taken.
    """
    headers = {"Content-Type": "application/x-protobuf"}
    own = httpx.create_ssl_context()
    with (
        httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False, verify=own, follow_redirects=False) as client,
        client.stream("POST", url, content=body, headers=headers) as answer,
    ):
        answer.raise_for_status()


def encoded(trace: Trace) -> bytes:
    """A trace as the body of a request to ``/v1/traces``."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    _put(resource.resource.attributes, {"service.name": SERVICE, "service.version": _version()})
    scope = resource.scope_spans.add()
    scope.scope.name = SERVICE
    for span, parent, own in _numbered(trace.root, b"", "", trace.trace_id):
        message = scope.spans.add(
            trace_id=trace.trace_id,
            span_id=own,
            parent_span_id=parent,
            name=visible(span.name),
            kind=1,  # Internal: nobody asked anybody.
            start_time_unix_nano=_nanoseconds(span.start),
            end_time_unix_nano=max(_nanoseconds(span.start), _nanoseconds(span.end)),
        )
        _put(message.attributes, {f"{SPAN_PREFIX}{name}": value for name, value in span.attributes.items()})
        if span.failed:
            message.status.code = message.status.STATUS_CODE_ERROR
            message.status.message = _text(span.failed)
        if trace.about and not parent:
            message.links.add(trace_id=trace.about, span_id=span_id(trace.about, "/"))
    sent: bytes = request.SerializeToString()
    return sent


def span_id(trace_id: bytes, place: str) -> bytes:
    """Of the span at a place of a trace, of which ``/`` is the root: the same however often it is sent."""
    return hashlib.sha256(trace_id + place.encode()).digest()[:8]


def _numbered(span: Span, parent: bytes, above: str, trace_id: bytes) -> Iterator[tuple[Span, bytes, bytes]]:
    """Each span with its parent's id and its own."""
    place = above or "/"
    own = span_id(trace_id, place)
    yield span, parent, own
    for number, child in enumerate(span.children):
        yield from _numbered(child, own, f"{above}/{number}", trace_id)


def _put(attributes: object, values: Attributes) -> None:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

    for name, value in values.items():
        match value:
            case bool():
                said = AnyValue(bool_value=value)
            case int():
                said = AnyValue(int_value=value)
            case float():
                said = AnyValue(double_value=value)
            case _:
                said = AnyValue(string_value=_text(value))
        attributes.append(KeyValue(key=name, value=said))  # type: ignore[attr-defined]


def _text(value: str) -> str:
    """Cut last: of half a secret nobody can tell that it is one."""
    return visible(redacted(value))[:MOST_CHARACTERS]


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * 1e9))


def _version() -> str:
    try:
        return version(SERVICE)
    except PackageNotFoundError:
        return ""
