"""A team's metrics in a real Prometheus: its figures, and what becomes of missing, old and restarted ones."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from banana_delivery.evaluation.own_metrics.asking import HttpMetrics
from banana_delivery.policy.own_metrics.judging import MetricState, Standing, judged, measured, threshold
from banana_delivery.policy.own_metrics.metric import Measurement, OwnMetric
from banana_delivery.waiting import Deadline
from tests.support.ports import free_port
from tests.unit.policy.own_metrics.metrics import RATIO, SHARE, VALUE, metric
from tests.unit.policy.rollout.scene import QUICK, SHIFT_20

PROMETHEUS = shutil.which("prometheus")
GREEN = {"colour": "green", "digest": "sha256:ab", "version": "7"}
BLUE = {"colour": "blue", "digest": "sha256:cd", "version": "6"}
CONFIG = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: replicas
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
SECONDS = 15.0


@dataclass
class Replicas:
    """What a team's service exposes, and the server that scrapes it.

    Attributes:
        lines: of its page of metrics; None while it does not answer.
        url: of the Prometheus.
    """

    lines: list[str] | None = field(default_factory=list)
    url: str = ""

    def answers(self, colour: str, empty: int, total: int) -> None:
        """Expose the two counters of a colour."""
        kept = [line for line in self.lines or [] if f'colour="{colour}"' not in line]
        self.lines = [
            *kept,
            f'answers_total{{colour="{colour}",empty="true"}} {empty}',
            f'answers_total{{colour="{colour}",empty="false"}} {total - empty}',
        ]

    def measured(self, one: OwnMetric, fits: Callable[[Measurement], bool], names: dict[str, str]) -> Measurement:
        """What is answered, as soon as it is what is waited for."""
        source, deadline = HttpMetrics(), Deadline(SECONDS)
        found = source.measure(one.replace(address=self.url), names)
        while not fits(found) and not deadline.passed:
            time.sleep(0.1)
            found = source.measure(one.replace(address=self.url), names)
        assert fits(found), found
        return found


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    if PROMETHEUS is None:
        pytest.skip("prometheus is not installed; .ci/run takes it out of Debian's package.")
    exposed = Replicas()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            lines = exposed.lines
            self.send_response(200 if lines is not None else 503)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write("\n".join([*(lines or []), ""]).encode())

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    page = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=page.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    folder: Path = tmp_path_factory.mktemp("prometheus")
    (folder / "prometheus.yml").write_text(CONFIG.format(port=page.server_port))
    port = free_port()
    exposed.url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                PROMETHEUS,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            deadline = Deadline(SECONDS)
            while not is_ready(exposed.url) and server.poll() is None and not deadline.passed:
                time.sleep(0.05)
            assert is_ready(exposed.url), (folder / "log").read_text()
            yield exposed
        finally:
            server.terminate()
            server.wait(SECONDS)
            page.shutdown()
            page.server_close()


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", trust_env=False, timeout=1).is_success
    except httpx.HTTPError:
        return False


def test_counters_are_tested_and_what_begins_anew_or_goes_away_is_neither_good_nor_bad(replicas: Replicas) -> None:
    share = metric(SHARE)
    needed, state = threshold(QUICK, (share,)), MetricState()

    def look(seconds: float, fits: Callable[[Measurement], bool]) -> Standing:
        nonlocal state
        ours = replicas.measured(share, fits, GREEN)
        state = measured(share, SHIFT_20, state, seconds, ours, None)
        return judged(share, state, seconds, needed, SHIFT_20.ceiling_seconds).standing

    assert look(0, lambda one: "there are no such figures" in one.trouble) is Standing.UNKNOWN
    replicas.answers("green", 900, 1000)
    assert look(1, lambda one: one.total == 1000) is Standing.UNDECIDED
    replicas.answers("green", 901, 1100)
    assert look(2, lambda one: one.total == 1100) is Standing.FINE

    replicas.answers("green", 40, 50)
    assert look(3, lambda one: one.total == 50) is Standing.UNKNOWN
    assert "began anew" in state.trouble
    replicas.answers("green", 41, 150)
    assert look(4, lambda one: one.total == 150) is Standing.FINE
    assert (state.counted.bad, state.counted.judged) == (2, 200)

    replicas.lines = None
    assert look(5, lambda one: bool(one.trouble)) is Standing.UNKNOWN
    replicas.answers("green", 200, 400)
    assert look(6, lambda one: one.total == 400) is Standing.FINE
    replicas.answers("green", 400, 600)
    assert look(7, lambda one: one.total == 600) is Standing.FAILS


def test_what_is_older_than_allowed_is_missing(replicas: Replicas) -> None:
    # With a time of its own a sample has no mark of its end: it is given for five minutes, whatever becomes of it.
    replicas.lines = [f"answer_age 7 {int(1000 * time.time())}"]
    old = metric(VALUE, query="answer_age", time="max(timestamp(answer_age))")
    replicas.measured(old, lambda one: one.value == 7, GREEN)
    replicas.measured(old.replace(stale_seconds=1.0), lambda one: "s old, and 1 s are allowed" in one.trouble, GREEN)
    replicas.measured(old, lambda one: one.value == 7, GREEN)
    ranged = metric(VALUE, query="avg_over_time(answer_age[1s])", stale_seconds=1)
    replicas.measured(ranged, lambda one: "no such figures" in one.trouble, GREEN)


def test_no_number_many_series_and_mistakes_are_told(replicas: Replicas) -> None:
    replicas.lines = ['rate_of{colour="green"} NaN', 'rate_of{colour="blue"} 2']
    seen = replicas.measured(
        metric(VALUE, query='rate_of{colour="$colour"}', time="time()"), lambda one: one.value is not None, GREEN
    )
    state = measured(metric(VALUE), SHIFT_20, MetricState(), 0.0, seen, None)
    assert state.trouble == "what it gives is no number"

    def asked(query: str) -> Measurement:
        return replicas.measured(metric(VALUE, query=query, time="time()"), lambda one: True, GREEN)

    assert "2 series of it" in asked("rate_of").trouble
    assert "parse error" in asked("rate_of{").trouble
    assert asked("vector(3) / 0").value == float("inf")
    assert asked("scalar(vector(3))").value == 3
    assert "it gives matrix" in asked("rate_of[1m]").trouble


def test_a_ratio_compares_the_two_colours(replicas: Replicas) -> None:
    replicas.lines = ['rate_of{colour="green"} 4', 'rate_of{colour="blue"} 2']
    ratio, state = metric(RATIO, query='rate_of{colour="$colour"}', time="time()"), MetricState()
    for number in range(3):
        ours = replicas.measured(ratio, lambda one: one.value == 4, GREEN)
        theirs = replicas.measured(ratio, lambda one: one.value == 2, BLUE)
        state = measured(ratio, SHIFT_20, state, float(number), ours, theirs)
    assert judged(ratio, state, 2.0, 1.0, 40.0).standing is Standing.FAILS
