"""What a model with thousands of versions costs: one tick of the staging sensor, on a real MLflow server with SQLite.

    python -m benchmarks.registry_scale [--versions 1000 10000]

The versions are copies of one that was registered, put into the server's database, since registering them one by one
takes an hour. What MLflow is asked is counted by a proxy; times are taken without it. It writes
``benchmarks/out/registry_scale.json`` and fails if a tick takes longer than ``LIMITS_SECONDS`` allow.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import dagster as dg

from banana_delivery.errors import RegistryUnreadError
from banana_delivery.model_registry.mlflow import MlflowRegistry
from tests.integration.model_registry.conftest import wait_until_healthy
from tests.integration.model_registry.fault_proxy import fault_proxy
from tests.support.pipeline import open_pipeline
from tests.support.ports import free_port

OUT = Path(__file__).parent / "out" / "registry_scale.json"
LIMITS_SECONDS = {1_000: 1.0, 10_000: 3.0}
"""By how many versions there are; what stands between goes by the next larger one."""
MODEL = "leaves"
STAGED = 3
"""So many versions are staged, the oldest among them."""
TRIES = 5
MOST_LOOKS = 100
"""So many find whatever is staged, or the figures are told without."""


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """A server with one worker and its database in a folder, as the embedded stack has it."""
    url, log = f"http://127.0.0.1:{free_port()}", folder / "server.log"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", url.rpartition(":")[2]]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_until_healthy(url, process, log)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=120)


def fill(database: Path, versions: int) -> None:
    """Let the model have so many versions, a few of them staged; each with a time and the tags of a delivery."""
    with closing(sqlite3.connect(database)) as connection:
        cursor = connection.execute("SELECT * FROM model_versions WHERE name = ? AND version = 1", (MODEL,))
        names = [column[0] for column in cursor.description]
        first = dict(zip(names, cursor.fetchone(), strict=True))
        (last,) = connection.execute("SELECT MAX(version) FROM model_versions WHERE name = ?", (MODEL,)).fetchone()
        rows = [first | {"version": number, **_times(first, number)} for number in range(last + 1, versions + 1)]
        marks = ", ".join(f":{name}" for name in names)
        connection.executemany(f"INSERT INTO model_versions VALUES ({marks})", rows)
        tags = [
            (MODEL, row["version"], f"banana.{key}", "rejected: it lost 4 points of mAP50 on small leaves")
            for row in rows
            for key in ("outcome", "reason", "at")
        ]
        connection.executemany("INSERT INTO model_version_tags (name, version, key, value) VALUES (?, ?, ?, ?)", tags)
        connection.execute(
            "UPDATE model_versions SET current_stage = CASE WHEN version IN (1, 2, ?) THEN 'Staging' ELSE 'None' END",
            (versions,),
        )
        connection.commit()


def _times(first: dict[str, Any], number: int) -> dict[str, int]:
    """One version an hour, up to yesterday."""
    at = first["creation_time"] - (max(LIMITS_SECONDS) + 24 - number) * 3_600_000
    return {"creation_time": at, "last_updated_time": at}


def measured(url: str, folder: Path) -> dict[str, Any]:
    """Seconds of what the sensor asks and of a whole tick of it, and how often MLflow was asked for that.

    The first looks of all are told one by one, until all is read; ``restarted`` is the first look of a process after
    another one. ``staged_anew`` are looks that each find one version more, and ``none_staged`` is the first look of a
    process that finds nothing. The ticks begin with the first of all, and go on until the staged are known.
    """
    registry = MlflowRegistry(MODEL, url)
    first = [_look(url, registry)]
    while len(first) < MOST_LOOKS and not _whole(registry):
        first.append(_look(url, registry))
    anew_process = MlflowRegistry(MODEL, url)
    anew_process.recall(registry.memory)
    restarted, calls_restarted = _look(url, anew_process)
    looked = [_look(url, registry)[0] for _ in range(TRIES)]
    assert len(registry.staged()) == STAGED
    anew = []
    for number in range(10, 10 + TRIES):
        _stage(url, number, "Staging")
        anew.append(_look(url, registry)[0])
        assert str(number) in {one.version for one in registry.staged()}
        _stage(url, number, "None")
    ticks = _ticks(MlflowRegistry(MODEL, url), folder)
    staged = [int(one.version) for one in registry.staged()]
    for number in staged:
        _stage(url, number, "None")
    nothing, calls_nothing = _look(url, MlflowRegistry(MODEL, url))
    for number in staged:
        _stage(url, number, "Staging")
    return {
        "first_looks_seconds": [round(seconds, 3) for seconds, _ in first],
        "first_looks_calls": [calls for _, calls in first],
        "restarted_seconds": round(restarted, 3),
        "restarted_calls": calls_restarted,
        "staged_seconds": round(median(looked), 3),
        "calls": _look(url, registry)[1],
        "staged_anew_seconds": round(median(anew), 3),
        "none_staged_seconds": round(nothing, 3),
        "none_staged_calls": calls_nothing,
        "ticks_seconds": ticks,
    }


def _whole(registry: MlflowRegistry) -> bool:
    return '"whole":true' in registry.memory


def _look(url: str, registry: MlflowRegistry) -> tuple[float, int]:
    """Seconds that one look takes, and the calls of another one like it, which is counted on its way."""
    remembered = registry.memory
    start = time.perf_counter()
    with suppress(RegistryUnreadError):
        registry.staged()
    seconds = time.perf_counter() - start
    with fault_proxy(url) as proxy:
        counted = MlflowRegistry(MODEL, proxy.url)
        counted.recall(remembered)
        with suppress(RegistryUnreadError):
            counted.staged()
    return seconds, len(proxy.asked)


def _stage(url: str, number: int, stage: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        MlflowRegistry(MODEL, url)._client.transition_model_version_stage(MODEL, str(number), stage)


def _ticks(registry: MlflowRegistry, folder: Path) -> list[float]:
    """Seconds of some ticks of the sensor one after the other."""
    seconds: list[float] = []
    with open_pipeline(folder) as pipeline:
        pipeline.change(model_registry=registry)
        cursor: str | None = None
        tries = 0
        while tries < TRIES and len(seconds) < MOST_LOOKS:
            context = dg.build_sensor_context(
                instance=pipeline.instance,
                cursor=cursor,
                resources=pipeline.resources.by_key(),
                sensor_name="staged_versions",
            )
            start = time.perf_counter()
            pipeline.defs.resolve_sensor_def("staged_versions")(context)
            seconds.append(round(time.perf_counter() - start, 3))
            cursor = context.cursor
            tries += _whole(registry)
    return seconds


def play(counts: list[int]) -> dict[str, Any]:
    """The figures by how many versions there are."""
    report = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with mlflow_server(folder) as url:
            client = MlflowRegistry(MODEL, url)._client
            client.create_registered_model(MODEL)
            run = client.create_run("0").info
            client.create_model_version(MODEL, f"{run.artifact_uri}/model", run.run_id, await_creation_for=0)
            for count in counts:
                fill(folder / "mlflow.db", count)
                report[str(count)] = measured(url, folder / f"pipeline-{count}")
                print(count, report[str(count)], flush=True)
    return report


def main() -> None:
    """Measures, writes the figures, and fails if a tick takes too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, nargs="+", default=[1_000, 10_000])
    report = play(parser.parse_args().versions)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(report, indent=2) + "\n")
    slow = {
        count: found["ticks_seconds"]
        for count, found in report.items()
        if max(found["ticks_seconds"]) > min(limit for most, limit in LIMITS_SECONDS.items() if int(count) <= most)
    }
    if slow:
        raise SystemExit(f"Ticks that take too long, in seconds: {slow}")


if __name__ == "__main__":
    main()
