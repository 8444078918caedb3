"""What Dagster does around the pipeline's own functions: it runs assets with their checks, and evaluates sensors.

The functions are the product's, taken out of their decorators; their contexts are the few things that they ask for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from types import GeneratorType, SimpleNamespace
from typing import Any, cast

import dagster as dg
from dagster import DagsterEventType

from banana_delivery.defs import asset_checks, jobs, sensors
from banana_delivery.defs.assets.ab_report import ab_report
from banana_delivery.defs.assets.image import image
from banana_delivery.defs.assets.model_artifact import model_artifact
from banana_delivery.defs.assets.production_release import production_release
from banana_delivery.defs.assets.staging_release import staging_release
from banana_delivery.errors import BananaDeliveryError
from banana_delivery.names import PARTITION_TAG
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import ROLLBACK, CodeLocation
from banana_delivery.settings import Settings
from tests.chaos.faults import DatabaseAwayError
from tests.chaos.instance import MemoryInstance

Function = Callable[..., Any]
DELIVER = ("model_artifact", "image", "staging_release", "ab_report", "production_release")


@dataclass
class Context:
    """What an asset, a check, an op or a sensor asks of Dagster."""

    instance: MemoryInstance
    run: dg.DagsterRun | None = None
    cursor: str | None = None
    code_location_origin: None = None
    log: Any = field(default_factory=lambda: SimpleNamespace(info=_quiet, warning=_quiet, error=_quiet))

    @property
    def dagster_run(self) -> dg.DagsterRun:
        assert self.run is not None
        return self.run

    @property
    def partition_key(self) -> str:
        return self.dagster_run.tags[PARTITION_TAG]

    def update_cursor(self, cursor: str) -> None:
        self.cursor = cursor


def _quiet(*said: object) -> None:
    pass


@cache
def assets() -> Mapping[str, Function]:
    """The functions of the assets, by name."""
    definitions = (model_artifact, image, staging_release, ab_report, production_release)
    built = [declared(CodeLocation()) for declared in definitions]
    return {one.key.to_user_string(): _body(one.op) for one in built}


@cache
def checks() -> Mapping[str, tuple[tuple[str, Function], ...]]:
    """The functions of the checks, by the asset that they look at."""
    found: dict[str, list[tuple[str, Function]]] = {}
    for one in asset_checks.build_checks(CodeLocation()):
        (key,) = one.check_keys
        found.setdefault(key.asset_key.to_user_string(), []).append((key.name, _body(one.node_def)))
    return {asset: tuple(functions) for asset, functions in found.items()}


@cache
def sensor_functions() -> Mapping[str, Function]:
    """The functions of the sensors, by name."""
    return {
        one.name: one._run_status_sensor_fn if isinstance(one, dg.RunStatusSensorDefinition) else one._raw_fn
        for one in sensors.build_sensors(starting=True)
    }


@cache
def rollback_op() -> Function:
    """The function of the op that rolls production back."""
    return _body(jobs.roll_back_production)


def _body(op: Any) -> Function:
    function: Function = op.compute_fn.decorated_fn
    return function


@cache
def _wants(function: Function) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def call(function: Function, context: Context, resources: Mapping[str, object], **values: object) -> Any:
    """Call one of the product's functions with what it names."""
    known = {**resources, **values, "context": context}
    result = function(**{name: known[name] for name in _wants(function) if name in known})
    return list(result) if isinstance(result, GeneratorType) else result


class RunWorker:
    """The process of a run, as Dagster's executor is one."""

    def __init__(self, instance: MemoryInstance, resources: Mapping[str, object], run_id: str) -> None:
        self._instance, self._resources, self._run_id = instance, resources, run_id
        self._values: dict[str, object] = {}

    def __call__(self) -> None:
        """Run the steps; a database that is away ends the process where it stands."""
        run = self._instance.runs[self._run_id].dagster_run
        try:
            self._instance.report_run_started(self._run_id)
            for step in self._steps(run):
                self._instance.report_step_started(self._run_id, step)
                self._step(step, run)
            self._instance.report_run_succeeded(run)
        except DatabaseAwayError:
            return
        except dg.DagsterExecutionInterruptedError:
            self._end(partial(self._instance.report_run_canceled, run))
        except dg.Failure as failure:
            self._end(partial(self._failed, run, "Failure", failure.description or ""))
        except Exception as error:
            self._end(partial(self._failed, run, type(error).__name__, str(error) or repr(error)))
            if not isinstance(error, (BananaDeliveryError, OSError)):
                raise

    def _steps(self, run: dg.DagsterRun) -> tuple[str, ...]:
        if run.job_name == ROLLBACK:
            return (ROLLBACK,)
        return DELIVER[1:] if run.job_name == "redeploy" else DELIVER

    def _step(self, step: str, run: dg.DagsterRun) -> None:
        context = Context(self._instance, self._instance.runs[self._run_id].dagster_run)
        if step == ROLLBACK:
            ops: Any = run.run_config["ops"]
            config = jobs.RollbackConfig(**ops["roll_back_production"]["config"])
            call(rollback_op(), context, self._resources, config=config)
            return
        results = call(assets()[step], context, self._resources, **self._values)
        for result in results if isinstance(results, list) else [results]:
            self._values[step] = result.value
            location = CodeLocation.of(cast(Settings, self._resources["settings"]))
            log = AuditLog(cast(dg.DagsterInstance, self._instance), location)
            metadata = log.sign(result.value, step, context.partition_key, self._run_id)
            event = dg.AssetMaterialization(step, partition=context.partition_key, metadata=metadata)
            self._instance.report_step_event(self._run_id, location.step(step), event)
        if step in self._values:
            self._check(step, context)

    def _check(self, step: str, context: Context) -> None:
        refused = ""
        for name, function in checks().get(step, ()):
            answer = call(function, context, self._resources, **self._values)
            data = SimpleNamespace(
                check_name=name, passed=answer.passed, severity=answer.severity, description=answer.description
            )
            self._instance.report_event(
                self._run_id, DagsterEventType.ASSET_CHECK_EVALUATION, asset_check_evaluation_data=data
            )
            if not answer.passed and answer.severity is dg.AssetCheckSeverity.ERROR:
                refused = refused or f"1 blocking asset check failed: {name}"
        if refused:
            raise dg.Failure(refused)

    def _failed(self, run: dg.DagsterRun, kind: str, said: str) -> None:
        user = SimpleNamespace(description=said) if kind == "Failure" else None
        data = SimpleNamespace(error=SimpleNamespace(cls_name=kind, message=said), user_failure_data=user)
        self._instance.report_event(self._run_id, DagsterEventType.STEP_FAILURE, step_failure_data=data)
        self._instance.report_run_failed(run)

    def _end(self, report: Callable[[], None]) -> None:
        try:
            report()
        except (DatabaseAwayError, dg.DagsterExecutionInterruptedError):
            return  # The run stays as it is, and its process is gone.


def requests_of(result: object) -> Iterator[dg.RunRequest]:
    """What a sensor's answer asks to be run."""
    answers = result if isinstance(result, list) else [result]
    for answer in answers:
        if isinstance(answer, dg.RunRequest):
            yield answer
        elif isinstance(answer, dg.SensorResult):
            yield from answer.run_requests or ()
