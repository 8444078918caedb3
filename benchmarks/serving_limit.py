"""The limit: the same decode and inference as the server's, in as many threads, without HTTP.

python -m benchmarks.serving_limit SECONDS IMAGE...      (MODEL_PATH as for the server)
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

from benchmarks.serving_window import WARM_UP_SECONDS, Window, measured
from serving.inference.cpu import usable_cpus
from serving.inference.loading import load_model
from serving.inference.model import read_version
from serving.settings import load_settings


def main() -> None:
    """Runs the loop and prints what `serving_window.measured` tells about it."""
    seconds, images = float(sys.argv[1]), [Path(name).read_bytes() for name in sys.argv[2:]]
    settings = load_settings()
    workers = settings.inference_workers or usable_cpus()
    predictor = load_model(settings, read_version(settings.model_path)).predictor
    window = Window(time.perf_counter() + WARM_UP_SECONDS, seconds)

    def run(turn: int) -> None:
        while (started := time.perf_counter()) < window.end:
            predictor.predict(images[turn % len(images)], 0.25, 300)
            window.completed(started)
            turn += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    result = measured(window)
    for thread in threads:
        thread.join()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
