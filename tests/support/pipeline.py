"""The pipeline in memory, for its tests: real Dagster, real SQLite, real policies; fakes at the edges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from banana_delivery.bundle import INSTANCE
from banana_delivery.defs.build import build_defs
from banana_delivery.defs.resources import Resources
from banana_delivery.delivery.rescue.emergency import EmergencyRollback
from banana_delivery.evaluation.fake import FakeEvaluator
from banana_delivery.images.fake import FakeImages
from banana_delivery.model_registry.fake import FakeRegistry
from banana_delivery.notifications.messages import Notice
from banana_delivery.notifications.notifier import Notifier
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Colour, Environment
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.instance import POOL_LIMIT
from banana_delivery.runs.partitions import ensure_partition
from banana_delivery.settings import Settings
from banana_delivery.targets.fake_place import Behaviour
from tests.support import databases
from tests.support.phases import NoPlots, SimulatedClock, WatchedTarget, conversion

STATUS_SENSORS = {
    dg.DagsterRunStatus.SUCCESS: "after_success",
    dg.DagsterRunStatus.FAILURE: "after_failure",
    dg.DagsterRunStatus.CANCELED: "after_cancel",
}


@dataclass
class PipelineHarness:
    """The pipeline with fakes at its edges.

    Attributes:
        instance: a Dagster instance on SQLite files.
        resources: what the pipeline works with.
        registry: the fake registry.
        target: the fake target.
        evaluator: the fake evidence.
        clock: the pipeline's clock; sleeping advances it.
        classes: what a version's checkpoint knows, by version; others know ``streak``.
    """

    instance: dg.DagsterInstance
    resources: Resources
    registry: FakeRegistry
    target: WatchedTarget
    evaluator: FakeEvaluator
    clock: SimulatedClock
    classes: dict[str, tuple[str, ...]]

    @cached_property
    def defs(self) -> dg.Definitions:
        return build_defs(
            self.resources.settings,
            {field.name: getattr(self.resources, field.name) for field in fields(self.resources)},
        )

    def stage(self, found: float = 0.9, checkpoint: bytes | None = b"weights") -> str:
        """Publish a version that finds a share of the labelled objects, and stage it."""
        version = self.registry.publish(checkpoint)
        self.registry.stage(version)
        self.evaluator.found[version] = found
        return version

    def change(self, **parts: Any) -> None:
        """Let the pipeline start again with other parts."""
        self.resources = replace(self.resources, **parts)
        self.__dict__.pop("defs", None)

    def set_policy(self, text: str) -> Path:
        """Let a file say the release policy from now on; where it lies."""
        settings = self.resources.settings
        file = settings.home / "policy.yaml"
        file.write_text(text)
        self.change(settings=settings.model_copy(update={"policy": str(file)}))
        return file

    def break_image(self, digest: str, **behaviour: Any) -> None:
        """Whatever runs an image behaves differently from now on."""
        self.target.place.behaviours[digest] = Behaviour(**behaviour)

    def break_candidate(self, **behaviour: Any) -> None:
        """The same for the candidate under way in production."""
        candidate = self.target.record(Environment.PRODUCTION).candidate
        assert candidate is not None
        self.break_image(candidate.digest, **behaviour)

    def run(
        self, version: str, job: str = "deliver", assets: Sequence[str] = (), tags: Mapping[str, str] | None = None
    ) -> dg.DagsterRun:
        """Run a job for a version in this process, then what the run-status sensor does about it."""
        run = self.run_alone(version, job, assets, tags)
        self.after(run)
        return run

    def follow(self, version: str, request: dg.RunRequest) -> dg.DagsterRun:
        """Run what a sensor asked for because somebody approved a version."""
        return self.run(version, assets=("production_release",), tags=dict(request.tags or {}))

    def run_alone(
        self, version: str, job: str = "deliver", assets: Sequence[str] = (), tags: Mapping[str, str] | None = None
    ) -> dg.DagsterRun:
        """Run a job for a version while no daemon is there to evaluate sensors."""
        ensure_partition(self.instance, version, self.location)
        done = self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=version,
            raise_on_error=False,
            asset_selection=[self.location.key(asset) for asset in assets] or None,
            tags=dict(tags or {}),
        )
        return self.run_of(done.run_id)

    def run_of(self, run_id: str) -> dg.DagsterRun:
        """A run as Dagster knows it now."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def cancelled(self, version: str, tags: dict[str, str]) -> dg.DagsterRun:
        """A run of a version that somebody cancelled, and what the sensor does about it."""
        ensure_partition(self.instance, version, self.location)
        run = self.instance.create_run_for_job(
            self.defs.resolve_job_def("deliver"),
            status=dg.DagsterRunStatus.STARTED,
            tags={"dagster/partition": version, **self.location.tags, **tags},
        )
        self.instance.report_run_canceled(run)
        ended = self.run_of(run.run_id)
        self.after(ended)
        return ended

    def after(self, run: dg.DagsterRun) -> None:
        """What Dagster does once a run has ended: evaluate the status sensor."""
        event = next(
            record.event_log_entry.dagster_event
            for record in self.instance.get_records_for_run(run.run_id, ascending=False).records
            if record.event_log_entry.dagster_event and record.event_log_entry.dagster_event.is_job_event
        )
        assert event is not None
        name = STATUS_SENSORS[run.status]
        context = dg.build_run_status_sensor_context(
            sensor_name=name,
            dagster_event=event,
            dagster_instance=self.instance,
            dagster_run=run,
            resources=self.resources.by_key(),
        )
        self.defs.resolve_sensor_def(name)(context)

    def tick(self, sensor: str, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason | object:
        """Evaluate a sensor once."""
        context = dg.build_sensor_context(
            instance=self.instance, cursor=cursor, resources=self.resources.by_key(), sensor_name=sensor
        )
        return self.defs.resolve_sensor_def(sensor)(context)

    def attempts(self, version: str) -> list[AttemptRecord]:
        """The audit trail of a version, newest first."""
        return self.audit_log.attempts(version)

    @property
    def location(self) -> CodeLocation:
        """What of the instance is this pipeline's."""
        return CodeLocation.of(self.resources.settings)

    @property
    def audit_log(self) -> AuditLog:
        """The audit trail."""
        return AuditLog(self.instance, self.location)

    def roll_back(
        self,
        *,
        actor: str = "Ada",
        reason: str,
        version: str = "",
        digest: str = "",
        to: str = "",
        audit_log: bool = True,
    ) -> AttemptRecord:
        """Roll production back, as a person or the watch does; without the audit trail if that is away."""
        known = self.audit_log if audit_log else None
        parts = self.resources
        rollback = EmergencyRollback(parts.release_target, parts.recorder, known, print, parts.image_store)
        return rollback.roll_back(actor=actor, reason=reason, version=version, digest=digest, to=to)

    @property
    def serving(self) -> str | None:
        """The version that production serves by its record."""
        live = self.target.record(Environment.PRODUCTION).live
        return live.version if live else None

    @property
    def sent(self) -> list[Notice]:
        """All notices, oldest first."""
        return self.resources.notifier.sent()

    @property
    def weights(self) -> dict[Colour, int]:
        """The split of the users, as the router has it."""
        return dict(self.target.place.weights[Environment.PRODUCTION])


@contextmanager
def open_pipeline(home: Path, clock: SimulatedClock | None = None, **settings: object) -> Iterator[PipelineHarness]:
    """A pipeline in a directory of its own; opened again, it remembers what Dagster knew."""
    dagster_home = home / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load(INSTANCE.read_text())
    (dagster_home / "dagster.yaml").write_text(yaml.safe_dump(config))
    clock = clock or SimulatedClock()
    target, evaluator, registry = WatchedTarget(clock=clock), FakeEvaluator(), FakeRegistry()
    clock.target, clock.evaluator = target, evaluator
    classes: dict[str, tuple[str, ...]] = {}
    resources = Resources(
        # Nobody else is there to be waited for, unless a test says so.
        settings=Settings(**{"home": home, "plan": "demo", "rival_wait_seconds": 0.0, **settings}),  # type: ignore[arg-type]
        model_registry=registry,
        exporter=conversion(classes),
        image_store=FakeImages(),
        release_target=target,
        evaluator=evaluator,
        notifier=Notifier(home / "notifications.jsonl"),
        plots=NoPlots(),
        clock=clock,
    )
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        instance.event_log_storage.set_concurrency_slots(resources.settings.dagster_pool, POOL_LIMIT)
        yield PipelineHarness(instance, resources, registry, target, evaluator, clock, classes)
    databases.let_go(home)
