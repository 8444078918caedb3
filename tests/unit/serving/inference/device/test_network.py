import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from serving.inference.device import frames
from serving.inference.device.cuda import NoCudaError
from serving.inference.engine import Engine
from serving.inference.preprocess import Frame, Planes
from tests.unit.serving.detectors import CLASSES, detector

from .gpus import FakeGpu, install

SIZE = 128
OUT_OF_MEMORY = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:154 std::conditional_t<THRW, void, Status> "
    "onnxruntime::CudaCall(ERRTYPE, const char*) CUDA failure 2: out of memory ; GPU=0 ; hostname=vm ; file=/x.cc"
)
LOST = (
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 719: unspecified launch failure ; GPU=0 ; hostname=vm ; file=/x.cc ; "
    "line=91 ; expr=cudaMemcpy(dst, src, bytes)"
)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    found = FakeGpu()
    install(monkeypatch, found)
    return found


def picture(height: int = SIZE, width: int = SIZE) -> Planes:
    """Red where it is dark elsewhere, so that a detector has something to find."""
    planes = np.zeros((3, height, width), np.float32)
    planes[0, : height // 2, : width // 2] = 0.9
    return planes


@pytest.fixture
def engine(gpu: FakeGpu) -> Iterator[Engine]:
    made = made_engine()
    yield made
    made.network.close()


def made_engine() -> Engine:
    onnx = detector(SIZE, end_to_end=False, any_frame=True)
    engine = Engine(onnx, classes=len(CLASSES), frame=Frame.square(SIZE), threads=1)
    engine.try_cuda(onnx, picture())
    return engine


def found(engine: Engine, planes: Planes) -> list[list[float]]:
    boxes = engine.run(planes, 0.5, 10)
    return [[*corners, score] for corners, score in zip(boxes.corners.tolist(), boxes.scores.tolist(), strict=True)]


def wait_until_prepared(engine: Engine) -> None:
    deadline = time.monotonic() + 10
    while engine.network.is_preparing:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_gpu_that_answers_as_the_cpu_does_is_used(gpu: FakeGpu, engine: Engine) -> None:
    tried = len(gpu.ran)
    found(engine, picture())

    assert engine.network.device.name == "cuda"
    assert engine.network.device.reason.startswith("CUDA answers a sample picture as the CPU does, within 0 of score")
    assert len(gpu.ran) == tried + 1


def test_a_gpu_that_hangs_when_a_replica_starts_is_left_alone_and_the_cpu_serves(
    gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "START_SECONDS", 0.2)
    gpu.goes_on.clear()
    try:
        engine = made_engine()
        assert (
            engine.network.device.reason == "The network runs on the CPU, because the GPU was silent for 0.2 seconds."
        )
        assert found(engine, picture())
    finally:
        gpu.goes_on.set()


def test_a_gpu_that_answers_differently_is_not_used(gpu: FakeGpu) -> None:
    gpu.off = 0.001
    device = made_engine().network.device

    assert (device.name, device.fell_back) == ("cpu", True)
    assert device.reason == (
        "The network runs on the CPU, "
        "because CUDA answers a sample picture differently, by 0.001 of score and 0 pixels."
    )


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        (NoCudaError("the NVIDIA driver sees no GPU"), "the NVIDIA driver sees no GPU"),
        (RuntimeError(OUT_OF_MEMORY), "CUDA does not work here: CUDA failure 2: out of memory"),
        (ValueError("a\nb" * 300), "CUDA does not work here: " + "a b" * 66 + "a"),
    ],
    ids=["no GPU", "no memory", "anything else"],
)
def test_a_gpu_that_cannot_be_had_is_one_sentence_and_the_cpu(gpu: FakeGpu, trouble: Exception, why: str) -> None:
    gpu.refuses = trouble
    engine = made_engine()

    assert engine.network.device.reason == f"The network runs on the CPU, because {why}."
    assert found(engine, picture())


def test_a_new_frame_is_answered_by_the_cpu_until_the_gpu_is_ready_for_it(gpu: FakeGpu, engine: Engine) -> None:
    gpu.goes_on.clear()
    first = found(engine, picture(64))
    assert engine.network.is_preparing
    gpu.goes_on.set()
    wait_until_prepared(engine)
    before, second = len(gpu.ran), found(engine, picture(64))

    assert first == second != []
    assert gpu.ran[before:] == [(64, SIZE)]


def test_a_frame_that_the_gpu_answers_differently_stays_on_the_cpu(
    gpu: FakeGpu, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.off = 0.01
    first = found(engine, picture(64))
    wait_until_prepared(engine)
    opened, second = gpu.opened, found(engine, picture(64))

    assert first == second
    assert gpu.opened == opened
    assert [record.getMessage() for record in caplog.records] == [
        "Frames of 64 x 128 pixels stay on the CPU: CUDA answers differently, by 0.01 of score and 0 pixels."
    ]


def test_the_frame_that_was_not_asked_for_the_longest_makes_room(
    gpu: FakeGpu, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MOST_FRAMES", 2)
    for height in (64, SIZE, 96):
        found(engine, picture(height))
        wait_until_prepared(engine)
    before = len(gpu.ran)

    for height in (SIZE, 96, 64):
        found(engine, picture(height))
    wait_until_prepared(engine)
    assert gpu.ran[before:][:2] == [(SIZE, SIZE), (96, SIZE)]
    assert gpu.opened == 4


def test_a_gpu_that_fails_costs_no_answer_and_is_told_of_once(gpu: FakeGpu, engine: Engine) -> None:
    told: list[str] = []
    engine.network.on_loss = told.append
    right = found(engine, picture())
    gpu.fails = RuntimeError(LOST)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: found(engine, picture()), range(40)))

    assert answers == [right] * 40
    assert told == [
        "The network runs on the CPU, because the GPU failed: CUDA failure 719: unspecified launch failure."
    ]
    assert engine.network.device.name == "cpu"


def test_a_gpu_that_fails_before_anybody_is_served_is_the_cpu_and_nothing_else(gpu: FakeGpu, engine: Engine) -> None:
    gpu.fails = RuntimeError(LOST)

    assert found(engine, picture())
    assert engine.network.device.fell_back


def test_a_gpu_that_hangs_is_lost_as_well(gpu: FakeGpu, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    engine.network.on_loss = told.append
    monkeypatch.setattr(frames, "HANG_SECONDS", 0.05)
    gpu.goes_on.clear()
    answer = found(engine, picture())
    gpu.goes_on.set()

    assert answer == found(engine, picture())
    assert told == ["The network runs on the CPU, because the GPU failed: it was silent for 0.05 seconds."]


def test_what_the_cpu_cannot_answer_either_is_no_fault_of_the_gpu(engine: Engine) -> None:
    told: list[str] = []
    engine.network.on_loss = told.append
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        engine.network.run(np.zeros((4, SIZE, SIZE), np.float32))

    assert not told
    assert engine.network.device.name == "cuda"


def test_threads_of_the_gpu_end_with_the_network(engine: Engine) -> None:
    found(engine, picture())
    engine.network.close()
    deadline = time.monotonic() + 10
    while any(thread.name.startswith("gpu") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
