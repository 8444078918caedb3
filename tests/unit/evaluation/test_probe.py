import time
from collections.abc import Callable
from pathlib import Path

import pytest

from banana_delivery.evaluation.http import HttpEvaluator
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.evaluation.probe import Probe
from banana_delivery.settings import Settings
from tests.unit.evaluation.leaf_service import DIGEST, LeafService

DEADLINE_SECONDS = 30.0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the load did not get so far"
        time.sleep(0.005)


def test_every_request_is_counted_once_the_load_is_over(service: LeafService, leaves: list[LabelledImage]) -> None:
    service.delay = 0.02
    with Probe(service.url, leaves, rate=200) as probe:
        wait_until(lambda: probe.counts().answered >= 30)
    counts = probe.counts()
    assert counts.sent == counts.answered == service.asked
    assert counts.digests == {DIGEST: counts.answered}
    assert counts.failed == 0


def test_nothing_is_sent_until_a_rate_is_set_and_nothing_after_it_is_zero(
    service: LeafService, leaves: list[LabelledImage]
) -> None:
    with Probe(service.url, leaves) as probe:
        time.sleep(0.05)
        assert probe.counts().sent == 0
        probe.set_rate(100)
        wait_until(lambda: probe.counts().answered >= 3)
        probe.set_rate(0)
        wait_until(lambda: probe.counts().sent == probe.counts().answered)
        sent = probe.counts().sent
        time.sleep(0.1)
        assert probe.counts().sent <= sent + 1


def test_the_pipelines_probe_says_that_it_is_one_and_clients_do_not(
    service: LeafService, leaves: list[LabelledImage], tmp_path: Path
) -> None:
    with Probe(service.url, leaves, rate=100) as clients:
        wait_until(lambda: clients.counts().answered >= 1)
    assert service.traffic == {"nobody's"}
    service.traffic.clear()
    evidence = HttpEvaluator(Settings(home=tmp_path))
    evidence.__dict__["images"] = leaves
    with evidence.probe(service.url) as probe:
        probe.set_rate(100)
        wait_until(lambda: bool(service.traffic))
    assert service.traffic == {"probe"}
    assert service.proofs == {""}, "a release from before there were tokens"
    service.proofs.clear()
    with evidence.probe(service.url, "a token") as probe:
        probe.set_rate(100)
        wait_until(lambda: bool(service.proofs))
    assert service.proofs == {"a token"}


def test_the_rate_is_kept_by_the_clock(service: LeafService, leaves: list[LabelledImage]) -> None:
    started = time.monotonic()
    with Probe(service.url, leaves, rate=50) as probe:
        wait_until(lambda: probe.counts().sent >= 25)
        elapsed = time.monotonic() - started
        assert probe.counts().sent <= 50 * elapsed + 2


def test_a_slow_service_meets_a_bounded_number_of_requests(service: LeafService, leaves: list[LabelledImage]) -> None:
    service.delay = 0.2
    with Probe(service.url, leaves, rate=500, in_flight=4) as probe:
        wait_until(lambda: probe.counts().skipped > 0 and probe.counts().answered > 4)
    assert service.most_at_once == 4


def test_failures_are_told_apart_and_kept_with_their_details(service: LeafService, leaves: list[LabelledImage]) -> None:
    service.statuses = [500, 404, 503, 502]
    with Probe(service.url, leaves, rate=100, in_flight=1) as probe:
        wait_until(lambda: probe.counts().answered >= 1)
    counts = probe.counts()
    assert counts.failures == {"5xx": 2, "4xx": 1}
    assert counts.overloads == 1
    assert counts.sent == counts.answered + counts.overloads + counts.failed
    first = probe.failed_requests()[0]
    assert (first.status, first.colour, first.digest) == (500, "green", DIGEST)
    assert "broken on purpose" in first.detail


def test_a_hanging_service_is_a_timeout_and_does_not_keep_the_load_from_ending(
    service: LeafService, leaves: list[LabelledImage]
) -> None:
    service.delay = 1.0
    with Probe(service.url, leaves, rate=100, in_flight=2, timeout=0.05) as probe:
        wait_until(lambda: probe.counts().failed >= 2)
    assert set(probe.counts().failures) == {"timeout"}


@pytest.mark.parametrize(("url", "kind"), [("http://127.0.0.1:9", "connection"), ("http://127.0.0.1:99999", "client")])
def test_nobody_there_is_counted_and_raises_nothing(leaves: list[LabelledImage], url: str, kind: str) -> None:
    with Probe(url, leaves, rate=100) as probe:
        wait_until(lambda: probe.counts().failed >= 3)
    assert set(probe.counts().failures) == {kind}


def test_an_error_of_the_caller_ends_the_load_and_passes(service: LeafService, leaves: list[LabelledImage]) -> None:
    with pytest.raises(KeyError), Probe(service.url, leaves, rate=100) as probe:
        wait_until(lambda: probe.counts().sent > 0)
        raise KeyError
    sent = probe.counts().sent
    probe.set_rate(100)
    time.sleep(0.05)
    assert probe.counts().sent == sent
