"""Whatever a server of figures does, it is bounded, and what is no figure is told as a clause."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from banana_delivery.errors import hide
from banana_delivery.evaluation.own_metrics import asking
from banana_delivery.evaluation.own_metrics.asking import HttpMetrics
from banana_delivery.policy.own_metrics.metric import Measurement, OwnMetric
from tests.unit.policy.own_metrics.metrics import PAGE, SHARE, VALUE, metric

NAMES = {"colour": "green", "digest": "sha256:ab", "version": "7"}


@dataclass
class Says:
    """What a server answers next, and what it was asked.

    Attributes:
        body: of each answer.
        status: of it.
        headers: beside the usual ones.
        dated: whether it says when.
        drip: seconds between two bytes.
        asked: paths with their queries.
        logins: the headers that show who asks.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    dated: bool = True
    drip: float = 0.0
    asked: list[str] = field(default_factory=list)
    logins: list[str | None] = field(default_factory=list)
    url: str = ""

    def prometheus(self, result: object, kind: str = "vector", **more: object) -> None:
        self.body = json.dumps({"status": "success", "data": {"resultType": kind, "result": result}, **more}).encode()

    def sample(self, value: object, age: float = 0.0) -> None:
        self.prometheus([{"metric": {}, "value": [time.time() - age, value]}])


@pytest.fixture
def server() -> Iterator[Says]:
    says = Says()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            says.asked.append(self.path)
            says.logins.append(self.headers.get("Authorization"))
            self.send_response_only(says.status)
            if says.dated:
                self.send_header("Date", formatdate(usegmt=True))
            self.send_header("Content-Length", str(len(says.body)))
            for name, value in says.headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for one in [bytes([byte]) for byte in says.body] if says.drip else [says.body]:
                    self.wfile.write(one)
                    time.sleep(says.drip)
            except OSError:
                return

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    says.url = f"http://127.0.0.1:{httpd.server_port}"
    threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield says
    httpd.shutdown()
    httpd.server_close()


def asked(server: Says, one: OwnMetric, tokens: dict[str, SecretStr] | None = None) -> Measurement:
    return HttpMetrics(tokens).measure(one.replace(address=server.url), NAMES)


def test_a_prometheus_is_asked_for_both_counters_at_one_moment(server: Says) -> None:
    server.sample("41.5")
    assert asked(server, metric(SHARE)) == Measurement(value=41.5, total=41.5)
    first, second = (parse_qs(urlsplit(path).query) for path in server.asked)
    assert first["query"] == ['sum(answers_total{colour="green", empty="true"})']
    assert second["query"] == ['sum(answers_total{colour="green"})']
    assert "time" not in first
    assert abs(float(second["time"][0]) - time.time()) < 10


def test_a_prometheus_is_asked_how_old_its_samples_are(server: Says) -> None:
    server.sample("41.5")
    assert "s old" in asked(server, metric(VALUE, time='max(timestamp(x{colour="$colour"}))')).trouble
    assert parse_qs(urlsplit(server.asked[1]).query)["query"] == ['max(timestamp(x{colour="green"}))']


def test_when_its_sample_was_taken_goes_with_it(server: Says) -> None:
    at = time.time() - 10
    server.sample(at)
    assert asked(server, metric(VALUE, time="max(timestamp(x))")) == Measurement(value=at, taken=at)
    assert asked(server, metric(VALUE)).taken is None


def test_a_page_is_asked_where_its_figure_stands(server: Says) -> None:
    at = time.time()
    server.body = json.dumps({"data": [{"rate": 0.25, "n": 8, "at": at}]}).encode()
    places = {"value": "data.0.rate", "time": "data.0.at"}
    assert asked(server, metric(PAGE, **places)) == Measurement(value=0.25, taken=at)
    counted = metric(PAGE, **places, kind="share", total="data.0.n")
    assert asked(server, counted) == Measurement(value=0.25, total=8, taken=at)
    assert server.asked[0] == "/figures?of=green"


@pytest.mark.parametrize(
    ("result", "kind", "says"),
    [
        ([], "vector", "there are no such figures"),
        ([{"value": [0, "1"]}, {"value": [0, "1"]}], "vector", "2 series of it"),
        ([], "matrix", "it gives matrix"),
        (["x", "y"], "scalar", "no sample of a time and a value"),
        ([{"histogram": []}], "vector", "no sample of a time and a value"),
        (["nan", "1"], "scalar", "says no time"),
        ([0, "1"], "scalar", "s old, and 90 s are allowed"),
        ([9e12, "1"], "scalar", "ahead of its own clock"),
    ],
)
def test_what_is_no_single_fresh_sample_is_no_figure(server: Says, result: object, kind: str, says: str) -> None:
    server.prometheus(result, kind)
    found = asked(server, metric(VALUE))
    assert found.value is None
    assert says in found.trouble


def test_an_answer_that_may_be_a_part_is_none(server: Says) -> None:
    server.prometheus([time.time(), "1"], "scalar", warnings=["one store is away"])
    assert "it may be a part: one store is away" in asked(server, metric(VALUE)).trouble


def test_a_remark_on_how_an_expression_is_written_is_no_warning(server: Says) -> None:
    server.prometheus([time.time(), "1"], "scalar", warnings=["PromQL info: metric might not be a counter"])
    assert asked(server, metric(VALUE)).value == 1


def test_what_a_prometheus_says_of_a_mistake_is_passed_on(server: Says) -> None:
    server.body, server.status = json.dumps({"status": "error", "error": 'parse error: "x\n"'}).encode(), 400
    assert asked(server, metric(VALUE)).trouble == 'Prometheus says: parse error: "x "'


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, "it answers 302 and leads elsewhere"),
        ({"status": 401}, "it answers 401; see BANANA_METRIC_TOKENS"),
        ({"status": 500, "body": b"{}"}, "it answers 500"),
        ({"body": b"<html>"}, "it answers 200 and no JSON"),
        ({"body": b"[" * 100_000}, "it answers 200 and no JSON"),
        ({"body": b" " * (asking.MOST_BYTES + 1)}, "larger than 256 KiB"),
        ({"headers": {"Content-Encoding": "gzip"}, "body": b"x"}, "compressed"),
        ({"dated": False}, "has no Date"),
        ({"body": b'{"data": {"at": 1}}'}, "s old"),
        ({"body": b'{"data": {"rate": 1}}'}, "its page has no data.at"),
        ({"body": b'{"data": {"at": "now"}}'}, "data.at of its page is no number"),
        ({"body": b'{"data": {"at": true}}'}, "data.at of its page is no number"),
        ({"body": b'{"data": {"at": %s}}' % (b"9" * 400)}, "no number that fits"),
    ],
)
def test_a_page_that_misbehaves_gives_no_figure(server: Says, changes: dict[str, object], says: str) -> None:
    server.body = json.dumps({"data": {"rate": 1, "at": time.time()}}).encode()
    for name, value in changes.items():
        setattr(server, name, value)
    found = asked(server, metric(PAGE))
    assert found.value is None
    assert says in found.trouble
    assert len(server.asked) == 1


def test_a_slow_answer_ends_in_its_time(server: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.2)
    server.body, server.drip = b" " * 1000, 0.02
    began = time.monotonic()
    assert "takes longer than 0.2 s" in asked(server, metric(PAGE)).trouble
    assert time.monotonic() - began < 2


def test_nobody_there_is_told(server: Says) -> None:
    del server
    found = HttpMetrics().measure(metric(VALUE, address="http://127.0.0.1:9"), NAMES)
    assert "it does not answer" in found.trouble


def test_a_credential_goes_to_its_address_alone_and_is_told_nobody(server: Says) -> None:
    server.sample("1")
    token = SecretStr("a-token-of-some-length")
    hide([token.get_secret_value()])
    assert asked(server, metric(VALUE), {f"{server.url}/": token}).value == 1
    assert asked(server, metric(VALUE), {"http://prometheus:9090": token}).value == 1
    asked(server, metric(VALUE), {server.url: SecretStr("ada:word")})
    assert server.logins == ["Bearer a-token-of-some-length", None, "Basic YWRhOndvcmQ="]
    server.body, server.status = b'{"status": "error", "error": "who is a-token-of-some-length"}', 400
    assert "a-token-of-some-length" not in asked(server, metric(VALUE), {server.url: token}).trouble


def test_no_proxy_of_the_environment_is_asked(server: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.sample("1")
    assert asked(server, metric(VALUE)).value == 1
