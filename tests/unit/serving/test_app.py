from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.inference.pool import WorkPool
from serving.inference.predictor import Predictor
from serving.server import build_server
from serving.settings import Settings

from .clients import started
from .detectors import write_model
from .images import encode, picture

PREDICT: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/predict", {}),
    ("/predict", {"confidence": 0.3}),
    ("/predict/annotated", {}),
)


@contextmanager
def server(folder: Path) -> Iterator[httpx.Client]:
    """The real HTTP server on a free port, in a thread: who writes what to the log is its doing too."""
    settings = {"model_path": write_model(folder), "port": 0, "inference_workers": 1}
    running = build_server(Settings.model_validate(settings))
    with started(running):
        port = running.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            yield client


def test_a_failure_of_ours_is_written_to_the_log_once_with_its_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("of the test")

    with server(tmp_path) as client:
        monkeypatch.setattr(Predictor, "predict", fail)
        answers = [client.post(path, params=query, files={"image": encode(picture())}) for path, query in PREDICT]
    assert [answer.status_code for answer in answers] == [500] * len(PREDICT)
    tracebacks = [record.getMessage() for record in caplog.records if record.exc_info]
    assert tracebacks == [f"Request {answer.headers['X-Request-Id']} failed." for answer in answers]


def test_a_probe_that_asks_for_the_head_alone_is_answered(tmp_path: Path) -> None:
    with server(tmp_path) as client:
        for path in ("/health", "/ready", "/version", "/metrics", "/docs"):
            answer = client.head(path)
            assert (answer.status_code, answer.content) == (200, b"")
            assert answer.headers["X-Request-Id"]
        assert client.head("/predict").status_code == 405


@pytest.mark.parametrize("path", ["/predict/", "/predict/batch/", "/health/", "/docs/"])
def test_no_other_address_sends_a_client_and_its_image_elsewhere(tmp_path: Path, path: str) -> None:
    """A redirect named the host that the client did, by http: behind a router with TLS, photos went in the open."""
    with server(tmp_path) as client:
        answer = client.post(path, content=encode(picture()), headers={"Host": "elsewhere.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "http_error")
    assert "location" not in answer.headers


def test_a_replica_whose_workers_all_hang_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(tmp_path) as client:
        monkeypatch.setattr(WorkPool, "stuck_seconds", 31.0)
        answer = client.get("/ready")
        assert answer.status_code == 503
        assert "No image has been finished for 31 seconds" in answer.json()["error"]["message"]
        assert client.get("/health").status_code == 200
