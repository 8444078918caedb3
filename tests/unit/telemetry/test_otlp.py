import logging
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler

import pytest

from banana_delivery.errors import hide
from banana_delivery.policy.tracing.spans import Span, Trace
from banana_delivery.telemetry import otlp
from banana_delivery.telemetry.otlp import Sender
from tests.support.collector import collecting

STEP = Span("shift 20 %", 10.5, 12.0, {"weight": 20, "verdict": "set_weight"})
ROOT = Span("delivery", 10.0, 20.0, {"version": "7", "share": 0.5, "ok": True}, "Away.", (STEP, STEP))
TRACE = Trace(b"t" * 16, ROOT, about=b"a" * 16)


def test_a_collector_gets_the_whole_trace_by_the_protocol() -> None:
    with collecting() as collector:
        sender = Sender()
        sender.send(collector.url, TRACE)
        request = collector.requests.get(timeout=20)
    (resource,) = request.resource_spans
    assert {one.key: one.value.string_value for one in resource.resource.attributes}[
        "service.name"
    ] == "banana-delivery"
    root, *steps = resource.scope_spans[0].spans
    assert collector.headers[0]["Content-Type"] == "application/x-protobuf"
    assert (root.trace_id, root.parent_span_id, root.name) == (b"t" * 16, b"", "delivery")
    assert (root.start_time_unix_nano, root.end_time_unix_nano) == (10_000_000_000, 20_000_000_000)
    assert (root.status.code, root.status.message) == (root.status.STATUS_CODE_ERROR, "Away.")
    assert [link.trace_id for link in root.links] == [b"a" * 16]
    kinds = {one.key: one.value.WhichOneof("value") for one in root.attributes}
    assert kinds == {
        "banana.delivery.version": "string_value",
        "banana.delivery.share": "double_value",
        "banana.delivery.ok": "bool_value",
    }
    assert [(step.parent_span_id, step.name, step.status.code) for step in steps] == [
        (root.span_id, "shift 20 %", 0),
        (root.span_id, "shift 20 %", 0),
    ]
    assert len({span.span_id for span in (root, *steps)}) == 3
    assert {len(span.span_id) for span in (root, *steps)} == {8}


def test_what_is_sent_twice_is_the_same_trace() -> None:
    assert otlp.encoded(TRACE) == otlp.encoded(TRACE)


def test_no_secret_and_nothing_invisible_is_sent() -> None:
    hide(["s3cret-of-the-registry"])
    told = Span("delivery", 0, 1, {"reason": "s3cret-of-the-registry\x1b[31m"}, "s3cret-of-the-registry")
    sent = otlp.encoded(Trace(b"t" * 16, told))
    assert b"s3cret" not in sent
    assert b"\x1b" not in sent


def test_a_long_text_is_cut_and_not_in_the_midst_of_a_secret() -> None:
    hide(["s3cret-of-the-registry"])
    long = "x" * 490 + "s3cret-of-the-registry" + "y" * 100
    sent = otlp.encoded(Trace(b"t" * 16, Span("delivery", 0, 1, {"reason": long}, long)))
    assert b"s3cret" not in sent
    assert b"x" * 490 + b"***yyyyyyy" in sent
    assert b"y" * 8 not in sent


def test_a_machine_without_threads_costs_a_line_and_nothing_later(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sender = Sender(most=1)
    with monkeypatch.context() as poor, caplog.at_level(logging.WARNING):
        poor.setattr(threading.Thread, "start", start)
        sender.send("http://127.0.0.1:9/v1/traces", TRACE)
    assert "can't start new thread" in caplog.text
    sender.wait()
    with collecting() as collector:
        sender.send(collector.url, TRACE)
        assert len(collector.spans()) == 3


@pytest.mark.parametrize("status", [307, 404, 429, 500])
def test_a_stranger_costs_a_line_in_the_log(status: int, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Location", "http://127.0.0.1:9/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with collecting(refuse) as collector, caplog.at_level(logging.WARNING):
        sender = Sender()
        sender.send(collector.url, TRACE)
        sender.wait(20)
    assert f"was not taken by {collector.url}" in caplog.text
    assert collector.requests.qsize() == 1


def test_one_that_hangs_delays_nobody_and_later_traces_are_let_go(caplog: pytest.LogCaptureFixture) -> None:
    end = threading.Event()

    def hang(_: BaseHTTPRequestHandler) -> None:
        end.wait(60)

    with collecting(hang) as collector, caplog.at_level(logging.WARNING):
        sender, began = Sender(most=2), time.monotonic()
        for _ in range(5):
            sender.send(collector.url, TRACE)
        assert time.monotonic() - began < 1.0
        sender.wait(0.1)
        assert time.monotonic() - began < 2.0
        assert caplog.text.count("is not sent") == 3
        end.set()
        sender.wait(20)
        sender.send(collector.url, TRACE)
        sender.wait(20)
    assert caplog.text.count("is not sent") == 3


def test_nobody_there_costs_a_line_and_no_proxy_is_asked(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as proxy, caplog.at_level(logging.WARNING):
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        sender = Sender()
        sender.send("http://127.0.0.1:9/v1/traces", TRACE)
        sender.wait(20)
        assert proxy.requests.empty()
    assert "was not taken by http://127.0.0.1:9/v1/traces" in caplog.text


def test_a_process_that_ends_sends_its_trace_and_touches_nothing_of_the_sdk() -> None:
    code = (
        "import sys; from banana_delivery.telemetry.otlp import SENDER; "
        "from banana_delivery.policy.tracing.spans import Span, Trace; "
        "SENDER.send(sys.argv[1], Trace(b't' * 16, Span('delivery', 0, 1))); SENDER.wait(20); "
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.trace'))])"
    )
    with collecting() as collector:
        done = subprocess.run([sys.executable, "-c", code, collector.url], capture_output=True, text=True, check=True)
        assert [span.name for span in collector.spans()] == ["delivery"]
    assert done.stdout.strip() == "[]"
