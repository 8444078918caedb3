"""What the demonstration measured, for people and for files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from banana_delivery.evaluation.probe import FailedRequest
from banana_delivery.policy.model import Model, Outcome


class DeliverySummary(Model):
    """One delivery as the clients and the audit trail saw it.

    Attributes:
        version: MLflow model version.
        outcome: how it ended.
        reason: why, in one sentence.
        seconds: from staging to the line in the audit trail.
        requests: client requests meanwhile.
        failed: of these, failed.
        rollback_seconds: from verdict to all traffic on the old colour; None without a rollback.
    """

    version: str
    outcome: Outcome
    reason: str
    seconds: float
    requests: int
    failed: int
    rollback_seconds: float | None


class Summary(Model):
    """The whole demonstration.

    Attributes:
        deliveries: in the order played.
        requests: client requests in total.
        failed_outside_faulty_colour: failed requests that no deliberately broken release answered; must be 0.
    """

    deliveries: tuple[DeliverySummary, ...]
    requests: int
    failed_outside_faulty_colour: int


@dataclass(frozen=True)
class Ending:
    """An act's end beside what was expected of it."""

    title: str
    expected: Outcome
    delivery: DeliverySummary

    @property
    def as_told(self) -> bool:
        """Whether it ended as it should."""
        return self.delivery.outcome is self.expected


def outside(failures: Sequence[FailedRequest], faulty_digests: set[str]) -> list[FailedRequest]:
    """The failed requests that were not answered by a deliberately broken release."""
    return [failure for failure in failures if failure.digest not in faulty_digests]


def told(failure: FailedRequest) -> str:
    """A failed request in one line, for whoever has to find out why."""
    when = time.strftime("%H:%M:%S", time.localtime(failure.at))
    by = f"{failure.colour or 'nobody'} {failure.digest[:19]}".rstrip()
    return f"{when} {failure.kind} after {failure.seconds:.2f} s, answered by {by}: {failure.detail}"


def write(summary: Summary, file: Path) -> None:
    """Write the figures as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(summary.model_dump_json(indent=2) + "\n", encoding="utf-8")


def table(endings: Sequence[Ending]) -> Table:
    """The closing table; the reasons were told when each act ended."""
    shown = Table(title="What happened", title_justify="left", box=None, padding=(0, 2, 0, 0))
    shown.add_column("Act")
    shown.add_column("Version", no_wrap=True)
    shown.add_column("Outcome")
    for heading in ("Seconds", "Requests", "Failed", "Back in"):
        shown.add_column(heading, no_wrap=True, justify="right")
    for ending in endings:
        one = ending.delivery
        back = f"{one.rollback_seconds:.2f} s" if one.rollback_seconds is not None else ""
        shown.add_row(
            ending.title,
            one.version,
            f"{one.outcome}" if ending.as_told else f"[red]{one.outcome}, not {ending.expected}",
            f"{one.seconds:.0f}",
            f"{one.requests:,}",
            f"{one.failed:,}",
            back,
        )
    return shown
