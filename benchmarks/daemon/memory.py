"""Whether Dagster's daemon and the code server grow while sensors tick: the embedded stack with a release, at rest.

    python -m benchmarks.daemon.memory [--ticks 1000]

The stack runs as ``banana-delivery up`` starts it, with a sample model released, and its sensors tick as often as
Dagster lets them, each every five to fifteen seconds, some 75 times a minute all together. The memory that both
processes hold is looked at meanwhile. It writes ``benchmarks/out/memory_scale.json`` and fails if one of them grows by
more than ``MOST_KIB`` a tick for sure.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
from dagster._core.scheduler.instigation import InstigatorType

from banana_delivery.embedded.processes import managed_processes, router
from banana_delivery.model_registry.publish import publish
from banana_delivery.sample_data.models import sample_run
from banana_delivery.settings import Settings
from benchmarks.daemon.figures import slope
from benchmarks.daemon.stack import Running, running
from tests.support.ports import free_port

OUT = Path(__file__).parents[1] / "out" / "memory_scale.json"
PROCESSES = ("dagster-daemon", "code-server")
PORTS = ("dagster", "mlflow", "production", "staging", "probe", "router_api", "webhook")
TICKS = 1000
WARM_UP_SHARE = 0.25
"""Of the ticks; until then a process still meets code that it has not run yet."""
MOST_KIB = 2.0
"""A tick, for sure. Over the first thousand the daemon takes 1.5 to 2.5 for garbage that is not collected yet and for
gaps, and holds no more objects; what Alembic once left behind at each tick in the code server was 2.6 by itself."""
LOOK_SECONDS = 5.0
RELEASED_SECONDS = 900.0
STANDSTILL_SECONDS = 120.0
"""Sensors of which none ticked for so long have stopped."""
LATEST = 60
"""Ticks of a sensor that are asked for at a look; far more than it can have had since the last one."""


class TickCount:
    """How many ticks of sensors there have been since the first look.

    Args:
        instance: whose.
    """

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._before = self._latest()
        self._seen: set[int] = set()

    def now(self) -> int:
        """Of all sensors together."""
        self._seen |= self._latest() - self._before
        return len(self._seen)

    def _latest(self) -> set[int]:
        states = self._instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
        asked = ((state.instigator_origin_id, state.selector_id) for state in states)
        return {tick.tick_id for one in asked for tick in self._instance.get_ticks(*one, limit=LATEST)}


def watch(
    held: Mapping[str, Callable[[], float]],
    ticked: Callable[[], int],
    ticks: int,
    sleep: Callable[[float], object] = time.sleep,
) -> dict[str, list[tuple[int, float]]]:
    """How much each process held after how many ticks, until there were enough.

    Args:
        held: says how many KiB a process holds, by its name.
        ticked: says how many ticks there have been.
        ticks: how many are enough.
        sleep: waits for seconds.

    Raises:
        RuntimeError: if there are none any more.
    """
    samples: dict[str, list[tuple[int, float]]] = {name: [] for name in held}
    seen, still = 0, 0.0
    while seen < ticks:
        now = ticked()
        still = 0.0 if now > seen else still + LOOK_SECONDS
        if still >= STANDSTILL_SECONDS:
            raise RuntimeError(f"No sensor has ticked for {still:.0f} s; {now} ticks were seen.")
        seen = now
        for name, ask in held.items():
            samples[name].append((seen, ask()))
        sleep(LOOK_SECONDS)
    return samples


def release(started: Running) -> None:
    """Deliver a sample model, so that there is something to watch."""
    checkpoint, metrics, params = sample_run("modest")
    version = publish(checkpoint, metrics=metrics, params=params, tracking_uri=started.settings.mlflow_url)
    started.released(version, RELEASED_SECONDS, pause=2.0)


def kib_of(pid: int) -> Callable[[], float]:
    """Asks how much a process holds; one that ends meanwhile raises, as its successor begins anew."""
    process = psutil.Process(pid)
    return lambda: process.memory_info().rss / 1024


def play(ticks: int) -> dict[str, Any]:
    """The figures by process."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder), plan="demo", **{f"{name}_port": free_port() for name in PORTS})  # type: ignore[arg-type]
        with running(settings, router(settings), *managed_processes(settings)) as started:
            release(started)
            held = {name: kib_of(started.pid(name)) for name in PROCESSES}
            begin = time.monotonic()
            samples = watch(held, TickCount(started.instance).now, ticks)
            seconds = time.monotonic() - begin
    return {"seconds": round(seconds), **{name: figures(seen) for name, seen in samples.items()}}


def figures(samples: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """What one process held, and what it grows by."""
    ticks = samples[-1][0]
    warm_up = round(ticks * WARM_UP_SHARE)
    warm = next(size for seen, size in samples if seen >= warm_up)
    growth = {name: round(value, 3) for name, value in slope(samples, warm_up)._asdict().items()}
    seen = [[tick, round(size)] for tick, size in samples]
    return {"ticks": ticks, "warm_kib": round(warm), "last_kib": seen[-1][1], "kib": growth, "samples": seen}


def table(report: dict[str, Any]) -> str:
    """The figures as a Markdown table."""
    lines = ["| process | MiB after the warm-up | at the end | KiB a tick, 95 % sure |", "|---|---|---|---|"]
    for name in PROCESSES:
        one, kib = report[name], report[name]["kib"]
        grows = f"{kib['per_tick']:.2f} ({kib['low']:.2f} to {kib['high']:.2f})"
        lines.append(f"| {name} | {one['warm_kib'] / 1024:.1f} | {one['last_kib'] / 1024:.1f} | {grows} |")
    return "\n".join([*lines, "", f"{report[PROCESSES[0]]['ticks']:,} ticks in {report['seconds']:,} s."])


def main() -> None:
    """Measures, prints a table, writes the figures, and fails if a process surely grows too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ticks", type=int, default=TICKS)
    report = play(parser.parse_args().ticks)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(report, indent=2) + "\n")
    print(table(report))
    leaks = {name: report[name]["kib"] for name in PROCESSES if report[name]["kib"]["low"] > MOST_KIB}
    if leaks:
        raise SystemExit(f"More than {MOST_KIB} KiB a tick: {leaks}")


if __name__ == "__main__":
    main()
