"""How fast the CPU and a GPU are, side by side: PYTHONPATH=.gpu python -m benchmarks.device MODEL_FOLDER...

The server's own decode and inference in a loop, without HTTP, for each model: the CPU with a worker a core, then the
GPU with 1 to 16. Twice: with pictures of one shape, and with shapes in turn, for each of which CUDA prepares anew.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from serving.inference.device.network import Network
from serving.inference.loading import load_model
from serving.inference.model import read_version
from serving.inference.predictor import Predictor
from serving.settings import Settings
from tests.unit.serving.images import encode, noise

SECONDS = 4.0
WARM_UP_SECONDS = 1.5
SHAPES = ((1280, 720), (640, 480), (480, 640), (1000, 1000))
WORKERS = (1, 2, 4, 8, 16)


def ready(predictor: Predictor, images: list[bytes]) -> None:
    """Has the GPU get ready for each of them."""
    for image in images:
        predictor.predict(image, 0.25, 300)
    while predictor.network.is_preparing:
        time.sleep(0.1)


def rate(predictor: Predictor, images: list[bytes], workers: int) -> str:
    """Images a second of all workers, with the median and the 99th percentile of an image."""
    begin = time.perf_counter() + WARM_UP_SECONDS
    took: list[list[float]] = [[] for _ in range(workers)]

    def work(number: int) -> None:
        turn = number
        while (started := time.perf_counter()) < begin + SECONDS:
            predictor.predict(images[turn % len(images)], 0.25, 300)
            if started >= begin:
                took[number].append(time.perf_counter() - started)
            turn += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = np.concatenate(took)
    middle, last = np.percentile(every, (50, 99)) * 1000
    return f"{len(every) / SECONDS:7.0f} images/s, {middle:6.1f} ms, {last:6.1f} ms"


def contenders(folder: Path) -> Iterator[tuple[str, int, Predictor]]:
    """The same model on the CPU, and on the GPU by several numbers of workers."""
    told: dict[str, Any] = {"model_path": folder / "model.onnx"}
    settings = Settings(**told)
    version = read_version(settings.model_path)
    started = time.perf_counter()
    gpu = load_model(settings, version).predictor
    loaded = time.perf_counter() - started
    original, Network.try_cuda = Network.try_cuda, lambda *_: None  # type: ignore[method-assign]
    cpu = load_model(settings, version).predictor
    Network.try_cuda = original  # type: ignore[method-assign]
    print(f"{folder.name}: loaded in {loaded:.1f} s. {gpu.network.device.reason}", flush=True)
    cores = len(os.sched_getaffinity(0))
    yield "cpu", cores, cpu
    if gpu.network.device.name == "cuda":
        yield from (("cuda", workers, gpu) for workers in WORKERS)
        print(f"  in the end: {gpu.network.device.reason}")
    gpu.network.close()


def main() -> None:
    """Prints one line for each."""
    one_shape = [encode(noise(*SHAPES[0], seed=seed)) for seed in range(4)]
    in_turn = [encode(noise(*shape)) for shape in SHAPES]
    for folder in map(Path, sys.argv[1:]):
        for device, workers, predictor in contenders(folder):
            for what, images in (("one shape", one_shape), ("in turn", in_turn)):
                ready(predictor, images)
                print(f"  {device:4} {workers:2} workers, {what:9}: {rate(predictor, images, workers)}", flush=True)


if __name__ == "__main__":
    main()
