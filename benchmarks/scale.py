"""What a thousand deliveries leave behind, and what is asked of them: how long each takes, and how large the home is.

    python -m benchmarks.scale [--deliveries 1000]

The deliveries are played fast: each is a run in a real Dagster instance on SQLite with the events that its assets
record, pictures included, and its attempt is recorded, told and reported by the product's own functions. Then what is
asked at every tick, by a person or by a gate is timed, at 30 deliveries and at the end. It writes
``benchmarks/out/scale.json`` and fails if anything takes longer than ``LIMIT_SECONDS`` at the end.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache, partial
from itertools import islice
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
from dagster._core.definitions.dependency import NodeHandle
from dagster._core.definitions.events import AssetMaterialization
from dagster._core.events import DagsterEvent, DagsterEventType, StepMaterializationData
from dagster._core.execution.plan.handle import StepHandle
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from typing_extensions import override

from banana_delivery.defs.assets._run import start_run
from banana_delivery.defs.records_io import RecordsIOManager
from banana_delivery.delivery.rescue.choice import choose_sides
from banana_delivery.delivery.rescue.ticks import Ticks
from banana_delivery.policy.asset_records import AttemptRecord, ImageRecord, ShiftStep
from banana_delivery.policy.gate import standing_block
from banana_delivery.policy.model import Colour, Environment, ImageRef, Outcome, StoredRecord
from banana_delivery.reports.plots import Plots
from banana_delivery.reports.terminal import status_view, ticks_view
from banana_delivery.runs.lifecycle import Runs
from tests.support.pipeline import PipelineHarness, open_pipeline
from tests.unit.reports import scenes

OUT = Path(__file__).parent / "out" / "scale.json"
DELIVERIES = 1000
EARLY = 30
"""So many deliveries are what everything is compared with: enough that the first pages of every list are full."""
OFTEN_TRIED = "7"
"""One version has an attempt of every twentieth delivery."""
LIMIT_SECONDS = 0.3
TRIES = 5
HOUR_SECONDS = 3600.0
OUTCOMES = (
    *[Outcome.RELEASED] * 5,
    *[Outcome.REJECTED] * 3,
    Outcome.ROLLED_BACK,
    Outcome.ERROR,
)
SENSORS = ("staged_versions", "reconcile", "production_watch", "cool_down")


class DrawnOnce(Plots):
    """Real pictures, each drawn once: drawing is what a delivery spends its time on, and is not what is measured."""

    @cache  # noqa: B019 - it lives as long as the program
    def _rollout(self) -> bytes:
        return super().rollout(
            scenes.promoted_steps(), Colour.GREEN, budget_seconds=1.0, title="Version 7", first=False
        )

    @cache  # noqa: B019
    def _quality(self) -> bytes:
        return super().quality(scenes.comparison(1.5))

    @override
    def rollout(self, *_: object, **__: object) -> bytes:
        """The picture of one rollout."""
        return self._rollout()

    @override
    def quality(self, *_: object, **__: object) -> bytes:
        """The picture of one comparison."""
        return self._quality()


class Player:
    """Plays deliveries, each in its own run, as fast as the instance takes them.

    Args:
        pipeline: whose.
    """

    def __init__(self, pipeline: PipelineHarness) -> None:
        self.pipeline = pipeline
        self._records = RecordsIOManager(pipeline.resources.plots, pipeline.resources.settings)
        self._live = ""
        self._empty: Path | None = None
        logging.getLogger("banana_delivery").setLevel(logging.ERROR)

    def deliver(self, number: int) -> None:
        """One delivery with everything that it leaves behind."""
        self.pipeline.registry.publish(b"weights")
        version = OFTEN_TRIED if number % 20 == 0 else str(number + 1)
        outcome = OUTCOMES[number % len(OUTCOMES)]
        digest = f"sha256:{number:064x}"
        run = self._run(version, outcome)
        ref = ImageRef(repository="images", digest=digest, version=version, key=f"{number:064x}")
        self._made(run, version, "image", _image(ref))
        self._made(run, version, "staging_release", scenes.staging(scenes.quality(1.5)).replace(ref=ref))
        self._made(run, version, "ab_report", scenes.ab(scenes.quality(1.5)).replace(ref=ref))
        attempt = AttemptRecord(
            version=version,
            outcome=outcome,
            reason=f"Delivery {number} was played and ended as {outcome}; 1,204 requests, none failed.",
            digest=digest,
            previous_digest=self._live,
            colour=Colour.GREEN,
            steps=_steps(),
            requests=1204,
            trigger="sensor",
            run_id=run.run_id,
            at=self.pipeline.clock.time(),
            seconds=170.0,
            revoked=outcome is Outcome.ROLLED_BACK,
        )
        if outcome is Outcome.RELEASED:
            self._live = digest
            self._made(run, version, "production_release", attempt)
        self.pipeline.resources.recorder.record(self.pipeline.audit_log, attempt)
        self.pipeline.clock.now += HOUR_SECONDS  # Nobody arrives meanwhile.

    def _run(self, version: str, outcome: Outcome) -> dg.DagsterRun:
        ended = {Outcome.ERROR, Outcome.REJECTED, Outcome.ROLLED_BACK}
        status = dg.DagsterRunStatus.FAILURE if outcome in ended else dg.DagsterRunStatus.SUCCESS
        tags = {"dagster/partition": version, **self.pipeline.location.tags}
        run = dg.DagsterRun(job_name="deliver", run_id=str(uuid.uuid4()), status=status, tags=tags)
        self._give_file(run.run_id)
        return self.pipeline.instance.add_run(run)

    def _give_file(self, run_id: str) -> None:
        """An empty file of events, as Dagster makes one a run; making it anew each time takes it half a second."""
        storage = self.pipeline.instance.event_log_storage
        assert isinstance(storage, SqliteEventLogStorage)
        if self._empty is None:
            self.pipeline.instance.report_engine_event("nothing", job_name="deliver", run_id="template")
            self._empty = Path(storage.path_for_shard("template"))
            with closing(sqlite3.connect(self._empty)) as connection:
                connection.execute("DELETE FROM event_logs")
                connection.commit()
                connection.execute("VACUUM")
        shutil.copyfile(self._empty, storage.path_for_shard(run_id))

    def _made(self, run: dg.DagsterRun, version: str, asset: str, record: StoredRecord) -> None:
        """What the asset's run logs, with the tables and pictures that its IO manager adds."""
        shown = {name: dg.MetadataValue.md(text) for name, text in self._records.shown(record).items() if text}
        signed = self.pipeline.audit_log.sign(record, asset, version, run.run_id, **shown)
        made = AssetMaterialization(self.pipeline.location.key(asset), partition=version, metadata=signed)
        event = DagsterEvent(
            DagsterEventType.ASSET_MATERIALIZATION.value,
            job_name="deliver",
            step_handle=StepHandle(NodeHandle(self.pipeline.location.step(asset), None)),
            event_specific_data=StepMaterializationData(made),
        )
        self.pipeline.instance.report_dagster_event(event, run.run_id)


@cache
def _steps() -> tuple[ShiftStep, ...]:
    return scenes.promoted_steps()


def _image(ref: ImageRef) -> ImageRecord:
    return ImageRecord(
        ref=ref, size_bytes=90_000_000, new_bytes=6_000_000, layers_new=("model",), layers_reused=("code",), tags=(),
        self_test_passed=True, self_test_detail="it answered", pickles=(), lock_difference="", reused=False, pruned=(),
        seconds=3.0,
    )  # fmt: skip


def questions(pipeline: PipelineHarness) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is asked at a tick, by a person, by a gate, by name."""
    log, target = pipeline.audit_log, pipeline.target
    cursors: dict[str, str | None] = {}

    def status() -> None:
        records = [target.record(environment) for environment in Environment]
        Runs(pipeline.instance, pipeline.location).waiting()
        status_view(records, list(islice(log.each_attempt(), 10)), time.time())
        ticks_view(Ticks(pipeline.resources.settings.home).last(), time.time())

    def rollback() -> None:
        choose_sides(target.record(Environment.PRODUCTION).replace(previous=None, rolled_back=""), lambda: log)

    def gate() -> None:
        history, decisions = log.attempts(OFTEN_TRIED), log.decisions(OFTEN_TRIED)
        standing_block(OFTEN_TRIED, "sha256:1", history=history, decisions=decisions, frozen=False)

    def start() -> None:
        ours = dg.RunsFilter(tags={"dagster/partition": OFTEN_TRIED})
        (run,) = pipeline.instance.get_runs(ours, limit=1)
        # As much of a context as is looked at before the first line is said; Dagster makes whole ones in runs alone.
        begun = SimpleNamespace(run=run, instance=pipeline.instance, partition_key=OFTEN_TRIED)
        _ = start_run(cast(dg.AssetExecutionContext, begun), pipeline.resources.recorder).gate_inputs

    def tick(sensor: str) -> None:
        context = dg.build_sensor_context(
            instance=pipeline.instance,
            cursor=cursors.get(sensor),
            resources=pipeline.resources.by_key(),
            sensor_name=sensor,
        )
        pipeline.defs.resolve_sensor_def(sensor)(context)
        cursors[sensor] = context.cursor

    yield "status", status
    yield "choice of a rollback", rollback
    yield "gate", gate
    yield "start of a run", start
    for sensor in SENSORS:
        yield f"tick of {sensor}", partial(tick, sensor)


def measured(pipeline: PipelineHarness) -> dict[str, Any]:
    """Seconds of each question, the median of some, and the bytes of each part of the home."""
    seconds = {name: round(median(_seconds(ask) for _ in range(TRIES)), 4) for name, ask in questions(pipeline)}
    home = pipeline.resources.settings.home
    return {"seconds": seconds, "bytes": {part.name: _size(part) for part in sorted(home.iterdir())}}


def _seconds(ask: Callable[[], object]) -> float:
    start = time.perf_counter()
    ask()
    return time.perf_counter() - start


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def play(deliveries: int) -> dict[str, Any]:
    """The figures at ``EARLY`` deliveries and at all."""
    report: dict[str, Any] = {"deliveries": deliveries}
    with tempfile.TemporaryDirectory() as folder, open_pipeline(Path(folder)) as pipeline:
        pipeline.change(plots=DrawnOnce())
        first = pipeline.stage()
        pipeline.run(first)
        player = Player(pipeline)
        for number in range(deliveries):
            player.deliver(number + 10)
            if number + 1 in {EARLY, deliveries}:
                report[f"after {number + 1}"] = measured(pipeline)
                print(f"{number + 1} deliveries", flush=True)
    return report


def table(report: dict[str, Any]) -> str:
    """The figures as a Markdown table."""
    early, late = report[f"after {EARLY}"], report[f"after {report['deliveries']}"]
    grown = report["deliveries"] - EARLY
    lines = [f"| asked | {EARLY} deliveries | {report['deliveries']:,} |", "|---|---|---|"]
    lines += [
        f"| {name} | {early['seconds'][name] * 1000:.0f} ms | {seconds * 1000:.0f} ms |"
        for name, seconds in late["seconds"].items()
    ]
    lines += ["", "| kept in | bytes a delivery |", "|---|---|"]
    lines += [
        f"| {name} | {(size - early['bytes'].get(name, 0)) / grown:,.0f} |" for name, size in late["bytes"].items()
    ]
    return "\n".join(lines)


def main() -> None:
    """Measures, prints a table, writes the figures, and fails if something takes too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deliveries", type=int, default=DELIVERIES)
    report = play(parser.parse_args().deliveries)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(report, indent=2) + "\n")
    print(table(report))
    slow = {name: s for name, s in report[f"after {report['deliveries']}"]["seconds"].items() if s > LIMIT_SECONDS}
    if slow:
        raise SystemExit(f"Longer than {LIMIT_SECONDS} s: {slow}")


if __name__ == "__main__":
    main()
