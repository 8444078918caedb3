"""How fast serving is, side by side with other servers and with its own limit: `make bench-serving`.

One model (YOLO26n at 320 pixels, untrained: weights do not change the time), the same two JPEGs (1280x720 and 640x480,
in turn), the same cores, keep-alive, closed loop at concurrency 1, 4 and 16, the client on the same cores. The limit is
the server's own decode and inference in a bare loop, measured before and after. The peers run the checkpoint in
ultralytics, in an environment of their own; `make bench-serving` installs it.

Writes benchmarks/out/serving.json. A busy machine makes every figure worse; the load average is recorded.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks.serving_contenders import PEER_PYTHON, Contender, contenders
from benchmarks.serving_load import Connection
from examples.leaves import make

ROOT = Path(__file__).parents[1]
OUT = ROOT / "benchmarks/out/serving.json"
INPUT_SIZE = 320
CONCURRENCIES = (1, 4, 16)
SECONDS = 6.0
START_SECONDS = 120.0
SIZES = ((1280, 720), (640, 480))


@dataclass(frozen=True)
class Material:
    """What all contenders share, in one temporary folder."""

    folder: Path
    images: list[Path]

    def environment(self, port: int) -> dict[str, str]:
        """Environment of every contender."""
        return os.environ | {
            "PORT": str(port),
            "MODEL_PATH": str(self.folder / "model.onnx"),
            "CHECKPOINT": str(self.folder / "best.pt"),
            "INPUT_SIZE": str(INPUT_SIZE),
            "YOLO_CONFIG_DIR": str(self.folder),
            "YOLO_AUTOINSTALL": "false",
            "DO_NOT_TRACK": "1",
            "BENTOML_DO_NOT_TRACK": "true",
            "RAY_USAGE_STATS_ENABLED": "0",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }


def prepare(folder: Path) -> Material:
    """Makes the checkpoint, its ONNX export and the images."""
    program = (
        "from ultralytics.models import YOLO; import torch; torch.manual_seed(0); model = YOLO('yolo26n.yaml');"
        f"model.save('best.pt'); YOLO('best.pt').export(format='onnx', imgsz={INPUT_SIZE}, simplify=True)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, capture_output=True, timeout=300)
    (folder / "best.onnx").rename(folder / "model.onnx")
    version = {
        "model_name": "benchmark",
        "version": "1",
        "mlflow_run_id": "none",
        "source": "untrained yolo26n",
        "classes": [f"class {number}" for number in range(80)],
        "input_size": INPUT_SIZE,
        "checkpoint_sha256": hashlib.sha256((folder / "best.pt").read_bytes()).hexdigest(),
        "onnx_sha256": hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest(),
        "exported_with": "ultralytics",
    }
    (folder / "version.json").write_text(json.dumps(version))
    images = []
    for index, size in enumerate(SIZES):
        path = folder / f"{size[0]}x{size[1]}.jpg"
        Image.fromarray(np.ascontiguousarray(make(7, index, size).image[:, :, ::-1])).save(path, quality=88)
        images.append(path)
    return Material(folder, images)


@contextmanager
def running(contender: Contender, material: Material, log: Path) -> Iterator[tuple[int, float, psutil.Process]]:
    """Starts a contender; yields its port, the seconds to its first answer, and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*contender.command, "--port", str(port)] if contender.name == "BentoML" else contender.command
    started = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=material.environment(port), stdout=output, stderr=output, start_new_session=True
        )
    try:
        request = contender.request(material.images[1].read_bytes())
        wait_for_answer(port, request, process)
        yield port, time.perf_counter() - started, psutil.Process(process.pid)
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kills a contender and everything it started."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait(timeout=30)


def wait_for_answer(port: int, request: bytes, process: subprocess.Popen[bytes]) -> None:
    """Asks until a prediction is answered with 200."""
    deadline = time.perf_counter() + START_SECONDS
    while time.perf_counter() < deadline and process.poll() is None:
        with suppress(OSError):
            if Connection(port).ask(request) == 200:
                return
        time.sleep(0.02)
    raise RuntimeError(f"no answer; exit status {process.poll()}")


def memory(process: psutil.Process) -> float:
    """Memory of a process and its children in MB, shared pages counted once (PSS)."""
    everyone = [process, *process.children(recursive=True)]
    return sum(one.memory_full_info().pss for one in everyone if one.is_running()) / 1e6


def measure(contender: Contender, material: Material) -> dict[str, Any]:
    """Runs one contender through all concurrencies."""
    files = []
    for number, image in enumerate(material.images):
        files.append(material.folder / f"request-{number}")
        files[-1].write_bytes(contender.request(image.read_bytes()))
    result: dict[str, Any] = {}
    with running(contender, material, material.folder / "log") as (port, first_answer, process):
        result["first_answer_seconds"] = round(first_answer, 2)
        result["idle_mb"] = peak = round(memory(process))
        for concurrency in CONCURRENCIES:
            command = [sys.executable, "-m", "benchmarks.serving_load", str(port), str(concurrency), str(SECONDS)]
            client = subprocess.Popen([*command, *map(str, files)], cwd=ROOT, stdout=subprocess.PIPE)
            while client.poll() is None:
                time.sleep(1)
                peak = max(peak, round(memory(process)))
            assert client.stdout is not None
            result[str(concurrency)] = json.loads(client.stdout.read())
        result["peak_mb"] = peak
    return result


def limit(material: Material) -> dict[str, Any]:
    """Runs the bare loop."""
    command = [sys.executable, "-m", "benchmarks.serving_limit", str(SECONDS), *map(str, material.images)]
    run = subprocess.run(
        command, cwd=ROOT, env=material.environment(0), check=True, stdout=subprocess.PIPE, timeout=120
    )
    return dict(json.loads(run.stdout))


def net_of_client(run: dict[str, Any], cores: int) -> float:
    """Throughput had the client run elsewhere: its CPU seconds are taken off the machine's time.

    In a closed loop that keeps all cores busy, what the client uses is missing to the server.
    """
    return float(run["requests"] / (run["seconds"] - run["client_cpu_seconds"] / cores))


def compare(results: dict[str, dict[str, Any]], limits: list[dict[str, Any]], cores: int) -> dict[str, Any]:
    """Ratios of ours over the limit and over each peer."""
    bare = max(one["per_second"] for one in limits)
    ours = results["ours"]
    busy = [str(concurrency) for concurrency in CONCURRENCIES if concurrency > 1]
    peers = {name: result for name, result in results.items() if name != "ours" and "error" not in result}
    return {
        "ours_over_limit": {c: round(ours[c]["per_second"] / bare, 3) for c in busy},
        "ours_over_limit_net_of_client": {c: round(net_of_client(ours[c], cores) / bare, 3) for c in busy},
        "ours_over": {
            name: {str(c): round(ours[str(c)]["per_second"] / peer[str(c)]["per_second"], 2) for c in CONCURRENCIES}
            for name, peer in peers.items()
        },
        "p99_over": {
            name: {str(c): round(ours[str(c)]["p99_ms"] / peer[str(c)]["p99_ms"], 3) for c in CONCURRENCIES}
            for name, peer in peers.items()
        },
    }


def install_peers() -> str:
    """Installs the peers' environment from its lock; returns its Python."""
    python = ROOT / PEER_PYTHON
    uv = str(ROOT / ".uv/bin/uv")
    if not python.exists():
        subprocess.run([uv, "venv", "--quiet", "--python", "3.11", str(python.parents[1])], check=True)
    lock = ROOT / "requirements/bench-serving.txt"
    subprocess.run([uv, "pip", "sync", "--quiet", "--require-hashes", str(lock), "--python", str(python)], check=True)
    return str(python)


def main() -> None:
    """Measures everyone, prints a table and writes the figures."""
    peer_python = install_peers()
    cores = len(os.sched_getaffinity(0))
    load_before = os.getloadavg()[0]
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        material = prepare(Path(folder))
        limits = [limit(material)]
        for contender in contenders(peer_python):
            try:
                results[contender.name] = measure(contender, material)
            except (RuntimeError, OSError) as error:
                log = (material.folder / "log").read_text(errors="replace")
                results[contender.name] = {"error": str(error), "log": log[-1500:]}
            print(contender.name, json.dumps(results[contender.name]), flush=True)
        limits.append(limit(material))
    report = compare(results, limits, cores) | {
        "limit": limits,
        "results": results,
        "machine": {"cores": cores, "load_average_before": load_before, "cpu": cpu_model()},
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(report, indent=2) + "\n")
    print(table(report))


def cpu_model() -> str:
    """Name of the CPU as Linux tells it."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else "unknown"


def table(report: dict[str, Any]) -> str:
    """The figures as a Markdown table."""
    lines = ["| server | 1: req/s, p50, p99 | 4 | 16 | peak MB | first answer s |", "|---|---|---|---|---|---|"]
    for name, result in report["results"].items():
        if "error" in result:
            lines.append(f"| {name} | did not run: {result['error']} | | | | |")
            continue
        runs = [result[str(c)] for c in CONCURRENCIES]
        cells = [f"{run['per_second']:.0f}, {run['p50_ms']:.0f} ms, {run['p99_ms']:.0f} ms" for run in runs]
        lines.append(f"| {name} | {' | '.join(cells)} | {result['peak_mb']} | {result['first_answer_seconds']} |")
    bare = max(one["per_second"] for one in report["limit"])
    return "\n".join([*lines, f"| limit (no HTTP) | {bare:.0f} | | | | |"])


if __name__ == "__main__":
    main()
