from pathlib import Path

import pytest

from serving.lifecycle import Lifecycle, State

from .clients import build_replica, client_of, post
from .detectors import detector, write_model
from .images import encode, picture


def test_before_the_model_is_warm_requests_are_told_to_come_back(tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    from serving.app import create_app

    # Without entering its context the client does not start the application, so nothing loads the model.
    client = TestClient(create_app(build_replica(tmp_path)))
    for answer in (client.get("/ready"), client.get("/version"), post(client, encode(picture()))):
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
    assert client.get("/health").status_code == 200


def test_a_prediction_that_is_told_to_come_back_is_an_overload_and_a_readiness_check_is_none(tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    from serving.app import create_app

    client = TestClient(create_app(build_replica(tmp_path)))
    client.get("/ready")
    assert "banana_overload_total{" not in client.get("/metrics").text

    post(client, encode(picture()))

    assert 'banana_overload_total{traffic="user"} 1.0' in client.get("/metrics").text


def test_the_model_is_warm_before_anybody_can_connect(tmp_path: Path) -> None:
    with client_of(build_replica(tmp_path)) as client:
        assert client.get("/ready").status_code == 200


def test_a_draining_replica_is_not_ready_but_still_answers(tmp_path: Path) -> None:
    replica = build_replica(tmp_path)
    with client_of(replica) as client:
        replica.lifecycle.drain()
        assert client.get("/ready").status_code == 503
        answer = post(client, encode(picture()))
        assert answer.status_code == 200
        assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"onnx_sha256": "0" * 64}, "the model was changed after its export"),
        ({"classes": ["red", "blue", "green"]}, "do not belong together"),
        ({"classes": []}, "classes"),
        ({"input_size": 128}, "not a network ONNX Runtime can run at 1x3x128x128"),
        ({"frame": {"width": 64, "height": 80}}, "frame: Value error, width and height must be multiples of stride"),
        ({"frame": {"width": 64, "height": 64, "stretched": True}}, "do not belong together"),
        ({"version": "v\n7"}, "version"),
    ],
)
def test_a_model_that_is_not_the_promised_one_never_gets_ready(
    tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    write_model(tmp_path, detector(end_to_end=False), **changes)
    with client_of(build_replica(tmp_path)) as client:
        answer = client.get("/ready")
        assert answer.status_code == 503
        message = answer.json()["error"]["message"]
        assert sentence in message
        assert "\n" not in message
        assert client.get("/health").status_code == 200


def test_whatever_else_keeps_a_model_from_loading_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*_: object) -> None:
        raise MemoryError("no room for the weights")

    monkeypatch.setattr("serving.replica.load_model", out_of_memory)
    with client_of(build_replica(tmp_path)) as client:
        answer = client.get("/ready")
        assert answer.status_code == 503
        assert "no room for the weights" in answer.json()["error"]["message"]


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    write_model(tmp_path / "elsewhere")
    replica = build_replica(tmp_path / "elsewhere", model_path=tmp_path / "model.onnx")
    with client_of(replica) as client:
        assert str(tmp_path / "version.json") in client.get("/ready").json()["error"]["message"]


def test_a_replica_told_to_stop_while_loading_does_not_become_ready() -> None:
    lifecycle = Lifecycle()
    lifecycle.drain()
    lifecycle.become_ready()
    assert lifecycle.state is State.DRAINING
