"""A Dagster instance shared with others: runs of another code location, real ones, with the names that ours have."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from sqlalchemy import event
from sqlalchemy.engine import Engine

from banana_delivery.runs.code_location import REPOSITORY

THEIRS = "other-team"
VERSIONS = dg.DynamicPartitionsDefinition(name="model_version")


@dg.asset(partitions_def=VERSIONS)
def image(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """An asset of the name that ours has, whose metadata even have the name of a record."""
    if context.run.tags.get("fails"):
        raise dg.Failure("Their disk is full.", allow_retries=False)
    return dg.MaterializeResult(metadata={"record": dg.MetadataValue.json({"rows": 5})})


@dg.op
def clean_up() -> None:
    """What their job named ``rollback`` does."""


@dg.job(name="rollback")
def rollback() -> None:
    """A job of the name that ours has."""
    clean_up()


DEFINITIONS = dg.Definitions(
    assets=[image], jobs=[dg.define_asset_job("deliver", selection=[image]), rollback], executor=dg.in_process_executor
)


def origin(job: str, location: str = THEIRS) -> RemoteJobOrigin:
    """What Dagster keeps of where a run was launched from."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), REPOSITORY)
    return repository.get_job_origin(job)


def their_run(
    instance: dg.DagsterInstance,
    version: str,
    *,
    job: str = "deliver",
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.NOT_STARTED,
    tags: Mapping[str, str] | None = None,
) -> dg.DagsterRun:
    """A run of another code location, launched and not carried out."""
    if not instance.has_dynamic_partition("model_version", version):
        instance.add_dynamic_partitions("model_version", [version])
    partition = {} if job == "rollback" else {"dagster/partition": version}
    return instance.create_run_for_job(
        DEFINITIONS.resolve_job_def(job),
        status=status,
        tags={**partition, **(tags or {})},
        remote_job_origin=origin(job),
    )


def they_run(instance: dg.DagsterInstance, version: str, *, fails: bool) -> dg.DagsterRun:
    """A run of another code location, carried out."""
    run = their_run(instance, version, tags={"fails": "yes"} if fails else {})
    done = execute_run(InMemoryJob(DEFINITIONS.resolve_job_def("deliver")), run, instance)
    assert done.success is not fails
    return ended(instance, run)


def their_failures(instance: dg.DagsterInstance, count: int, first: int = 900) -> list[dg.DagsterRun]:
    """Runs of theirs that failed, each with a partition of the name that ours has."""
    runs = [their_run(instance, str(first + number), status=dg.DagsterRunStatus.STARTED) for number in range(count)]
    for run in runs:
        instance.report_run_failed(run, "Their disk is full.")
    return [ended(instance, run) for run in runs]


def ended(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    """A run as Dagster knows it now."""
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


@contextmanager
def counted_queries() -> Iterator[list[str]]:
    """The statements that are sent to any database meanwhile."""
    said: list[str] = []

    def listen(connection: object, cursor: object, statement: str, *_: object) -> None:
        said.append(statement)

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        yield said
    finally:
        event.remove(Engine, "before_cursor_execute", listen)
