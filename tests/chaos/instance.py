"""Dagster's instance in memory: what ``banana_delivery.runs`` asks of one, and no more.

It passes ``tests/contract/test_run_store.py`` beside a real one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import dagster as dg
from dagster import DagsterEventType
from dagster._core.instance.config import PoolGranularity

from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.instance import POOL_LIMIT

CALL = Callable[..., AbstractContextManager[object]]


def _no_call(what: str, *, changes: bool = False) -> AbstractContextManager[object]:
    return nullcontext()


@dataclass
class _RunRecord:
    dagster_run: dg.DagsterRun
    created: float
    updated: float
    start_time: float | None = None
    end_time: float | None = None
    events: list[SimpleNamespace] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)

    @property
    def create_timestamp(self) -> datetime:
        """When it was made, as Dagster's own records say it."""
        return datetime.fromtimestamp(self.created, UTC)


@dataclass
class MemoryInstance:
    """Runs, asset events and tags, in dictionaries.

    Attributes:
        clock: seconds since the epoch.
        call: made around each call, so that it can go wrong.
        on_cancel: what ``cancel_run`` does to the process of a run.
        watches_runs: whether the launcher looks after its runs by itself.
    """

    clock: Callable[[], float]
    call: CALL = _no_call
    on_cancel: Callable[[str], object] = lambda _: None
    watches_runs: bool = False
    runs: dict[str, _RunRecord] = field(default_factory=dict)
    events: list[SimpleNamespace] = field(default_factory=list)
    partitions: dict[str, list[str]] = field(default_factory=dict)
    cursors: dict[str, str] = field(default_factory=dict)

    def copy_from(self, other: MemoryInstance) -> None:
        """Know what another one knows; what either learns later stays its own."""
        self.runs, self.events = dict(other.runs), list(other.events)
        self.cursors = dict(other.cursors)
        self.partitions = {name: list(keys) for name, keys in other.partitions.items()}

    @property
    def run_launcher(self) -> SimpleNamespace:
        """Says whether it watches runs."""
        return SimpleNamespace(supports_check_run_worker_health=self.watches_runs)

    @property
    def run_coordinator(self) -> SimpleNamespace:
        """Cancels runs."""
        return SimpleNamespace(cancel_run=self._cancel)

    @property
    def event_log_storage(self) -> SimpleNamespace:
        """Frees slots; there are none, and the one that a delivery needs is always free."""
        slot = SimpleNamespace(name=CodeLocation().pool, limit=POOL_LIMIT, from_default=False)
        return SimpleNamespace(free_concurrency_slots_for_run=lambda _: None, get_pool_limits=lambda: [slot])

    def get_concurrency_config(self) -> SimpleNamespace:
        return SimpleNamespace(pool_config=SimpleNamespace(pool_granularity=PoolGranularity.RUN))

    def get_asset_records(self, asset_keys: Sequence[dg.AssetKey]) -> list[SimpleNamespace]:
        """Nobody else makes these assets."""
        return []

    def has_dynamic_partition(self, name: str, key: str) -> bool:
        return key in self.partitions.get(name, ())

    def add_dynamic_partitions(self, name: str, keys: Sequence[str]) -> None:
        with self.call("add_dynamic_partitions", changes=True):
            known = self.partitions.setdefault(name, [])
            known += [key for key in keys if key not in known]

    def report_runless_asset_event(self, event: dg.AssetMaterialization | dg.AssetObservation) -> None:
        with self.call(
            f"report {event.asset_key.to_user_string()} {event.partition}: {event.description}", changes=True
        ):
            self.store(event)

    def report_step_event(self, run_id: str, step: str, event: dg.AssetMaterialization) -> None:
        """What a step of a run made."""
        with self.call(f"report {event.asset_key.to_user_string()} {event.partition} by {run_id}", changes=True):
            self.store(event, run_id, step)

    @property
    def daemon_cursor_storage(self) -> SimpleNamespace:
        """Keeps small texts."""
        return SimpleNamespace(
            get_cursor_values=lambda keys: {key: self.cursors[key] for key in keys if key in self.cursors},
            set_cursor_values=self.cursors.update,
        )

    def store(
        self, event: dg.AssetMaterialization | dg.AssetObservation, run_id: str = "", step: str | None = None
    ) -> None:
        """Keep an event as the latest."""
        made = event if isinstance(event, dg.AssetMaterialization) else None
        seen = event if isinstance(event, dg.AssetObservation) else None
        number = len(self.events) + 1
        self.events.append(
            SimpleNamespace(
                storage_id=number,
                run_id=run_id,
                event_log_entry=SimpleNamespace(step_key=step),
                asset_materialization=made,
                asset_observation=seen,
                asset_key=event.asset_key,
                partition=event.partition,
            )
        )

    def fetch_materializations(self, records_filter: Any, limit: int, cursor: Any = None) -> SimpleNamespace:
        return self._fetch(records_filter, limit, cursor, lambda one: one.asset_materialization is not None)

    def fetch_observations(self, records_filter: Any, limit: int, cursor: Any = None) -> SimpleNamespace:
        return self._fetch(records_filter, limit, cursor, lambda one: one.asset_observation is not None)

    def _fetch(
        self, wanted: dg.AssetRecordsFilter, limit: int, cursor: str | None, fits: Callable[[Any], bool]
    ) -> SimpleNamespace:
        with self.call(f"fetch {wanted.asset_key.to_user_string()} {wanted.asset_partitions or ''}"):
            partitions = wanted.asset_partitions
            found = [
                one
                for one in reversed(self.events)
                if one.asset_key == wanted.asset_key
                and fits(one)
                and (cursor is None or one.storage_id < int(cursor))
                and (partitions is None or one.partition in partitions)
            ]
        page = found[:limit]
        last = str(page[-1].storage_id) if page else cursor
        return SimpleNamespace(records=page, has_more=len(found) > limit, cursor=last)

    def add_run(self, run: dg.DagsterRun) -> dg.DagsterRun:
        with self.call(f"add_run {run.run_id}", changes=True):
            self.runs[run.run_id] = _RunRecord(run, self.clock(), self.clock())
        return run

    def get_run_by_id(self, run_id: str) -> dg.DagsterRun | None:
        with self.call(f"get_run {run_id}"):
            return self.runs[run_id].dagster_run if run_id in self.runs else None

    def get_run_record_by_id(self, run_id: str) -> _RunRecord | None:
        with self.call(f"get_run_record {run_id}"):
            return self.runs.get(run_id)

    def get_runs(
        self, filters: dg.RunsFilter | None = None, cursor: str | None = None, limit: int | None = None
    ) -> list[dg.DagsterRun]:
        with self.call("get_runs"):
            found = [one for one in reversed(list(self.runs.values())) if filters is None or _fits(one, filters)]
        runs = [one.dagster_run for one in found]
        begin = next((number for number, run in enumerate(runs, start=1) if run.run_id == cursor), 0)
        return runs[begin:][:limit]

    def add_run_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        with self.call(f"add_run_tags {run_id}", changes=True):
            record = self.runs[run_id]
            record.dagster_run = record.dagster_run.with_tags({**record.dagster_run.tags, **tags})

    def get_run_step_stats(self, run_id: str, step_keys: Sequence[str] | None = None) -> list[SimpleNamespace]:
        with self.call(f"get_run_step_stats {run_id}"):
            steps = self.runs[run_id].steps
            return [
                SimpleNamespace(step_key=key, start_time=at)
                for key, at in steps.items()
                if step_keys is None or key in step_keys
            ]

    def get_records_for_run(
        self,
        run_id: str,
        of_type: DagsterEventType | Iterable[DagsterEventType] | None = None,
        limit: int | None = None,
    ) -> SimpleNamespace:
        kinds = {of_type} if isinstance(of_type, DagsterEventType) else set(of_type or DagsterEventType)
        with self.call(f"get_records_for_run {run_id}"):
            events = [one for one in self.runs[run_id].events if one.event_type in kinds][:limit]
        logged = [SimpleNamespace(event_log_entry=SimpleNamespace(dagster_event=event)) for event in events]
        return SimpleNamespace(records=logged)

    def report_run_started(self, run_id: str) -> None:
        with self.call(f"report_run_started {run_id}", changes=True):
            self._move(run_id, dg.DagsterRunStatus.STARTED)
            self.runs[run_id].start_time = self.clock()

    def report_step_started(self, run_id: str, step: str) -> None:
        with self.call(f"report_step_started {run_id} {step}", changes=True):
            self.runs[run_id].steps[step] = self.clock()

    def report_event(self, run_id: str, kind: DagsterEventType, **facts: object) -> None:
        with self.call(f"report {kind.value} {run_id}", changes=True):
            self.runs[run_id].events.append(SimpleNamespace(event_type=kind, **{"message": "", **facts}))

    def report_run_succeeded(self, run: dg.DagsterRun) -> None:
        with self.call(f"report_run_succeeded {run.run_id}", changes=True):
            self._move(run.run_id, dg.DagsterRunStatus.SUCCESS)

    def report_run_failed(self, run: dg.DagsterRun, message: str = "") -> None:
        with self.call(f"report_run_failed {run.run_id}", changes=True):
            record = self.runs[run.run_id]
            record.events.append(SimpleNamespace(event_type=DagsterEventType.RUN_FAILURE, message=message))
            self._move(run.run_id, dg.DagsterRunStatus.FAILURE)

    def report_run_canceled(self, run: dg.DagsterRun, message: str = "") -> None:
        with self.call(f"report_run_canceled {run.run_id}", changes=True):
            self._move(run.run_id, dg.DagsterRunStatus.CANCELED)

    def _cancel(self, run_id: str) -> bool:
        with self.call(f"cancel_run {run_id}", changes=True):
            self.on_cancel(run_id)
        return True

    def _move(self, run_id: str, status: dg.DagsterRunStatus) -> None:
        record = self.runs[run_id]
        record.dagster_run = record.dagster_run.with_status(status)
        record.updated = self.clock()
        if record.dagster_run.is_finished:
            record.end_time = self.clock()


def _fits(record: _RunRecord, filters: dg.RunsFilter) -> bool:
    run = record.dagster_run
    return (
        (not filters.run_ids or run.run_id in filters.run_ids)
        and (not filters.statuses or run.status in filters.statuses)
        and (not filters.job_name or run.job_name == filters.job_name)
        and all(_tagged(run, key, value) for key, value in (filters.tags or {}).items())
        and (filters.updated_after is None or record.updated > filters.updated_after.timestamp())
        and (filters.updated_before is None or record.updated < filters.updated_before.timestamp())
        and (filters.created_after is None or record.created > filters.created_after.timestamp())
        and (filters.created_before is None or record.created < filters.created_before.timestamp())
    )


def _tagged(run: dg.DagsterRun, key: str, value: object) -> bool:
    said = run.tags.get(key)
    return said is not None and (said == value if isinstance(value, str) else said in list(value))  # type: ignore[call-overload]
