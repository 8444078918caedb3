from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.http import predictions
from serving.http.schemas import PredictResponse
from serving.inference.predictor import Predictor
from tests.unit.serving.clients import build_replica, client_of, post
from tests.unit.serving.images import encode, picture

SAME_ID = {"X-Request-Id": "phone-17"}
IN_WORDS: dict[str, Any] = {"params": {"confidence": 0.25, "max_detections": 300}}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client_of(build_replica(tmp_path_factory.mktemp("model"))) as running:
        yield running


def both_ways(client: TestClient, image: bytes) -> tuple[Any, Any]:
    """The same request without parameters, and with the defaults spelled out."""
    return post(client, image, headers=SAME_ID), post(client, image, headers=SAME_ID, **IN_WORDS)


def unlike_headers(answer: Any) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name != "content-length"}


def test_an_answer_without_parameters_is_that_with_their_defaults(client: TestClient) -> None:
    short, long = both_ways(client, encode(picture()))
    answers = [PredictResponse.model_validate_json(answer.content) for answer in (short, long)]
    assert answers[0].detections
    assert answers[0].model_copy(update={"seconds": 0}) == answers[1].model_copy(update={"seconds": 0})
    assert unlike_headers(short) == unlike_headers(long)


@pytest.mark.parametrize("image", [b"", b"%PDF-1.7", encode(picture())[:300]])
def test_a_bad_image_gets_the_same_error_either_way(client: TestClient, image: bytes) -> None:
    short, long = both_ways(client, image)
    assert short.status_code == long.status_code >= 400
    assert (short.content, unlike_headers(short)) == (long.content, unlike_headers(long))


def test_a_failure_of_ours_is_a_counted_and_logged_500_either_way(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("of the test")

    monkeypatch.setattr(Predictor, "predict", fail)
    short, long = both_ways(client, encode(picture()))
    assert short.status_code == long.status_code == 500
    assert short.content == long.content
    assert short.json()["error"]["code"] == "internal_error"
    assert [record.exc_info is not None for record in caplog.records if "phone-17" in record.message] == [True, True]
    assert 'banana_requests_total{route="/predict",status="500",traffic="user"} 2.0' in client.get("/metrics").text


def test_only_requests_with_parameters_go_through_the_framework(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is measured is what is tested: without parameters FastAPI's route must not be reached."""
    entered: list[float] = []
    real = predictions.predict

    async def spy(*args: Any) -> Any:
        entered.append(len(args))
        return await real(*args)

    monkeypatch.setattr(predictions, "predict", spy)
    with client_of(build_replica(tmp_path)) as client:
        both_ways(client, encode(picture()))
    assert entered == [2, 3]
