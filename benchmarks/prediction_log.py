"""What the prediction log costs an answer, whatever its database does: `make bench-prediction-log`, three minutes.

Six replicas with equal settings but for DATABASE_URL, on one machine: without a database, the same once more (what it
differs by is noise), with SQLite, with PostgreSQL, with a PostgreSQL frozen by SIGSTOP after the replica had written to
it, and with one that is not there. Each in turn is loaded at the same moment as the first, so that what else runs there
disturbs both alike; a ratio is the median over such pairs. Every answer has fifty detections, the most that are logged,
so this is the log's hardest work.

Writes benchmarks/out/prediction_log.json. Needs PostgreSQL's programs (Debian: postgresql); uses 127.0.0.1 only.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.serving import cpu_model
from benchmarks.serving_contenders import OURS, Contender
from benchmarks.serving_material import Material, prepare
from benchmarks.serving_process import ROOT, RunningServer, running
from benchmarks.serving_report import Pair, Run, p50, p99, per_second, ratio, server_ms, summary
from serving.prediction_log.log import LOGGED_DETECTIONS
from tests.integration.serving.postgres import postgres

OUT = ROOT / "benchmarks/out/prediction_log.json"
# An untrained detector is sure of nothing: a hundred boxes of its coarsest grid have a higher score than this.
ROUTE = f"/predict?confidence=0.0001&max_detections={LOGGED_DETECTIONS}"
BASELINE, FROZEN = "no database", "PostgreSQL, frozen"
CONCURRENCY = 2
CAPACITY = 300
"""What a living database is written in a second fits; what a frozen one is not written in all rounds does not."""
ROUNDS = 5
SECONDS = 4.0
OF = {"throughput": per_second, "p50": p50, "p99": p99, "cpu_time": server_ms}
# What of a run is about its replica alone.
OWN = ("requests", "errors", "per_second", "p50_ms", "p99_ms")


def replica(name: str, url: str) -> Contender:
    """Ours with a database, or with none if `url` is empty."""
    settings = [f"DATABASE_URL={url}", f"PREDICTION_LOG_CAPACITY={CAPACITY}"]
    return Contender(name, ["env", *settings, *OURS.command], ROUTE)


def measure(material: Material) -> dict[str, Any]:
    """Starts all databases and replicas and loads the replicas in turns; returns the report."""
    with ExitStack() as stack:
        alive = stack.enter_context(postgres(material.folder / "alive"))
        frozen = stack.enter_context(postgres(material.folder / "frozen"))
        databases = {
            BASELINE: "",
            "no database, again": "",
            "SQLite": f"sqlite:///{material.folder / 'log.db'}",
            "PostgreSQL": alive.url,
            FROZEN: frozen.url,
            "PostgreSQL, not there": "postgresql://nobody@127.0.0.1:9/none",
        }
        servers = {name: stack.enter_context(running(replica(name, url), material)) for name, url in databases.items()}
        servers[FROZEN].load(CONCURRENCY, SECONDS)
        frozen.freeze()
        pairs = in_pairs(servers)
        logged = {name: of_the_log(server) for name, server in servers.items()}
    runs = {name: [run for run, _ in each] for name, each in pairs.items()}
    runs[BASELINE] = [baseline for each in pairs.values() for _, baseline in each]
    return {
        "over_no_database": {name: {key: ratio(each, of) for key, of in OF.items()} for name, each in pairs.items()},
        "results": {name: {key: summary(runs[name])[key] for key in OWN} | logged[name] for name in servers},
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "cpu": cpu_model(),
            "others_cores": round(median(others_cores(*pair) for each in pairs.values() for pair in each), 2),
        },
    }


def in_pairs(servers: dict[str, RunningServer]) -> dict[str, list[Pair]]:
    """Loads every other replica together with the one without a database; returns the pairs of runs by its name."""
    pairs: dict[str, list[Pair]] = defaultdict(list)
    with ThreadPoolExecutor(2) as both:
        for number in range(ROUNDS):
            for name in list(servers)[1:]:
                run, baseline = both.map(lambda one: servers[one].load(CONCURRENCY, SECONDS), (name, BASELINE))
                pairs[name].append((run, baseline))
                others = f"(others use {others_cores(run, baseline):.1f} cores)"
                print(f"round {number + 1} of {ROUNDS}, {name}: {told(run)}; {BASELINE}: {told(baseline)} {others}")
    return pairs


def others_cores(run: Run, baseline: Run) -> float:
    """How many cores neither replica of a pair nor its client used; a run by itself counts the other as somebody."""
    return float(run["others_cores"] - per_second(baseline) * (server_ms(baseline) + baseline["client_ms"]) / 1000)


def told(run: Run) -> str:
    """A run in a few words."""
    return f"{per_second(run):.0f} images/s, p50 {p50(run):.0f} ms, p99 {p99(run):.0f} ms"


def of_the_log(server: RunningServer) -> dict[str, int]:
    """How many predictions a replica ever answered, and how many of them its log dropped, as it counts them itself."""
    text = httpx.get(f"http://127.0.0.1:{server.ports[0]}/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        "answered": sum(int(each.value) for each in samples if each.name == "banana_inference_seconds_count"),
        "dropped": sum(int(each.value) for each in samples if each.name == "banana_prediction_log_dropped_total"),
    }


def table(report: dict[str, Any]) -> str:
    """The figures as a Markdown table."""
    heads = ["database", "images/s, p50, p99", "throughput", "p50", "p99", "CPU time", "dropped"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for name, result in report["results"].items():
        cells = f"{result['per_second']:.0f}, {result['p50_ms']:.0f} ms, {result['p99_ms']:.0f} ms"
        ratios = report["over_no_database"].get(name, dict.fromkeys(OF, 1.0))
        over = " | ".join(f"{value:.2f}" for value in ratios.values())
        lines.append(f"| {name} | {cells} | {over} | {result['dropped']:,} of {result['answered']:,} |")
    return "\n".join(lines)


def main() -> None:
    """Measures, prints a table and writes the figures."""
    print("Exporting the model and starting the databases", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = measure(prepare(Path(folder)))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(report, indent=2) + "\n")
    print(table(report))


if __name__ == "__main__":
    main()
