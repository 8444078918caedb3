"""The limit: the same decode and inference as the server's, in as many threads, without HTTP.

python -m benchmarks.serving_limit SECONDS IMAGE...      (MODEL_PATH as for the server)
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

from benchmarks.serving_load import WARM_UP_SECONDS, summary
from serving.cpu import usable_cpus
from serving.loading import load_model
from serving.model import read_version
from serving.settings import load_settings


def main() -> None:
    """Runs the loop and prints throughput and latencies."""
    seconds, images = float(sys.argv[1]), [Path(name).read_bytes() for name in sys.argv[2:]]
    settings = load_settings()
    workers = settings.inference_workers or usable_cpus()
    predictor = load_model(settings, read_version(settings.model_path), workers).predictor
    latencies: list[list[float]] = [[] for _ in range(workers)]
    begin = time.perf_counter() + WARM_UP_SECONDS

    def run(number: int) -> None:
        turn = number
        while (started := time.perf_counter()) < begin + seconds:
            predictor.predict(images[turn % len(images)], 0.25, 300)
            turn += 1
            if started >= begin:
                latencies[number].append(time.perf_counter() - started)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(summary([value for each in latencies for value in each], time.perf_counter() - begin)))


if __name__ == "__main__":
    main()
