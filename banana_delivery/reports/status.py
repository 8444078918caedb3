"""What ``banana-delivery status`` shows."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Group
from rich.table import Table

from banana_delivery.policy.records import COLOURS, Environment, RolloutRecord
from banana_delivery.policy.releases import AttemptRecord


def status_view(records: Sequence[RolloutRecord], attempts: Sequence[AttemptRecord], now: float) -> Group:
    """Environments, colours, digests, weights and the last outcomes.

    Args:
        records: of each environment.
        attempts: newest first.
        now: seconds since the epoch.
    """
    return Group(_environments(records, now), _attempts(attempts))


def _environments(records: Sequence[RolloutRecord], now: float) -> Table:
    table = Table("Environment", "Colour", "Version", "Digest", "Replicas", "Traffic", "State", title_justify="left")
    for record in records:
        for colour in COLOURS[record.environment]:
            deployment = record.deployments.get(colour)
            table.add_row(
                record.environment,
                f"{colour} (active)" if colour is record.active else colour,
                deployment.image.version if deployment else "",
                deployment.image.digest[:19] if deployment else "",
                str(deployment.replicas) if deployment else "",
                f"{record.weights.get(colour, 0)} %",
                _state(record, now),
            )
    return table


def _state(record: RolloutRecord, now: float) -> str:
    if record.owner:
        return f"{record.phase}, {record.owner[:8]} beat {now - record.heartbeat:.0f} s ago"
    if record.note and record.phase == "held":
        return f"held: {record.note}"
    warm = record.environment is Environment.PRODUCTION and record.warm_until is not None and record.warm_until > now
    return (
        f"{record.phase}, old colour warm for {record.warm_until - now:.0f} s"
        if warm and record.warm_until
        else record.phase
    )


def _attempts(attempts: Sequence[AttemptRecord]) -> Table:
    table = Table("When", "Version", "Outcome", "Why", title="Last outcomes", title_justify="left")
    for attempt in attempts:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(attempt.at))
        table.add_row(when, attempt.version, attempt.outcome, attempt.reason)
    return table
