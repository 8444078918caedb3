"""What happens by the clock: the scorecard, once a day."""

from __future__ import annotations

import dagster as dg

from banana_delivery.runs.code_location import SCORE

EVERY_MORNING = "40 5 * * *"


def build_schedules(*, starting: bool) -> list[dg.ScheduleDefinition]:
    """All schedules.

    Args:
        starting: whether they run as soon as a daemon knows them; otherwise somebody starts them in the pages.
    """
    status = dg.DefaultScheduleStatus.RUNNING if starting else dg.DefaultScheduleStatus.STOPPED
    return [
        dg.ScheduleDefinition(
            name="scorecard_every_morning",
            job_name=SCORE,
            cron_schedule=EVERY_MORNING,
            execution_timezone="UTC",
            default_status=status,
            description="Computes the scorecard from the audit trail.",
        )
    ]
