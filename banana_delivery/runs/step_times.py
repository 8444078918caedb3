"""When a run and its steps were under way, as Dagster wrote it down."""

from __future__ import annotations

from enum import Enum

import dagster as dg

from banana_delivery.policy.tracing.spans import Interval
from banana_delivery.runs.code_location import CodeLocation


def times_of(instance: dg.DagsterInstance, location: CodeLocation, run_id: str) -> dict[str, Interval]:
    """Begin and end of every asset of a run that was begun, by the asset's name, in the order of their begins.

    The run itself is there as the empty name; nothing is where Dagster does not know the run.
    """
    known = instance.get_run_record_by_id(run_id) if run_id else None
    if known is None:
        return {}
    began = known.start_time or known.create_timestamp.timestamp()
    assets = {location.step(location.asset(key)): location.asset(key) for key in location.keys}
    steps = [
        (assets[step.step_key], Interval(step.start_time, step.end_time, _succeeded(step.status)))
        for step in instance.get_run_step_stats(run_id)
        if step.step_key in assets and step.start_time
    ]
    found = dict(sorted(steps, key=lambda step: step[1].start))
    return {"": Interval(began, known.end_time), **found}


def _succeeded(status: Enum | None) -> bool:
    return status is not None and status.value == "SUCCESS"
