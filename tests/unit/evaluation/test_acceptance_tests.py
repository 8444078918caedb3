import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from banana_delivery.evaluation.acceptance_tests import integration, smoke
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.evaluation.load_test import percentile, performance
from banana_delivery.policy.asset_records import TestRow
from tests.unit.evaluation.leaf_service import DIGEST, VERSION, LeafService

STREAK = {"box": [8.0, 8.0, 40.0, 24.0], "class_id": 0, "class_name": "streak", "score": 0.9}


def failed(rows: list[TestRow]) -> dict[str, str]:
    return {row.name: row.detail for row in rows if not row.passed}


def test_a_release_that_keeps_the_contract_passes_every_row(service: LeafService, leaves: list[LabelledImage]) -> None:
    service.detections = [STREAK]
    rows = smoke(service.url, leaves[0], DIGEST, VERSION) + integration(service.url, leaves, DIGEST, VERSION)
    assert failed(rows) == {}
    assert len(rows) == 11
    assert len({row.name for row in rows}) == 11


def test_another_release_than_was_deployed_fails_with_both_names(
    service: LeafService, leaves: list[LabelledImage]
) -> None:
    rows = smoke(service.url, leaves[0], DIGEST, "8")
    assert failed(rows)["runs the release that was meant"] == "version is 7, but 8 was deployed"
    assert "predicts a labelled image" in failed(rows)


def test_nobody_there_fails_every_row_and_raises_nothing(leaves: list[LabelledImage]) -> None:
    rows = smoke("http://127.0.0.1:9", leaves[0], DIGEST, VERSION)
    assert len(failed(rows)) == len(rows) == 4
    assert all("no answer: ConnectError" in row.detail for row in rows)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"box": [8.0, 8.0, 400.0, 24.0]}, "leaves leaf-0.jpg of 64 x 48 pixels"),
        ({"box": [40.0, 8.0, 8.0, 24.0]}, "leaves leaf-0.jpg"),
        ({"class_name": "mildew"}, "class 'mildew' is none of streak, spot"),
        ({"score": 1.5}, "breaks the schema"),
    ],
)
def test_a_detection_that_makes_no_sense_fails_its_row(
    service: LeafService, leaves: list[LabelledImage], change: dict[str, object], complaint: str
) -> None:
    service.detections = [{**STREAK, **change}]
    assert (
        complaint in failed(integration(service.url, leaves[:2], DIGEST, VERSION))["boxes and classes fit the images"]
    )


def test_a_service_that_breaks_fails_its_refusals_too(service: LeafService, leaves: list[LabelledImage]) -> None:
    service.always = 500
    rows = failed(integration(service.url, leaves[:2], DIGEST, VERSION))
    assert rows["refuses a corrupt image"].startswith("status 500 instead of 422")
    assert "exposes its metrics" not in rows


@pytest.mark.parametrize(
    ("answer", "passes", "said"),
    [
        (PlainTextResponse("banana_requests_total 1\n"), True, "banana_requests_total"),
        (JSONResponse({"error": {"code": "internal_port"}}, 404), True, "on its internal port alone"),
        (JSONResponse({"error": {"code": "http_error"}}, 404), False, "status 404 instead of 200"),
        (JSONResponse({"error": {"code": "internal_port"}}, 500), False, "status 500 instead of 200"),
        (PlainTextResponse("Not found", 404), False, "status 404 instead of 200"),
        (JSONResponse(["internal_port"], 404), False, "status 404 instead of 200"),
        (PlainTextResponse("up 1\n"), False, "no banana_requests_total"),
    ],
)
def test_a_release_shows_its_counters_or_says_that_it_keeps_them_for_us(
    service: LeafService, leaves: list[LabelledImage], answer: Response, *, passes: bool, said: str
) -> None:
    service.metrics = answer
    (row,) = [row for row in integration(service.url, leaves[:2], DIGEST, VERSION) if row.name == "exposes its metrics"]

    assert row.passed is passes
    assert said in row.detail


def test_a_service_that_answers_in_time_passes_and_says_how_fast(
    service: LeafService, leaves: list[LabelledImage]
) -> None:
    row = performance(service.url, leaves, seconds=0.3, budget=5.0)
    assert row.passed
    assert row.detail.startswith("p50 ")
    assert "answers a second" in row.detail


def test_a_service_slower_than_the_budget_fails(service: LeafService, leaves: list[LabelledImage]) -> None:
    service.delay = 0.05
    row = performance(service.url, leaves, seconds=0.2, budget=0.01)
    assert not row.passed
    assert "too slow" in row.detail


def test_one_failure_under_load_fails_the_row(service: LeafService, leaves: list[LabelledImage]) -> None:
    service.statuses = [500]
    row = performance(service.url, leaves, seconds=0.2)
    assert not row.passed
    assert "1 failed, first: status 500" in row.detail


def test_percentiles_are_latencies_that_were_measured() -> None:
    assert percentile([0.4, 0.1, 0.3, 0.2], 0.5) == 0.2
    assert percentile([0.1], 0.95) == 0.1
