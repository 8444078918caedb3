"""What ``banana_delivery.runs`` asks of a Dagster instance: a real one and the fault simulator's answer alike."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import dagster as dg
import psutil
import pytest

from banana_delivery.names import PARTITION_TAG, WORKER_TAG
from banana_delivery.policy.approvals.withdrawn import HowFar
from banana_delivery.policy.asset_records import AttemptRecord, DecisionKind, ManualDecision
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.outcomes import RunStatus
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.lifecycle import Runs, identity
from banana_delivery.runs.outcome import end_of
from banana_delivery.targets.sightings import Sightings
from tests.chaos.instance import MemoryInstance
from tests.support.clock import HandClock
from tests.support.other_teams import origin

REPORT = Path("report.html")


@pytest.fixture(params=["Dagster", "memory"])
def instance(request: pytest.FixtureRequest) -> Iterator[dg.DagsterInstance]:
    if request.param == "memory":
        yield cast(dg.DagsterInstance, MemoryInstance(time.time))
        return
    with dg.DagsterInstance.ephemeral() as real:
        yield real


def attempt(version: str, run_id: str, *, revoked: bool = False, at: float = 1.0) -> AttemptRecord:
    outcome = Outcome.ROLLED_BACK if revoked else Outcome.RELEASED
    return AttemptRecord(version=version, outcome=outcome, reason="So.", at=at, run_id=run_id, revoked=revoked)


def started(
    instance: dg.DagsterInstance,
    run_id: str,
    version: str = "3",
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
) -> dg.DagsterRun:
    """A delivery under way."""
    tags, made_by = {**CodeLocation().tags, PARTITION_TAG: version}, origin("deliver", CodeLocation().name)
    return instance.add_run(dg.DagsterRun("deliver", run_id, tags=tags, status=status, remote_job_origin=made_by))


def test_attempts_are_read_newest_first_by_version_or_all(instance: dg.DagsterInstance) -> None:
    log = AuditLog(instance)
    for one in (attempt("1", "a"), attempt("2", "b"), attempt("1", "c")):
        log.log(one, REPORT)

    assert [one.run_id for one in log.attempts("1")] == ["c", "a"]
    assert [one.run_id for one in log.attempts()] == ["c", "b", "a"]
    assert [one.order for one in log.attempts()] == sorted((one.order for one in log.attempts()), reverse=True)


def test_a_run_is_logged_once_and_its_revocation_once_more(instance: dg.DagsterInstance) -> None:
    log = AuditLog(instance)
    for one in (attempt("1", "a"), attempt("1", "a"), attempt("1", "a", revoked=True), attempt("1", "a", revoked=True)):
        log.log(one, REPORT)

    assert [one.revoked for one in log.attempts("1")] == [True, False]


def test_what_people_say_is_ordered_among_attempts(instance: dg.DagsterInstance) -> None:
    log = AuditLog(instance)
    log.log(attempt("1", "a"), REPORT)
    log.record_decision(ManualDecision(kind=DecisionKind.OVERRIDE, version="1", by="Ada", reason="So.", at=0.0))
    log.log(attempt("1", "b"), REPORT)

    (said,) = log.decisions("1")
    newest, oldest = log.attempts("1")
    assert oldest.order < said.order < newest.order
    assert log.decisions("2") == []


def test_a_run_that_ended_is_found_by_how_it_ended(instance: dg.DagsterInstance) -> None:
    for run_id in ("failed", "cancelled", "running"):
        started(instance, run_id)
    runs = Runs(instance)
    instance.report_run_failed(started(instance, "other", version="4"), "Of a full disk.")
    instance.report_run_canceled(runs.instance.get_run_by_id("cancelled") or pytest.fail("It is there."))

    other, cancelled = (instance.get_run_by_id(run_id) for run_id in ("other", "cancelled"))
    assert other
    assert cancelled
    assert end_of(instance, other).status is RunStatus.FAILURE
    assert end_of(instance, other).failure == "Of a full disk."
    assert end_of(instance, cancelled).status is RunStatus.CANCELED
    assert runs.is_over("other")
    assert not runs.is_over("running")
    assert not runs.is_over("unknown")
    found = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED], tags={PARTITION_TAG: "3"}))
    assert {run.run_id for run in found} == {"failed", "running"}


def test_a_run_whose_process_never_worked_on_it_counts_as_dead_after_a_while(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run = started(instance, "run")
    if isinstance(memory := cast(object, instance), MemoryInstance):
        memory.report_run_started("run")
    else:
        instance.handle_new_event(_start_event(run))
    runs, clock = Runs(instance), HandClock()
    seen = Sightings(tmp_path, clock)

    assert runs.dead(seen) == []
    clock.sleep(3600.0)
    assert [one.run_id for one in runs.dead(seen)] == ["run"]
    runs.sign_in("run")
    clock.sleep(3600.0)
    assert runs.dead(seen) == []


@pytest.mark.parametrize(
    ("status", "how_far"),
    [
        (dg.DagsterRunStatus.NOT_STARTED, HowFar.WAITS),
        (dg.DagsterRunStatus.QUEUED, HowFar.WAITS),
        (dg.DagsterRunStatus.STARTING, HowFar.STARTS),
        (dg.DagsterRunStatus.STARTED, HowFar.BEGUN),
        (dg.DagsterRunStatus.CANCELING, HowFar.ENDS),
    ],
)
def test_it_is_known_how_far_a_delivery_has_come(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, how_far: HowFar
) -> None:
    run, runs = started(instance, "run", status=status), Runs(instance)
    assert [(one.run_id, runs.how_far(one)) for one in runs.unfinished()] == [("run", how_far)]
    _begin_step(instance, run, "ab_report")
    assert runs.how_far(run) is how_far
    _begin_step(instance, run, "production_release")
    assert runs.how_far(run) is (HowFar.IN_PRODUCTION if how_far is HowFar.BEGUN else how_far)


def test_a_delivery_whose_process_is_gone_is_ending(instance: dg.DagsterInstance) -> None:
    run, runs = started(instance, "run"), Runs(instance)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        signed = identity("run", psutil.Process(process.pid))
    instance.add_run_tags(run.run_id, {WORKER_TAG: signed})
    assert [runs.how_far(one) for one in runs.unfinished()] == [HowFar.ENDS]


def _start_event(run: dg.DagsterRun) -> dg.EventLogEntry:
    from dagster import DagsterEvent, DagsterEventType

    event = DagsterEvent(event_type_value=DagsterEventType.RUN_START.value, job_name=run.job_name)
    return dg.EventLogEntry(  # type: ignore[no-untyped-call]
        error_info=None, level="info", user_message="", run_id=run.run_id, timestamp=time.time(), dagster_event=event
    )


def _begin_step(instance: dg.DagsterInstance, run: dg.DagsterRun, step: str) -> None:
    if isinstance(memory := cast(object, instance), MemoryInstance):
        memory.report_step_started(run.run_id, step)
        return
    from dagster import DagsterEvent, DagsterEventType

    event = DagsterEvent(event_type_value=DagsterEventType.STEP_START.value, job_name=run.job_name, step_key=step)
    instance.event_log_storage.store_event(
        dg.EventLogEntry(  # type: ignore[no-untyped-call]
            error_info=None,
            level="info",
            user_message="",
            run_id=run.run_id,
            timestamp=time.time(),
            step_key=step,
            dagster_event=event,
        )
    )


def test_runs_are_read_page_by_page_newest_first(instance: dg.DagsterInstance) -> None:
    for number in range(5):
        started(instance, f"run{number}")

    first = instance.get_runs(limit=2)
    second = instance.get_runs(limit=2, cursor=first[-1].run_id)

    assert [run.run_id for run in [*first, *second]] == ["run4", "run3", "run2", "run1"]


def test_runs_of_others_are_none_of_ours(instance: dg.DagsterInstance) -> None:
    started(instance, "ours")
    failed = dg.DagsterRunStatus.FAILURE
    instance.add_run(dg.DagsterRun("deliver", "theirs", tags={PARTITION_TAG: "3"}, status=failed))

    assert list(Runs(instance).ended_badly()) == []
    assert Runs(instance).latest_unfinished("deliver") == "ours"
