import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from banana_delivery.sample_data.leaves import make
from serving.inference.device import cuda
from serving.inference.device.agreement import PIXELS, SCORE
from serving.inference.loading import SAMPLE, load_model
from serving.inference.model import read_version
from serving.inference.predictor import Predictor
from serving.settings import Settings
from tests.gpu.replicas import Replica, replica
from tests.unit.serving.images import encode, noise

NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
SHAPES = ((640, 480), (480, 640), (1280, 720), (500, 500), (640, 200))
END_SECONDS = 60


def pictures() -> list[bytes]:
    """Leaves, and frames of other shapes in turn with them."""
    leaves = [bytes(cv2.imencode(".jpg", make(4242, index).image)[1]) for index in range(20)]
    return [picture for index, leaf in enumerate(leaves) for picture in (leaf, encode(noise(*SHAPES[index % 5])))]


def predictor(model: Path) -> Predictor:
    told: dict[str, Any] = {"model_path": model}
    return load_model(Settings(**told), read_version(model)).predictor


def prepare(gpu: Predictor, images: list[bytes]) -> None:
    """Has the GPU get ready for the frames of these; until then the CPU answers."""
    for image in images:
        gpu.predict(image, 0.25, 300)
    while gpu.network.is_preparing:
        time.sleep(0.1)


def detections(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["detections"]
    return found


def test_a_replica_serves_on_the_gpu_and_says_so(on_gpu: Replica) -> None:
    version = on_gpu.version()

    assert version["device"] == "cuda"
    assert version["device_reason"].startswith("CUDA answers a sample picture as the CPU does, within ")
    metrics = httpx.get(f"{on_gpu.url}/metrics", trust_env=False).text
    assert 'banana_device_info{device="cuda"} 1.0' in metrics
    assert on_gpu.log.read_text().count("CUDA") == 1


def test_every_detection_is_that_of_the_cpu(models: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for model in models:
        gpu = predictor(model)
        with monkeypatch.context() as context:
            context.setattr(cuda, "CUDA", "none")
            cpu = predictor(model)
        prepare(gpu, pictures())
        score = pixels = 0.0
        found = 0
        for picture in pictures():
            ours, theirs = (one.predict(picture, 0.05, 300).boxes for one in (gpu, cpu))
            found += len(ours.scores)
            assert ours.class_ids.tolist() == theirs.class_ids.tolist()
            score = max(score, float(np.abs(ours.scores - theirs.scores).max(initial=0)))
            pixels = max(pixels, float(np.abs(ours.corners - theirs.corners).max(initial=0)))
        assert (gpu.network.device.name, cpu.network.device.name) == ("cuda", "cpu")
        assert found > 20
        assert score <= SCORE
        # Of a picture, which can be larger than its frame.
        assert pixels <= 2 * PIXELS


def test_a_gpu_in_tf32_is_turned_down(models: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """So what forbids it is needed, and the tolerance tells it from f32."""
    monkeypatch.setitem(cuda.OPTIONS, "use_tf32", "1")

    device = predictor(models[0]).network.device

    assert device.name == "cpu"
    assert "CUDA answers a sample picture differently, by" in device.reason


def test_pictures_of_all_shapes_in_turn_are_as_fast_as_those_of_one(models: list[Path]) -> None:
    gpu = predictor(models[0])
    images = [encode(noise(*shape)) for shape in SHAPES]
    prepare(gpu, images)

    one = sorted(gpu.predict(images[0], 0.25, 300).seconds for _ in range(20))[10]
    in_turn = sorted(gpu.predict(image, 0.25, 300).seconds for image in images * 5)[12]

    assert in_turn < 3 * one + 0.005


def test_the_self_test_passes_on_the_gpu(models: list[Path]) -> None:
    for model in models:
        command = [sys.executable, "-m", "serving.selftest"]
        done = subprocess.run(command, env={**os.environ, "MODEL_PATH": str(model)}, capture_output=True, check=False)
        assert json.loads(done.stdout)["ok"], done.stdout
        assert json.loads(done.stdout)["device"] == "cuda"


def test_a_replica_that_sees_no_gpu_serves_on_the_cpu_and_says_why(models: list[Path], tmp_path: Path) -> None:
    with replica(models[0], tmp_path, **NO_GPU) as running:
        version, log = running.version(), running.log.read_text()

    assert version["device"] == "cpu"
    assert version["device_reason"] == "The network runs on the CPU, because the NVIDIA driver sees no GPU."
    assert log.count(version["device_reason"]) == 1


def test_a_gpu_without_memory_left_is_not_used(models: list[Path], tmp_path: Path) -> None:
    with all_memory_taken(), replica(models[0], tmp_path) as running:
        version = running.version()
        detections(running.predict(SAMPLE.read_bytes()))

    assert version["device"] == "cpu"
    assert "out of memory" in version["device_reason"]
    assert len(version["device_reason"]) < 120


def test_memory_that_others_take_later_costs_no_request(models: list[Path], tmp_path: Path) -> None:
    """It holds what it needs, or answers on the CPU and is replaced."""
    with replica(models[0], tmp_path) as running:
        detections(running.predict(SAMPLE.read_bytes()))
        with all_memory_taken():
            for shape in SHAPES:
                detections(running.predict(encode(noise(*shape))))


def test_a_gpu_that_fails_while_serving_costs_no_request_and_its_replica_ends(
    models: list[Path], tmp_path: Path
) -> None:
    serve = ("tests.gpu.driver", "serve")
    with replica(models[0], tmp_path, *serve, PRE_STOP_SECONDS="3") as running:
        assert running.version()["device"] == "cuda"
        before = detections(running.predict(SAMPLE.read_bytes()))
        running.process.send_signal(signal.SIGUSR1)
        time.sleep(1)

        after = detections(running.predict(SAMPLE.read_bytes()))
        ready = running.ready()
        status = running.process.wait(timeout=END_SECONDS)

    log = running.log.read_text()
    assert [one["class_id"] for one in before] == [one["class_id"] for one in after]
    assert ready.status_code == 503
    assert "because the GPU failed" in ready.json()["error"]["message"]
    assert log.count("This replica ends, to be started again.") == 1
    assert status == 1


@contextmanager
def all_memory_taken() -> Iterator[None]:
    """Until the block ends, another process has what was free of the GPU's memory."""
    command = [sys.executable, "-m", "tests.gpu.driver", "hold"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield
        process.kill()
