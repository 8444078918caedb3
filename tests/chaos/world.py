"""The whole installation on one simulated machine: the daemon with its sensors, runs, and production with its users."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import dagster as dg

from banana_delivery.defs.resources import Resources
from banana_delivery.delivery.record_attempt import MEMORY
from banana_delivery.errors import BananaDeliveryError
from banana_delivery.evaluation.fake import FakeLoad
from banana_delivery.names import ACTOR_TAG, PARTITION_TAG, TRIGGER_TAG
from banana_delivery.notifications.notifier import Notifier
from banana_delivery.policy.model import Colour, Environment
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import DELIVER, ROLLBACK, CodeLocation
from banana_delivery.runs.evidence.keys import NAME as KEYS
from banana_delivery.settings import Settings
from banana_delivery.targets.fake_place import Behaviour
from banana_delivery.waiting import SYSTEM_CLOCK
from tests.chaos.dagster_side import Context, RunWorker, call, requests_of, sensor_functions
from tests.chaos.faults import DatabaseAwayError, Faults, Machine
from tests.chaos.instance import MemoryInstance
from tests.chaos.kernel import Kernel, Process
from tests.chaos.monitor import Monitor
from tests.chaos.place import SimulatedPlace, SimulatedTarget
from tests.chaos.simulated import Current
from tests.chaos.systems import SimulatedEvaluator, SimulatedImages, SimulatedRegistry
from tests.support.phases import NoPlots, conversion

SENSORS = {
    "staged_versions": 10.0,
    "reconcile": 10.0,
    "production_watch": 6.0,
    "cool_down": 15.0,
}
"""Seconds between two looks of each sensor."""
AFTER = {
    dg.DagsterRunStatus.SUCCESS: "after_success",
    dg.DagsterRunStatus.FAILURE: "after_failure",
    dg.DagsterRunStatus.CANCELED: "after_cancel",
}
RESTART_SECONDS = 5.0
THEIRS = "theirs"
"""With which the names of runs begin that are not ours."""
EXPECTED = (BananaDeliveryError, DatabaseAwayError, OSError, dg.Failure)
"""What may end a tick or a run while calls go wrong; anything else is a mistake in the product."""


@dataclass
class World:
    """One installation.

    Attributes:
        home: where it keeps its files.
        machine: what it runs on.
        settings: all settings.
        pool: whether Dagster runs one delivery at a time.
        unexpected: errors that nothing that went wrong explains, with where they came from.
    """

    home: Path
    machine: Machine
    settings: Settings
    pool: bool = True
    unexpected: list[tuple[str, BaseException]] = field(default_factory=list)
    processes: dict[str, Process] = field(default_factory=dict)
    closed: bool = False
    _cursors: dict[str, str | None] = field(default_factory=dict)
    _looked_at: set[str] = field(default_factory=set)
    _run_keys: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        machine = self.machine
        self.kernel: Kernel = machine.kernel
        self.monitor = Monitor()
        self.evaluator = SimulatedEvaluator(machine=machine)
        self.place = SimulatedPlace(now=lambda: self.kernel.now, loads=self._probes)
        self.target = SimulatedTarget(self.place, machine, self.monitor)
        self.registry = SimulatedRegistry(machine)
        self.images = SimulatedImages(machine=machine, clock=self.kernel.wall)
        self.instance = MemoryInstance(self.kernel.wall, call=self._database, on_cancel=self.interrupt)
        self.notifier = Notifier(self.home / "notifications.jsonl", clock=lambda: self.kernel.now)
        self.resources = Resources(
            settings=self.settings,
            model_registry=self.registry,
            exporter=conversion({}),
            image_store=self.images,
            release_target=self.target,
            evaluator=self.evaluator,
            notifier=self.notifier,
            plots=NoPlots(),
            clock=SYSTEM_CLOCK,
        )
        self.by_key = self.resources.by_key()

    @classmethod
    def make(cls, home: Path, faults: Faults, settings: Settings) -> World:
        """An empty installation on a machine of its own, which is the current one from now on."""
        home.mkdir(parents=True, exist_ok=True)
        machine = Machine(Kernel(), faults)
        Current.machine, Current.held = machine, {}
        return cls(home, machine, settings.model_copy(update={"home": home}))

    def continue_from(self, base: World) -> None:
        """Begin where another installation stands; what becomes of either is its own."""
        self.place.copy_from(base.place)
        self.registry.copy_from(base.registry)
        self.images.copy_from(base.images)
        self.instance.copy_from(base.instance)
        self._looked_at = set(base._looked_at)
        self._cursors = {"staged_versions": base._cursors.get("staged_versions")}
        self._run_keys = set(base._run_keys)
        for name in ("notifications.jsonl", KEYS):
            shutil.copy2(base.home / name, self.home / name)
        self.kernel.now = base.kernel.now

    @property
    def audit_log(self) -> AuditLog:
        """The audit trail."""
        return AuditLog(cast(dg.DagsterInstance, self.instance), self.location)

    @property
    def location(self) -> CodeLocation:
        """What of the instance is this pipeline's."""
        return CodeLocation.of(self.settings)

    def publish(self, behaviour: Behaviour | None = None) -> str:
        """A new version in the registry."""
        version = self.registry.publish(b"weights")
        if behaviour:
            self.place.versions[version] = behaviour
        return version

    def start_daemon(self) -> None:
        """Start the daemon; it is started again whenever it dies."""
        host = self.machine.hosts["cluster"]
        process = self.kernel.start("daemon", host, self._daemon, on_end=self._daemon_died)
        self.processes["daemon"] = process

    def launch(self, version: str, job: str = "deliver", tags: dict[str, str] | None = None) -> str:
        """Queue a delivery, as a person or a sensor does."""
        return self._queue(job, {PARTITION_TAG: version, TRIGGER_TAG: "cli", ACTOR_TAG: "Ada", **(tags or {})}, {})

    def launch_rollback(self, version: str) -> str:
        """Queue a rollback, as somebody does in the pages."""
        config = {"reason": "It harms users.", "actor": "Jo", "version": version}
        return self._queue(ROLLBACK, {}, {"ops": {"roll_back_production": {"config": config}}})

    def fail_a_foreign_run(self, version: str) -> None:
        """A run of somebody else's job that is called as ours is."""
        run_id = f"{THEIRS}{len(self.instance.runs) + 1}"
        failed = dg.DagsterRunStatus.FAILURE
        self.instance.add_run(dg.DagsterRun(DELIVER, run_id, tags={PARTITION_TAG: version}, status=failed))

    def interrupt(self, run_id: str) -> None:
        """What cancelling a run does to its process."""
        process = self.processes.get(run_id)
        record = self.instance.runs[run_id]
        if process is None:
            record.dagster_run = record.dagster_run.with_status(dg.DagsterRunStatus.CANCELED)
        elif process.alive:
            record.dagster_run = record.dagster_run.with_status(dg.DagsterRunStatus.CANCELING)
            process.interrupt = dg.DagsterExecutionInterruptedError()

    def unfinished(self) -> list[str]:
        """The runs that have not ended."""
        return [run_id for run_id, record in self.instance.runs.items() if not record.dagster_run.is_finished]

    def _database(self, what: str, *, changes: bool = False) -> Any:
        return self.machine.call("dagster", f"dagster.{what}", DatabaseAwayError, changes=changes)

    def _probes(self) -> dict[Colour, float]:
        loads: list[FakeLoad] = self.evaluator.loads
        return {Colour(load.url.rpartition("/")[2]): load.rate for load in loads}

    def _queue(self, job: str, tags: dict[str, str], config: dict[str, Any], run_key: str = "") -> str:
        run_id = f"run{len(self.instance.runs) + 1}"
        run = dg.DagsterRun(
            job_name=job,
            run_id=run_id,
            tags={**self.location.tags, **tags},
            run_config=config,
            status=dg.DagsterRunStatus.NOT_STARTED,
        )
        self.instance.add_run(run)
        if run_key:
            self._run_keys.add(run_key)
        return run_id

    def _daemon(self) -> None:
        process = self.kernel.process
        assert process is not None
        MEMORY.forget()  # Sensors are evaluated in this process, which has just begun.
        chance = self.machine.faults.random
        for name, every in SENSORS.items():
            first = chance.uniform(0.0, every)
            self.kernel.start_thread(process, name, self._evaluated(name, every), delay=first)
        self.kernel.start_thread(process, "run status", self._evaluated("", 3.0), delay=1.0)
        while True:
            with suppress(DatabaseAwayError):
                self._start_queued()
            self.kernel.sleep(2.0)

    def _evaluated(self, name: str, every: float) -> Callable[[], None]:
        def forever() -> None:
            while True:
                try:
                    if name:
                        self._tick(name)
                    else:
                        self._look_at_ended_runs()
                except EXPECTED:
                    pass
                except Exception as error:  # noqa: BLE001 - as the daemon does; what it was is looked at in the end
                    self.unexpected.append((name or "run status", error))
                self.kernel.sleep(every)

        return forever

    def _tick(self, name: str) -> None:
        context = Context(self.instance, cursor=self._cursors.get(name))
        result = call(sensor_functions()[name], context, self.by_key)
        for request in requests_of(result):
            if request.run_key and request.run_key in self._run_keys:
                continue
            tags = dict(request.tags or {})
            if request.partition_key:
                tags[PARTITION_TAG] = request.partition_key
            self._queue("deliver", tags, dict(request.run_config or {}), request.run_key or "")
        cursor = result.cursor if isinstance(result, dg.SensorResult) else context.cursor
        self._cursors[name] = cursor

    def _look_at_ended_runs(self) -> None:
        for run_id, record in list(self.instance.runs.items()):
            run = record.dagster_run
            if not run.is_finished or run_id in self._looked_at:
                continue
            try:
                call(sensor_functions()[AFTER[run.status]], Context(self.instance, run), self.by_key)
            finally:
                if self.kernel.process and self.kernel.process.alive:
                    self._looked_at.add(run_id)

    def _start_queued(self) -> None:
        runs = [record.dagster_run for record in self.instance.runs.values()]
        busy = any(run.status in _BUSY and run.job_name != "rollback" for run in runs)
        for run in runs:
            if run.status is dg.DagsterRunStatus.STARTING and not self.processes[run.run_id].alive:
                # Dagster's run monitoring fails what does not start in time.
                self.instance.report_run_failed(run, "The run did not start in time.")
            if run.status is dg.DagsterRunStatus.NOT_STARTED and not (
                self.pool and busy and run.job_name != "rollback"
            ):
                busy = busy or run.job_name != "rollback"
                self._start_run(run)

    def _start_run(self, run: dg.DagsterRun) -> None:
        record = self.instance.runs[run.run_id]
        record.dagster_run = run.with_status(dg.DagsterRunStatus.STARTING)
        worker = RunWorker(self.instance, self.by_key, run.run_id)
        name = f"{run.run_id} ({run.job_name} {run.tags.get(PARTITION_TAG, '')})"
        process = self.kernel.start(name, self.machine.hosts["cluster"], worker, delay=0.5)
        self.processes[run.run_id] = process

    def _daemon_died(self) -> None:
        if not self.closed:
            host = self.machine.hosts["cluster"]
            self.processes["daemon"] = self.kernel.start(
                "daemon", host, self._daemon, delay=RESTART_SECONDS, on_end=self._daemon_died
            )

    def close(self) -> None:
        """End everything."""
        self.closed = True
        self.machine.faults.on = False
        self.kernel.close()

    @property
    def production(self) -> Any:
        """Production's record."""
        return self.target._record(Environment.PRODUCTION)


_BUSY = {dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING}
