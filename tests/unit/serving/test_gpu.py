"""A whole replica on a GPU, and what becomes of it when the GPU fails."""

import logging
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from serving import server as server_module
from serving.selftest import CONFIDENCE, equal
from serving.server import build_server
from serving.settings import Settings

from .clients import build_replica, client_of, post, started
from .detectors import detector, write_model
from .images import encode, picture
from .inference.device.gpus import FakeGpu, install

LOST = "CUDA failure 719: unspecified launch failure"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGpu:
    found = FakeGpu()
    install(monkeypatch, found)
    write_model(tmp_path, detector(end_to_end=False))
    return found


def test_the_version_says_what_it_runs_on_and_why(
    gpu: FakeGpu, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "serving")
    with client_of(build_replica(tmp_path)) as client:
        version = client.get("/version").json()
        metrics = client.get("/metrics").text

    assert version["device"] == "cuda"
    assert version["device_reason"].startswith("CUDA answers a sample picture as the CPU does")
    assert 'banana_device_info{device="cuda"} 1.0' in metrics
    assert [one.levelname for one in caplog.records if version["device_reason"] in one.getMessage()] == ["INFO"]


def test_a_gpu_that_cannot_be_had_is_a_warning_and_the_replica_is_ready(
    gpu: FakeGpu, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.refuses = RuntimeError("CUDA failure 2: out of memory ; GPU=0")
    with client_of(build_replica(tmp_path)) as client:
        assert client.get("/ready").status_code == 200
        version = client.get("/version").json()
        assert 'banana_device_info{device="cpu"} 1.0' in client.get("/metrics").text

    assert version["device"] == "cpu"
    [told] = [one for one in caplog.records if version["device_reason"] in one.getMessage()]
    assert told.levelname == "WARNING"


def test_without_cuda_in_the_build_nothing_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with client_of(build_replica(tmp_path)) as client:
        assert client.get("/version").json()["device_reason"] == "This ONNX Runtime is built without CUDA."

    assert not caplog.records


def test_a_gpu_that_fails_takes_the_replica_out_of_service_without_a_lost_request(
    gpu: FakeGpu, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with client_of(build_replica(tmp_path)) as client:
        right = post(client, encode(picture())).json()["detections"]
        gpu.fails = RuntimeError(f"{LOST} ; GPU=0")
        answers = [post(client, encode(picture())) for _ in range(3)]
        ready, health = client.get("/ready"), client.get("/health")
        metrics = client.get("/metrics").text

    assert [answer.json()["detections"] for answer in answers] == [right] * 3
    assert (ready.status_code, health.status_code) == (503, 200)
    assert f"because the GPU failed: {LOST}." in ready.json()["error"]["message"]
    assert 'banana_device_info{device="cpu"} 1.0' in metrics
    assert 'device="cuda"' not in metrics
    assert sum("This replica ends, to be started again." in one.getMessage() for one in caplog.records) == 1


def test_the_process_of_a_replica_whose_gpu_failed_ends_with_an_error(
    gpu: FakeGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What ends a process that does not stop by itself would end this one, which goes on.
    monkeypatch.setattr(server_module, "_end_process", lambda seconds: None)
    server = build_server(Settings(model_path=tmp_path / "model.onnx", port=0))  # type: ignore[call-arg]
    with started(server):
        [listening] = server.servers[0].sockets
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        gpu.fails = RuntimeError(LOST)
        answer = httpx.post(f"{url}/predict", files={"image": encode(picture())}, trust_env=False)
        assert answer.status_code == 200
        deadline = time.monotonic() + 30
        while not server.should_exit:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    assert server.exit_status == 1


def test_the_self_test_takes_answers_of_both_devices_for_the_same() -> None:
    first, second = np.array([0.9, CONFIDENCE + 1e-6]), np.array([0.90001])
    assert equal(first, second, 1e-4)
    assert not equal(first, second, 0.0)
    assert not equal(first, np.array([0.91, CONFIDENCE + 1e-6]), 1e-4)
