"""How fast serving is, beside other servers and its own limit: `make bench-serving`, some twenty minutes.

One model (YOLO26n at 320 pixels, untrained: weights do not change the time), the same two JPEGs (1280x720 and 640x480,
in turn), the same cores, keep-alive, closed loop at concurrency 1, 4 and 16, the client on the same cores. The limit is
the server's own decode and inference in a bare loop. The peers run in ultralytics, in an environment of their own that
is installed here: the checkpoint by every default, and its exports in a process for each core. Ours runs right after
each run of another, in f32 and then in int8, and ratios are medians over such pairs. At the end stand the
promises, and whether this run keeps them.

Writes benchmarks/out/serving.json. A busy machine makes every figure worse: how many cores others used is recorded.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import serving_bars
from benchmarks.serving_contenders import OURS, OURS_INT8, PEER_PYTHON, Contender, peers, replica_a_core
from benchmarks.serving_material import Material, export_for_peers, prepare
from benchmarks.serving_process import ROOT, RunningServer, run_module, running
from benchmarks.serving_report import Pair, Run, over_limit, p99, per_core_second, per_second, ratio, summary, table
from serving.inference.cpu import usable_cpus
from serving.settings import Settings

OUT = ROOT / "benchmarks/out/serving.json"
CONCURRENCIES = (1, 4, 16)
LIMIT_ROUNDS = 4
SECONDS = 2.5
OVERLOAD_SECONDS = 10.0


class Benchmark:
    """All runs so far; ours stay up throughout, in each precision, idle while others are measured."""

    def __init__(self, material: Material, ours: dict[str, RunningServer]) -> None:
        self._material = material
        self._ours = ours
        self._started = time.perf_counter()
        self._our_runs: dict[str, dict[int, list[Run]]] = {name: defaultdict(list) for name in ours}
        self._both: dict[int, list[Pair]] = defaultdict(list)
        self.results: dict[str, dict[str, Any]] = {}

    def against_limit(self, contender: Contender) -> dict[str, Any]:
        """Runs the bare loop and one of ours in turn."""
        pairs: dict[int, list[Pair]] = defaultdict(list)
        environment = self._material.environment(0, contender.precision)
        for number in range(LIMIT_ROUNDS):
            for concurrency in CONCURRENCIES[1:]:
                arguments = [str(SECONDS), *map(str, self._material.images)]
                bare = run_module("benchmarks.serving_limit", *arguments, environment=environment)
                self._say(f"bare loop, {contender.precision}, round {number + 1} of {LIMIT_ROUNDS}", bare)
                pairs[concurrency].append((self._run_ours(contender.name, concurrency), bare))
        return over_limit(pairs) | {"limit": summary([bare for each in pairs.values() for _, bare in each])}

    def overload(self, contender: Contender) -> dict[str, Any]:
        """Asks one of ours for ten times what it can do."""
        places = usable_cpus() + int(Settings.model_fields["queue_size"].default)
        url = f"http://127.0.0.1:{self._ours[contender.name].ports[0]}"
        found = run_module("benchmarks.serving_overload", url, str(places), str(OVERLOAD_SECONDS))
        print(f"{self._elapsed()}  {contender.name}, ten times the load: p99 {found['over']:.2f} times", flush=True)
        return found

    def against(self, peer: Contender) -> dict[str, dict[str, dict[str, float]]]:
        """Runs a peer and ours in turn; returns, for each of ours, what is ours over what is the peer's."""
        print(f"{self._elapsed()}  {peer.name}: starting", flush=True)
        try:
            with running(peer, self._material) as server:
                rounds = {concurrency: self._rounds(peer, server, concurrency) for concurrency in CONCURRENCIES}
                self._report(peer.name, server, {c: [theirs for theirs, _ in each] for c, each in rounds.items()})
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            self.results[peer.name] = {"error": str(error)}
            print(f"{self._elapsed()}  {peer.name}: {error}", flush=True)
            return {}
        return {
            name: _over({c: [(ours[name], theirs) for theirs, ours in each] for c, each in rounds.items()})
            for name in self._ours
        }

    def int8_over_f32(self) -> dict[str, dict[str, float]]:
        """The same of ours among themselves, over the runs that followed each other beside peers."""
        return _over(self._both)

    def finish(self) -> None:
        """Adds our own runs to the results, first of all."""
        peers_so_far, self.results = self.results, {}
        for name, server in self._ours.items():
            self._report(name, server, self._our_runs[name])
        self.results |= peers_so_far

    def _rounds(self, peer: Contender, server: RunningServer, concurrency: int) -> list[tuple[Run, dict[str, Run]]]:
        """The peer's run and each of ours, by name, a few times."""
        rounds = []
        for _ in range(peer.rounds):
            theirs = server.load(concurrency, SECONDS)
            self._say(f"{peer.name}, {concurrency} at once", theirs)
            ours = {name: self._run_ours(name, concurrency) for name in self._ours}
            self._both[concurrency].append((ours[OURS_INT8.name], ours[OURS.name]))
            rounds.append((theirs, ours))
        return rounds

    def _run_ours(self, name: str, concurrency: int) -> Run:
        run = self._ours[name].load(concurrency, SECONDS)
        self._our_runs[name][concurrency].append(run)
        self._say(f"{name}, {concurrency} at once", run)
        return run

    def _report(self, name: str, server: RunningServer, runs: dict[int, list[Run]]) -> None:
        self.results[name] = {
            "runs": {str(concurrency): summary(each) for concurrency, each in runs.items()},
            "first_answer_seconds": round(server.first_answer_seconds, 2),
            "peak_rss_mb": server.peak_rss_mb,
        }

    def _say(self, what: str, run: Run) -> None:
        others = f"(others use {run['others_cores']:.1f} cores)"
        print(
            f"{self._elapsed()}  {what}: {run['per_second']:.0f} images/s, p99 {p99(run):.0f} ms {others}", flush=True
        )

    def _elapsed(self) -> str:
        return time.strftime("%M:%S", time.gmtime(time.perf_counter() - self._started))


def _over(pairs: dict[int, list[Pair]]) -> dict[str, dict[str, float]]:
    """One's figures over another's, by concurrency."""
    return {
        "over": {str(c): ratio(each, per_second) for c, each in pairs.items()},
        "over_by_core_time": {str(c): ratio(each, per_core_second) for c, each in pairs.items()},
        "p99_over": {str(c): ratio(each, p99) for c, each in pairs.items()},
    }


def install_peers() -> str:
    """Installs the peers' environment from its lock, compiled as an image would have it; returns its Python."""
    python, uv = ROOT / PEER_PYTHON, str(ROOT / ".uv/bin/uv")
    if not python.exists():
        subprocess.run([uv, "venv", "--quiet", "--python", "3.11", str(python.parents[1])], check=True)
    lock = ROOT / "requirements/bench-serving.txt"
    options = ["--quiet", "--require-hashes", "--no-build", "--compile-bytecode", "--python", str(python)]
    subprocess.run([uv, "pip", "sync", *options, str(lock)], check=True)
    return str(python)


def main() -> None:
    """Measures everyone, prints a table and writes the figures."""
    print("Installing the peers and exporting the model", flush=True)
    peer_python = install_peers()
    with tempfile.TemporaryDirectory() as folder:
        material = prepare(Path(folder))
        export_for_peers(material.folder, peer_python)
        each = {one.name: replica_a_core(one, usable_cpus()) for one in (OURS, OURS_INT8)}
        everyone = [OURS, OURS_INT8, *each.values()]
        with ExitStack() as stack:
            benchmark = Benchmark(material, {one.name: stack.enter_context(running(one, material)) for one in everyone})
            report = benchmark.against_limit(OURS) | {"int8": benchmark.against_limit(OURS_INT8)}
            for ours in (OURS, OURS_INT8):
                _of(report, ours.name)["replica_a_core"] = benchmark.against_limit(each[ours.name])
            for ours in (OURS, OURS_INT8):
                _of(report, ours.name)["overload"] = benchmark.overload(ours)
            for peer in peers(peer_python, workers=usable_cpus()):
                for name, ratios in benchmark.against(peer).items():
                    for key, values in ratios.items():
                        _of(report, name).setdefault(f"ours_{key}" if key != "p99_over" else key, {})[peer.name] = (
                            values
                        )
            report["int8"]["f32"] = benchmark.int8_over_f32()
            benchmark.finish()
    promised = serving_bars.bars(report)
    report |= {"bars": serving_bars.as_json(promised)}
    report |= {"results": benchmark.results, "machine": {"cores": len(os.sched_getaffinity(0)), "cpu": cpu_model()}}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(report, indent=2) + "\n")
    print(f"{table(report, CONCURRENCIES)}\n\n{serving_bars.told(promised)}")


def _of(report: dict[str, Any], name: str) -> dict[str, Any]:
    """The part of the report about one of ours; that of f32 is the whole, as it was before there was another."""
    part: dict[str, Any] = report["int8"] if name.startswith(OURS_INT8.name) else report
    return part if name in {OURS.name, OURS_INT8.name} else part["replica_a_core"]


def cpu_model() -> str:
    """Name of the CPU as Linux tells it."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else "unknown"


if __name__ == "__main__":
    main()
